"""What the API's answers about bulk runs look like: for the OpenAPI document and for tests."""

from datetime import datetime
from typing import Literal

from agents.bulk.actions import Action
from agents.states import TaskState
from toolgate.reading import WireModel


class BulkKindWire(WireModel):
    """The tasks that are in one state, and what would become of them."""

    status: TaskState
    count: int
    changed: bool
    outcome: str


class BulkPlanWire(WireModel):
    """What a run would do: nothing was changed. `isCut` says that more tasks match than one run takes."""

    action: Action
    total: int
    changed: int
    unknown: int
    is_cut: bool
    kinds: list[BulkKindWire]
    sample: list[str]


class BulkItemWire(WireModel):
    """What became of one task."""

    task_id: str
    outcome: Literal["done", "refused"]
    refusal: str | None
    at: datetime


class BulkWire(WireModel):
    """A bulk run, with a page of its results; `next` is the cursor of the later ones."""

    bulk_id: str
    action: Action
    state: Literal["waiting", "running", "done", "failed"]
    reason: str
    asked_by: str
    filter: dict[str, str]
    total: int
    done: int
    refused: int
    created_at: datetime
    ended_at: datetime | None
    error: str | None
    results: list[BulkItemWire]
    next: str | None
