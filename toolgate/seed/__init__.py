"""The rules that come with the product, in `policy.toml` beside this file, and how they are published."""

from datetime import datetime
from pathlib import Path

from toolgate.exceptions import PolicyConflict
from toolgate.models import PolicyVersion
from toolgate.policy import load_policy
from toolgate.publishing import publish_seed

SEED = Path(__file__).with_name("policy.toml")


def seed_policy(*, now: datetime) -> PolicyVersion | None:
    """Publish the seeded rules as version 1; None, changing nothing, if there is a policy already."""
    if PolicyVersion.objects.exists():
        return None
    try:
        return publish_seed(load_policy(SEED.read_bytes()), now=now)
    except PolicyConflict:  # another process was first
        return None
