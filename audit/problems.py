"""What can be wrong with the trail. PURE."""

from enum import StrEnum


class Problem(StrEnum):
    """The closed set of the findings of a verification, and of `audit_violations_logged_total`."""

    EDITED = "edited"  # an event's fields do not give its hash
    MISSING = "missing"  # a number is not there
    INSERTED = "inserted"  # an event that the log does not know
    ORDER = "order"  # a number twice, or out of order
    REPLACED = "replaced"  # another event under a number that the log gave away
    ERASED = "erased"  # actor and body are gone, and no erasure on record says so
    LOST = "lost"  # a writer's own count has a gap: an event never got its number
    HEAD = "head"  # the log does not give the root that the tree's head records
    TILE = "tile"  # the hashes kept for proofs are not those that the events give
    REWRITTEN = "rewritten"  # the log does not give a root that was signed
    SHRUNKEN = "shrunken"  # a signed checkpoint knows more events than the log has
    FORKED = "forked"  # two signed checkpoints cannot both be of this log
    FORGED = "forged"  # a checkpoint that no known key has signed
