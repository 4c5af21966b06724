"""One line of what a draft would have done in the last days, for the inspector."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from audit.models import RunState
from toolgate.exceptions import GateError
from toolgate.models import PolicyDraft, WhatIf
from toolgate.policy import policy_digest, read_policy
from toolgate.replay.runs import find_latest, start_what_if

DAYS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is known of a draft's effect."""

    what_if_id: str
    days: int | None  # None: the whole history
    calls: int | None  # None: it is not known yet
    refused: int = 0
    asked: int = 0
    passing: int = 0


def start_note(draft: PolicyDraft, *, now: datetime) -> None:
    """Have the last days replayed under a draft, unless that cannot be had now; the draft is kept either way."""
    try:
        start_what_if(
            draft.rules,
            base_version=draft.base_version,
            asked_by=draft.author,
            since=now - timedelta(days=DAYS),
            now=now,
        )
    except GateError:
        return  # the draft's page says why when it is asked there


def find_note(draft: PolicyDraft) -> Note | None:
    """Return what is known of the effect of a draft as it is now; None if nobody has asked."""
    digest = policy_digest(read_policy(draft.rules))
    what_if = find_latest(digest) or WhatIf.objects.filter(digest=digest).order_by("-created_at").first()
    return None if what_if is None else read_note(what_if)


def read_note(what_if: WhatIf) -> Note:
    """Return a replay as one line says it."""
    days = None if what_if.since is None else round((what_if.created_at - what_if.since) / timedelta(days=1))
    if what_if.state != RunState.DONE:
        return Note(what_if_id=what_if.id, days=days, calls=None)
    flips = what_if.result["flips"]
    became = {
        end: sum(count for kind, count in flips.items() if kind.endswith(end)) for end in ("_deny", "_ask", "_allow")
    }
    calls = what_if.result["calls"]
    return Note(
        what_if_id=what_if.id,
        days=days,
        calls=calls,
        refused=became["_deny"],
        asked=became["_ask"],
        passing=became["_allow"],
    )
