"""`manage.py`, in a process that dies where a file says: at one point on the way of an approved call, by SIGKILL.

The file is `die-at` in the state folder and holds the name of a point; where many processes share the folder, DIES_AT
in the environment of one names its own. Without them, or before the file is written, the product runs as ever.
"""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

GRANTED = "granted"  # the answer is kept, and no worker has claimed the task
CLAIMED = "claimed"  # claimed, and the gate has not been asked
PASSED = "passed"  # the answer is used, the intent written, and the skill has not begun
WRITTEN = "written"  # in the skill: the file is changed
FINISHED = "finished"  # the skill is done, and its outcome is not written down
# On the way of a model's turn, and of what the trail is told of it.
HELD = "held"  # the worst case is held, and the call is not dispatched
ANSWERED = "answered"  # the answer is there, and not settled
SETTLED = "settled"  # settled, and the event not recorded, let alone committed
NUMBERED = "numbered"  # in a sequencer's batch: the numbers are written, and not committed


def die_at(point: str) -> None:
    """End this process as a power cut would, if it is to die at this point."""
    file = Path(os.environ["ORCHESTRATOR_VAR"], "die-at")
    if os.environ.get("DIES_AT") == point or (file.exists() and file.read_text() == point):
        os.kill(os.getpid(), signal.SIGKILL)


def lay_traps() -> None:
    """Have the product's functions on the way of an approved call look whether they are to die."""
    import agents.run
    import agents.skills.workspace_patch
    from agents import claiming
    from agents.money import spending
    from agents.orders import Succeeded
    from audit import ledger
    from toolgate import enforcement
    from toolgate.models import Approval

    def is_granted(*_: Any) -> bool:
        return Approval.objects.filter(state="approved").exists()

    _wrap(claiming, "claim_next", GRANTED, when=is_granted)
    _wrap(agents.run, "pass_gate", CLAIMED, when=lambda lease, wish: lease.fence > 1)
    _wrap(enforcement, "invoke", PASSED)
    _wrap(agents.skills.workspace_patch, "replace_file", WRITTEN, after=True)
    _wrap(agents.run, "_finish", FINISHED, when=lambda lease, ending, flow: isinstance(ending, Succeeded))
    _wrap(spending, "mark_dispatched", HELD)
    _wrap(spending, "settle", ANSWERED)
    _wrap(spending, "settle", SETTLED, after=True)
    _wrap(ledger, "write_numbers", NUMBERED, after=True)


def _wrap(
    module: Any, name: str, point: str, *, when: Callable[..., bool] = lambda *_: True, after: bool = False
) -> None:
    function = getattr(module, name)

    def look(*arguments: Any, **options: Any) -> Any:
        if not after and when(*arguments):
            die_at(point)
        result = function(*arguments, **options)
        if after:
            die_at(point)
        return result

    setattr(module, name, look)


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    django.setup()
    lay_traps()
    sys.argv[0] = "manage.py"
    runpy.run_path("manage.py", run_name="__main__")
