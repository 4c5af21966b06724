"""Every page of the console asks the store a bounded number of questions, and stays small, however much there is."""

import gzip
from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Task
from agents.registry import look_again
from orchestrator_site.console import forget_budget_alert
from tests.integration.console_cast import FETCHER, console_world, sign_in
from tests.many import fill
from toolgate.in_force import forget_policy
from toolgate.models import Approval, DecisionRecord

pytestmark = pytest.mark.usefixtures("db")

FEW: Final = 220  # more than a page of any list
MANY: Final = 1_500
MAX_QUERIES: Final = 45
MAX_BYTES: Final = 60_000  # gzipped, as it is sent
PAGES: Final = (
    "/",
    "/tasks/",
    "/tasks/?status=failed",
    "/tasks/?status=dead",
    f"/tasks/?agent={FETCHER}&skill=sourceFetch",
    "/tasks/?by=olga&since=2020-01-01T00:00",
    "/tasks/?error=timeout",
    "/tasks/?task={tail}",
    "/tasks/{failed}/",
    "/tasks/{succeeded}/",
    "/tasks/new/",
    "/tasks/bulk/",
    "/tasks/bulk/?action=cancel&status=queued",
    "/approvals/",
    "/approvals/?mine=yes",
    "/approvals/?show=decided",
    f"/approvals/?show=decided&agent={FETCHER}",
    "/approvals/{approval}/",
    "/approvals/grants/",
    "/permissions/",
    "/permissions/history/",
    "/permissions/explain/?decision={decision}",
    "/agents/",
    f"/agents/{FETCHER}/",
    "/skills/",
    "/skills/sourceFetch/",
    "/fleet/",
    "/cost/",
)


@pytest.fixture
def client(settings: Any) -> Iterator[Client]:
    with console_world(settings):
        yield sign_in("ada")


def names() -> dict[str, str]:
    tasks = Task.objects.order_by("-id")
    return {
        "tail": tasks[0].id[-8:],
        "failed": tasks.filter(state="failed")[0].id,
        "succeeded": tasks.filter(state="succeeded")[0].id,
        "approval": Approval.objects.filter(state="pending").order_by("-id")[0].id,
        "decision": DecisionRecord.objects.order_by("-id")[0].id,
    }


def ask(client: Client, page: str) -> tuple[int, int]:
    """Return how many questions a page asked while the process remembered nothing of late, and its size as sent."""
    look_again()
    forget_policy()
    forget_budget_alert()
    with CaptureQueriesContext(connection) as asked:
        answer = client.get(page)
    assert answer.status_code == 200, page
    return len(asked), len(gzip.compress(answer.content))


def test_pages_ask_as_many_questions_of_much_as_of_little_and_stay_small(client: Client) -> None:
    now = timezone.now()
    fill(FEW, now=now)
    for page in PAGES:  # templates are compiled, and what never changes is read once a process
        client.get(page.format(**names()))
    few = {page: ask(client, page.format(**names())) for page in PAGES}
    fill(MANY, now=now)
    many = {page: ask(client, page.format(**names())) for page in PAGES}
    for page in PAGES:  # what a process keeps for a second may just have run out: a page that grew grows each time
        if many[page][0] > few[page][0]:
            many[page] = min(ask(client, page.format(**names())) for _ in range(3))
    grown = {page: (few[page][0], many[page][0]) for page in PAGES if many[page][0] > few[page][0]}
    assert not grown, "pages that ask more the more there is"
    assert {page: count for page, (count, _) in many.items() if count > MAX_QUERIES} == {}
    assert {page: size for page, (_, size) in many.items() if size > MAX_BYTES} == {}
