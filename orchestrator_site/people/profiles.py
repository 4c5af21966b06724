"""How the console looks to a person: read with each page, written seldom, and told when it changes."""

from typing import Any, Final

from django.utils import timezone

from audit import bodies
from audit.context import current_actor
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.models import Profile

COSY: Final = "cosy"
_FIELDS: Final = {"theme": "theme", "density": "density", "time_zone": "timeZone", "single_keys": "singleKeys"}


def read_profile(user: Any) -> Profile:
    """Return the profile of a user, as it is kept or as everybody's begins."""
    return Profile.objects.filter(user_id=user.pk).first() or Profile(user_id=user.pk)


def save_profile(user: Any, **values: Any) -> None:
    """Keep what is given of a user's profile; what is as it was is neither written nor told."""
    with write_transaction():
        profile = read_profile(user)
        changed = [name for name, value in values.items() if getattr(profile, name) != value]
        if not changed:
            return
        for name in changed:
            setattr(profile, name, values[name])
        profile.save()
        body = bodies.UserProfileChanged(user=user.get_username(), changed=sorted(_FIELDS[name] for name in changed))
        record(Event(type=EventType.USER_PROFILE_CHANGED, at=timezone.now(), actor=current_actor(), body=body))
