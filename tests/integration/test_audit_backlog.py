"""More events wait than AUDIT_BACKLOG_LIMIT: nothing new is taken, at any door, and what was taken goes on."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone

from agents import control, leases, queue
from agents.editing.drafts import save_draft
from agents.models import Task
from agents.orders import Order
from agents.registry import get_agent
from audit import status as ledger_status
from audit.exceptions import TrailBehind
from audit.lease import HEAD
from audit.models import LedgerEvent, TreeHead
from audit.status import forget_status, get_ledger_status, require_room
from orchestrator_site.console import read_audit_state
from orchestrator_site.metrics import render_metrics
from tests.audit_cast import NOW, record_events
from tests.integration.api_cast import AGENT, INPUT, ORDER, SKILL, Api, api_of, problem_of
from tests.integration.console_cast import (
    FETCH,
    FETCHER,
    console_world,
    make_decision,
    make_task,
    make_waiting_task,
    sign_in,
    text_of,
)
from toolgate.models import PolicyVersion

STEP = {"name": "first", "agentId": AGENT, "skillId": SKILL, "input": INPUT}
FETCH_FORM = f"/tasks/new/{FETCHER}/{FETCH}/"
PARSE_FORM = "/tasks/new/data-extraction-agent/documentParser/"


@pytest.fixture(autouse=True)
def world(db: None, settings: Any, tmp_path: Any) -> Iterator[None]:
    """Give the fleet, and a trail that has room."""
    settings.WORKSPACE_ROOT = tmp_path
    forget_status()
    with console_world(settings):
        yield
    forget_status()


@pytest.fixture
def behind(settings: Any) -> Any:
    """Let one event more wait than may."""
    settings.AUDIT_BACKLOG_LIMIT = get_ledger_status().waiting - 1
    forget_status()
    return settings


@pytest.fixture
def olga() -> Api:
    """The operator."""
    return api_of("olga")


def fill(client: Client, path: str, **changes: Any) -> dict[str, Any]:
    form = client.get(path).context["form"]
    values = {bound.html_name: bound.value() for bound in form} | changes
    return {name: value for name, value in values.items() if value not in (None, False)}


# --- every door -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("path", "body"), [("tasks", ORDER), ("workflows", {"steps": [STEP]})])
def test_an_order_is_refused_with_a_time_to_come_back(olga: Api, behind: Any, path: str, body: Any) -> None:
    answer = olga.post(path, body)
    problem = problem_of(answer, 503, "audit_unavailable")
    assert answer["Retry-After"] == "10"
    assert f"AUDIT_BACKLOG_LIMIT is {behind.AUDIT_BACKLOG_LIMIT:,}" in problem["detail"]
    assert "Nothing was done" in problem["detail"]
    assert not Task.objects.exists()
    assert not LedgerEvent.objects.filter(type__startswith="task.").exists()  # a refusal adds nothing to what waits


def test_a_bad_order_is_still_told_what_is_wrong_with_it(olga: Api, behind: Any) -> None:
    problem_of(olga.post("tasks", ORDER | {"input": {"bad": 1}}), 422, "input_invalid")


def test_an_order_that_was_taken_before_is_answered_when_it_is_repeated(olga: Api, settings: Any) -> None:
    first = olga.post("tasks", ORDER, key="k").json()
    settings.AUDIT_BACKLOG_LIMIT = 1
    forget_status()
    again = olga.post("tasks", ORDER, key="k")
    assert (again.status_code, again.json()["taskId"]) == (202, first["taskId"])


def test_a_retry_is_refused_over_the_api_and_in_the_console(olga: Api, behind: Any) -> None:
    task = make_task(state="failed")
    problem_of(olga.post(f"tasks/{task.id}/retry"), 503, "audit_unavailable")
    page = text_of(sign_in("olga").post(f"/tasks/{task.id}/retry/", follow=True))
    assert "too far behind to take a new task" in page
    assert Task.objects.get(id=task.id).state == "failed"


def test_the_form_says_it_and_keeps_what_was_entered(behind: Any) -> None:
    client = sign_in("olga")
    answer = client.post(FETCH_FORM, fill(client, FETCH_FORM, in_url="https://arxiv.org/abs/1"))
    assert answer.status_code == 422
    assert "too far behind to take a new task" in text_of(answer)
    assert "https://arxiv.org/abs/1" in text_of(answer)
    assert not Task.objects.exists()


def test_a_file_for_a_task_that_is_not_taken_is_not_kept(behind: Any) -> None:
    client = sign_in("olga")
    sent = fill(client, PARSE_FORM, in_format="csv") | {"in_filePath_file": SimpleUploadedFile("a.csv", b"a,b\n1,2\n")}
    assert client.post(PARSE_FORM, sent).status_code == 422
    assert list(behind.WORKSPACE_ROOT.rglob("*.csv")) == []


def test_a_form_that_was_let_in_a_moment_before_is_refused_at_the_door_itself(
    behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.views.require_room", lambda: None)
    client = sign_in("olga")
    answer = client.post(FETCH_FORM, fill(client, FETCH_FORM, in_url="https://arxiv.org/abs/1"))
    assert (answer.status_code, Task.objects.count()) == (422, 0)


def test_a_draft_is_not_tried_out(behind: Any) -> None:
    draft = save_draft(FETCHER, _document(timeoutSeconds=99), author="ada", now=timezone.now(), base_version=None)
    client, path = sign_in("ada"), f"/agents/{FETCHER}/drafts/{draft.id}/try/"
    answer = client.post(path, fill(client, path, input='{"query": "prices"}'))
    assert answer.status_code == 422
    assert "too far behind to take a new task" in text_of(answer)
    assert not Task.objects.exists()


def _document(**changes: Any) -> dict[str, Any]:
    return get_agent(FETCHER).config.model_dump(mode="json", by_alias=True) | changes


def test_a_host_is_not_allowed_for_a_retry_that_is_not_taken(behind: Any) -> None:
    task = make_task(state="failed", error_code="domain_not_allowed")
    make_decision(task)
    sent = {"host": "example.com", "reason": "reports of the partner"}
    page = text_of(sign_in("ada").post(f"/tasks/{task.id}/allow-host/", sent, follow=True))
    assert "too far behind to take a new task" in page
    assert (PolicyVersion.objects.count(), Task.objects.get(id=task.id).state) == (1, "failed")


# --- what was taken goes on -------------------------------------------------------------------------------------
def make_order(**changes: Any) -> Order:
    return Order(**{"agent_id": AGENT, "skill_id": SKILL, "input": INPUT, "submitted_by": "olga"} | changes)


def test_a_step_of_a_workflow_that_was_taken_is_started(behind: Any) -> None:
    with pytest.raises(TrailBehind):
        queue.submit_task(make_order(), now=timezone.now())
    step = make_order(parent_task_id="workflow", workflow_step="first")
    assert queue.submit_task(step, now=timezone.now()).created


def test_a_task_that_was_taken_can_be_cancelled(behind: Any) -> None:
    task = make_task(state="queued")
    control.cancel_task(task.id, actor="user:olga", now=timezone.now())
    assert Task.objects.get(id=task.id).state == "cancelled"


def test_a_task_whose_worker_died_goes_back_to_the_queue(behind: Any) -> None:
    task = make_task(state="running", worker_id="dead", run_at=None)
    now = timezone.now() + timedelta(hours=1)
    leases.reap(own="w", now=now)
    assert Task.objects.get(id=task.id).state == "queued"


def test_a_task_that_waited_for_a_person_goes_on(behind: Any) -> None:
    task, approval = make_waiting_task()
    ana = api_of("ana")
    assert ana.post(f"approvals/{approval.id}/decision", {"decision": "approve"}).status_code == 200
    assert Task.objects.get(id=task.id).state == "queued"


# --- how it is known --------------------------------------------------------------------------------------------
def test_exactly_the_limit_may_wait(settings: Any) -> None:
    settings.AUDIT_BACKLOG_LIMIT = get_ledger_status().waiting
    require_room()
    record_events(1)
    forget_status()
    with pytest.raises(TrailBehind):
        require_room()


def test_it_asks_the_store_at_most_once_a_second(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    seconds = 100.0
    monkeypatch.setattr(ledger_status, "monotonic", lambda: seconds)
    require_room()
    with django_assert_num_queries(0):
        for seconds in (100.2, 100.99):  # noqa: B007
            require_room()
    seconds = 101.0
    with django_assert_num_queries(2 if connection.vendor == "sqlite" else 3):  # its clock is asked too
        require_room()


def test_it_counts_what_is_numbered_and_what_is_not_up_to_just_over_the_limit(settings: Any) -> None:
    LedgerEvent.objects.all().delete()
    record_events(30)
    settings.AUDIT_BACKLOG_LIMIT = 20
    assert get_ledger_status().waiting == 21
    for number, event in enumerate(LedgerEvent.objects.order_by("id")[:25], 1):
        LedgerEvent.objects.filter(id=event.id).update(seq=number)
    TreeHead.objects.create(name=HEAD, root="", seq=25, shipped_seq=10)
    status = get_ledger_status()
    assert (status.unnumbered, status.waiting, status.over_limit) == (5, 20, False)


def test_the_oldest_event_that_waits_says_since_when(settings: Any) -> None:
    LedgerEvent.objects.all().delete()
    for number in range(3):
        record_events(1, at=NOW + timedelta(minutes=number))
    LedgerEvent.objects.filter(id=LedgerEvent.objects.earliest("id").id).update(seq=1)
    head = TreeHead.objects.create(name=HEAD, root="", seq=1)
    assert get_ledger_status().oldest_at == NOW
    head.shipped_seq = 1
    head.save()
    status = get_ledger_status()
    assert status.oldest_at == NOW + timedelta(minutes=1)
    assert status.lag_seconds == pytest.approx((timezone.now() - status.oldest_at).total_seconds(), abs=5)


def test_a_trail_that_has_caught_up_has_no_lag() -> None:
    LedgerEvent.objects.all().delete()
    assert (get_ledger_status().lag_seconds, get_ledger_status().is_behind) == (0.0, False)


def test_what_is_numbered_while_it_counts_is_not_left_out(monkeypatch: Any) -> None:
    LedgerEvent.objects.all().delete()
    record_events(20)

    def number_after(read: Any) -> Any:
        def reading(*args: Any, **kwargs: Any) -> Any:
            found = read(*args, **kwargs)
            for number, event in enumerate(LedgerEvent.objects.filter(seq=None).order_by("id"), 1):
                LedgerEvent.objects.filter(id=event.id).update(seq=number)
            TreeHead.objects.get_or_create(name=HEAD, defaults={"root": "", "seq": 20})
            return found

        return reading

    for name in ("get_head", "_look_at_unnumbered"):
        monkeypatch.setattr(ledger_status, name, number_after(getattr(ledger_status, name)))
    assert get_ledger_status().waiting >= 20


# --- how it is told ---------------------------------------------------------------------------------------------
def gauge(text: str, name: str) -> float:
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


@pytest.mark.django_db(transaction=True)
def test_the_metrics_say_how_many_since_when_and_how_many_may(settings: Any) -> None:
    LedgerEvent.objects.all().delete()
    record_events(4, at=timezone.now() - timedelta(seconds=90))
    TreeHead.objects.create(name=HEAD, root="", shipped_at=NOW)
    text = render_metrics().decode()
    assert gauge(text, "audit_ledger_lag_events") == 4
    assert gauge(text, "audit_ledger_lag_seconds") == pytest.approx(90, abs=5)
    assert gauge(text, "audit_ledger_limit_events") == 100_000
    assert gauge(text, "audit_shipped_timestamp_seconds") == NOW.timestamp()


def lead(**columns: Any) -> None:
    until = timezone.now() + timedelta(seconds=10)
    TreeHead.objects.create(name=HEAD, root="", holder="me", lease_expires_at=until, **columns)


def test_every_page_says_since_when_how_many_wait_and_why() -> None:
    vera = sign_in("vera")  # which is an event too
    LedgerEvent.objects.all().delete()
    record_events(3, at=timezone.now() - timedelta(minutes=7))
    lead(store_fault="the audit store does not answer")
    page = text_of(vera.get("/tasks/"))
    assert 'class="note ask"' in page
    assert "The audit store does not answer. 3 events wait in the ledger, the oldest recorded" in page
    assert "7 min ago" in page
    assert "Tasks go on until 100,000 wait" in page
    assert "nothing is lost" in page
    assert "Audit behind, 3 waiting" in page


def test_over_the_limit_every_page_says_in_red_that_new_tasks_are_refused(behind: Any) -> None:
    lead()
    page = text_of(sign_in("vera").get("/tasks/"))
    assert 'class="note deny"' in page
    assert "New tasks are refused" in page


@pytest.mark.parametrize(
    ("age", "columns", "words"),
    [
        (1, {}, None),
        (11, {}, "takes them slowly"),
        (1, {"store_fault": "the audit store failed"}, "the audit store failed"),
        (1, {"lease_expires_at": None}, "no sequencer numbers them"),
    ],
)
def test_a_page_tells_of_what_does_not_move_on_or_is_slow(age: int, columns: Any, words: str | None) -> None:
    LedgerEvent.objects.all().delete()
    record_events(1, at=timezone.now() - timedelta(seconds=age))
    lead()
    TreeHead.objects.update(**columns) if columns else None
    state = read_audit_state()
    assert state.is_behind is (words is not None)
    assert (words or "") in state.why
    assert state.is_away is bool(columns)
