"""What tests of an agent's own run look at, and how they change the agent."""

from typing import Any

from agents import registry
from agents.models import BudgetAccount, Reservation, Step, Task
from agents.providers.base import ToolMessage
from audit.models import LedgerEvent
from tests.contract.conftest import AGENT
from tests.contract.models import Models


def change_agent(**changes: Any) -> None:
    """Change the configuration in force, as an edit would."""
    config = registry._configs[AGENT, 1]
    registry._configs[AGENT, 1] = config.model_copy(update=changes)


def events_of(task: Task, *types: str) -> list[str]:
    """Return the types of a task's events, in order."""
    found = LedgerEvent.objects.filter(task_id=task.id).order_by("id").values_list("type", flat=True)
    return [type_ for type_ in found if not types or type_ in types]


def accounts() -> dict[str, BudgetAccount]:
    """Return the accounts by the kind of their scope."""
    return {account.key.partition(":")[0]: account for account in BudgetAccount.objects.all()}


def settled_for(task: Task) -> int:
    """Return what a task was charged, by its reservations."""
    return sum(r.actual_micro or 0 for r in Reservation.objects.filter(task_id=task.id, state="settled"))


def told(models: Models, number: int = -1) -> list[ToolMessage]:
    """Return the results that the model was shown in a request."""
    return [m for m in models.requests[number][1].messages if isinstance(m, ToolMessage)]


def steps_of(task: Task) -> list[tuple[str, str]]:
    """Return kind and state of a task's steps, in order."""
    return list(Step.objects.filter(task=task).order_by("fence", "ordinal").values_list("kind", "state"))
