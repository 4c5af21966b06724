"""What happened here reaches who is to be told, once each, signed, however often it takes."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from audit import ledger
from audit.events import EventType
from audit.models import LedgerEvent
from orchestrator_site.webhooks import delivering, subscribing
from orchestrator_site.webhooks.courier import A_CHANNEL, Courier
from orchestrator_site.webhooks.following import follow, get_state
from orchestrator_site.webhooks.models import DeliveryState, WebhookAttempt, WebhookDelivery
from orchestrator_site.webhooks.sending import Answer
from tests.integration.webhook_cast import (
    LOOPBACK,
    Clock,
    Receiver,
    carry,
    end_task,
    number,
    run_receiver,
    subscribe,
    tell,
)

pytestmark = pytest.mark.django_db

APPROVAL = {
    "approvalId": "a1", "kind": "call", "digest": "0" * 64, "policyVersion": 1, "ruleId": "r", "submittedBy": "olga",
    "expiresAt": "2026-12-01T00:00:00+00:00", "note": "the-note",
}  # fmt: skip
CROSSED = {
    "scope": "fleet", "month": "2026-11", "percent": 80, "refusedACall": False, "spentMicro": 8, "heldMicro": 0,
    "capMicro": 10,
}  # fmt: skip


@pytest.fixture(autouse=True)
def opened(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [f"{LOOPBACK}/32"]
    settings.CONSOLE_URL = "https://console.example"
    get_state()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with run_receiver() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def courier(clock: Clock) -> Iterator[Courier]:
    courier = Courier(clock=clock, draw=lambda: 0.5)
    yield courier
    courier.close()


def only() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


# --- what is told ---------------------------------------------------------------------------------------------
def test_a_task_that_ends_tells_its_callback_once(receiver: Receiver, courier: Courier) -> None:
    task = end_task(callback_url=receiver.url("/done?key=1"))
    end_task()  # names nobody
    number()
    carry(courier)
    carry(courier)
    ((path, headers, body),) = receiver.seen
    assert (path, headers["Content-Type"]) == ("/done?key=1", "application/json")
    told = Webhook(subscribing.read_callback_secret()).verify(body, headers)
    assert told["type"] == "task.succeeded"
    assert told["id"] == headers["webhook-id"] == only().id
    assert told["data"] == {
        "taskId": task.id,
        "agentId": task.agent_id,
        "skillId": task.skill_id,
        "status": "succeeded",
        "errorCode": None,
        "url": f"https://console.example/tasks/{task.id}/",
    }
    assert only().state == DeliveryState.DELIVERED


def test_a_subscription_is_told_of_its_kinds_and_agents_from_then_on(receiver: Receiver, courier: Courier) -> None:
    end_task()  # before
    hook = subscribe(receiver.url(), "task.ended", "budget.crossed", agents=("qa-verification-agent",))
    end_task(EventType.TASK_FAILED, reason="budget_exhausted", agent_id="qa-verification-agent")
    end_task(agent_id="content-agent")
    tell(EventType.BUDGET_CROSSED, **CROSSED)
    tell(EventType.APPROVAL_ASKED, agent_id="qa-verification-agent", **APPROVAL)
    number()
    carry(courier)
    ((_, headers, body),) = receiver.seen
    told = Webhook(subscribing.read_secret(hook)).verify(body, headers)
    assert (told["data"]["status"], told["data"]["errorCode"]) == ("failed", "budget_exhausted")
    assert b"the-message" not in body


def test_approvals_and_budget_thresholds_arrive_with_their_facts(receiver: Receiver, courier: Courier) -> None:
    subscribe(receiver.url(), "approval.asked", "approval.escalated", "budget.crossed")
    tell(EventType.APPROVAL_ASKED, **APPROVAL)
    tell(EventType.APPROVAL_ESCALATED, **APPROVAL, waitedSeconds=901, slaSeconds=900)
    tell(EventType.BUDGET_CROSSED, **CROSSED)
    number()
    carry(courier)
    told = {message["type"]: message["data"] for message in (json.loads(body) for _, _, body in receiver.seen)}
    assert told["approval.asked"]["approvalId"] == "a1"
    assert told["approval.asked"]["url"] == "https://console.example/approvals/a1/"
    assert told["approval.escalated"]["waitedSeconds"] == 901
    assert told["budget.crossed"]["percent"] == 80
    assert not any(b"the-note" in body or b"olga" in body for _, _, body in receiver.seen)


def test_what_was_erased_is_told_without_its_facts(receiver: Receiver, courier: Courier) -> None:
    subscribe(receiver.url(), "approval.asked")
    event = tell(EventType.APPROVAL_ASKED, **APPROVAL)
    number()
    ledger.blank([LedgerEvent.objects.get(event_id=event.id).seq or 0])
    carry(courier)
    assert json.loads(receiver.seen[0][2])["data"]["url"] == "https://console.example/approvals/"


# --- how it is signed -----------------------------------------------------------------------------------------
def test_an_old_or_a_changed_delivery_is_refused_by_the_oracle(receiver: Receiver, courier: Courier) -> None:
    hook = subscribe(receiver.url())
    end_task()
    number()
    carry(courier)
    ((_, headers, body),) = receiver.seen
    oracle = Webhook(subscribing.read_secret(hook))
    oracle.verify(body, headers)
    old = str(int(headers["webhook-timestamp"]) - 600)
    for data, sent in (
        (body.replace(b"succeeded", b"cancelled"), headers),
        (body, headers | {"webhook-timestamp": old}),
        (body, headers | {"webhook-id": "another"}),
        (body, headers | {"webhook-signature": "v1,AAAA"}),
    ):
        with pytest.raises(WebhookVerificationError):
            oracle.verify(data, sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(subscribing.read_callback_secret()).verify(body, headers)


def test_a_changed_secret_signs_beside_the_old_one_for_a_day(
    receiver: Receiver, courier: Courier, clock: Clock
) -> None:
    hook = subscribe(receiver.url())
    before = subscribing.read_secret(hook)
    after = subscribing.rotate(hook, actor="user:ada", now=clock())
    assert before != after
    end_task()
    number()
    carry(courier)
    for secret in (before, after):
        Webhook(secret).verify(receiver.seen[0][2], receiver.seen[0][1])
    assert len(subscribing.list_secrets(hook, now=clock() + timedelta(hours=25))) == 1


# --- when it is not taken -------------------------------------------------------------------------------------
def test_it_is_sent_again_under_the_same_id_until_it_is_taken(
    receiver: Receiver, courier: Courier, clock: Clock
) -> None:
    receiver.answers(500, 302, 200)
    receiver.replies[1] = (302, {"Location": receiver.url("/elsewhere")}, b"")
    subscribe(receiver.url())
    end_task()
    number()
    waits = []
    for _ in range(3):
        carry(courier)
        if next_at := only().next_at:
            waits.append(next_at - clock())
            clock.pass_(waits[-1])
    assert waits == [timedelta(seconds=5), timedelta(seconds=20)]
    assert {path for path, _, _ in receiver.seen} == {"/hook"}  # the redirect was not followed
    assert len({headers["webhook-id"] for _, headers, _ in receiver.seen}) == 1
    assert len({body for _, _, body in receiver.seen}) == 1
    tries = list(WebhookAttempt.objects.order_by("number").values_list("status", flat=True))
    assert (only().state, tries) == (DeliveryState.DELIVERED, [500, 302, 200])


def test_a_dead_receiver_is_given_up_after_ten_attempts_within_a_day(courier: Courier, clock: Clock) -> None:
    with run_receiver() as gone:
        url = gone.url()
    subscribe(url)
    end_task()
    number()
    began = clock()
    for _ in range(20):
        carry(courier)
        next_at = only().next_at
        if next_at is None:
            break
        clock.pass_(next_at - clock())
    assert (only().state, only().attempts) == (DeliveryState.FAILED, 10)
    assert timedelta(hours=12) < clock() - began < timedelta(hours=24)
    assert WebhookAttempt.objects.filter(code="connection_failed", status=None).count() == 10
    (event,) = LedgerEvent.objects.filter(type="webhook.abandoned")
    assert event.body["deliveryId"] == only().id
    delivering.retry(only().id, actor="user:ada", now=clock())
    carry(courier)
    assert (only().state, only().attempts, only().round_attempts) == (DeliveryState.PENDING, 11, 1)


@pytest.mark.parametrize(("says", "seconds"), [("120", 120), ("Mon, 1 Jan 99999999999999 00:00:00 GMT", 5)])
def test_a_busy_receiver_says_when(receiver: Receiver, courier: Courier, clock: Clock, says: str, seconds: int) -> None:
    receiver.answers(429, Retry_After=says)
    subscribe(receiver.url())
    end_task()
    number()
    carry(courier)
    assert only().next_at == clock() + timedelta(seconds=seconds)


def test_what_was_made_for_a_subscription_that_is_gone_is_given_up(
    receiver: Receiver, courier: Courier, clock: Clock
) -> None:
    """The follower read the subscriptions, somebody deleted this one, and then its delivery was written."""
    hook = subscribe(receiver.url())
    end_task()
    number()
    assert follow(now=clock())
    type(hook).objects.all().delete()
    carry(courier)
    assert (only().state, only().note) == (DeliveryState.FAILED, "Its subscription was deleted.")
    assert receiver.seen == []


def test_a_receiver_that_is_gone_pauses_its_subscription(receiver: Receiver, courier: Courier) -> None:
    receiver.answers(410)
    hook = subscribe(receiver.url())
    end_task()
    number()
    carry(courier)
    hook.refresh_from_db()
    assert (only().state, hook.is_active) == (DeliveryState.FAILED, False)
    assert "410" in hook.paused_why
    end_task()
    number()
    carry(courier)
    assert len(receiver.seen) == 1


def test_what_waits_for_a_paused_subscription_goes_on_when_it_is_resumed(
    receiver: Receiver, courier: Courier, clock: Clock
) -> None:
    hook = subscribe(receiver.url())
    end_task()
    number()
    assert follow(now=clock())
    subscribing.pause(hook, actor="user:ada", now=clock())
    carry(courier)
    assert receiver.seen == []
    subscribing.resume(hook, actor="user:ada", now=clock())
    carry(courier)
    assert len(receiver.seen) == 1


def test_a_slow_receiver_holds_up_nobody_else(receiver: Receiver, courier: Courier) -> None:
    with run_receiver() as slow:
        slow.hold = threading.Event()
        subscribe(slow.url(), name="slow")
        for _ in range(2 * A_CHANNEL):
            end_task()
        subscribe(receiver.url(), name="quick")
        end_task()
        number()
        while courier.step() and not receiver.seen:
            courier.wait(0.05)
        courier.wait(0.5)
        assert len(receiver.seen) == 1
        assert len(slow.seen) <= A_CHANNEL
        slow.hold.set()
        carry(courier)
        assert len(slow.seen) == 2 * A_CHANNEL + 1


def test_what_a_receiver_answers_is_kept_short_and_redacted(receiver: Receiver, courier: Courier) -> None:
    secret = "sk-ant-" + "a1" * 20
    receiver.answers(500, body=b"<script>alert(1)</script>\0 " + secret.encode() + b" " + b"x" * 100_000)
    subscribe(receiver.url())
    end_task()
    number()
    carry(courier)
    (kept,) = WebhookAttempt.objects.values_list("body", flat=True)
    assert kept.startswith("<script>alert(1)</script>\ufffd [redacted: anthropic key")
    assert len(kept) <= 1_024


# --- once each ------------------------------------------------------------------------------------------------
def test_a_process_that_dies_before_it_sends_loses_nothing(receiver: Receiver, clock: Clock) -> None:
    subscribe(receiver.url())
    end_task()
    number()
    follow(now=clock())
    (claimed,) = delivering.claim_due(now=clock(), running=Counter(), a_channel=1, limit=9)
    heir = Courier(clock=clock)
    carry(heir)
    assert receiver.seen == []  # it may still be on its way
    clock.pass_(delivering.CLAIM)
    carry(heir)
    heir.close()
    assert len(receiver.seen) == 1
    assert only().state == DeliveryState.DELIVERED
    delivering.settle(claimed, Answer(status=500), started_at=clock(), now=clock(), draw=0.5)  # it was only asleep
    assert only().attempts == 1


def test_of_two_processes_that_see_a_delivery_due_one_gets_it(receiver: Receiver, clock: Clock) -> None:
    subscribe(receiver.url())
    end_task()
    number()
    follow(now=clock())
    first, second = only(), only()
    assert delivering._claim(first, now=clock())
    assert not delivering._claim(second, now=clock())


def test_a_courier_that_is_stopped_gives_back_what_is_under_way(receiver: Receiver, clock: Clock) -> None:
    receiver.hold = threading.Event()
    subscribe(receiver.url())
    end_task()
    number()
    courier = Courier(clock=clock)
    courier.step()
    courier.close()
    assert (only().state, only().next_at, only().attempts) == (DeliveryState.PENDING, clock(), 0)
    receiver.hold.set()


def test_deliveries_are_forgotten_after_thirty_days(receiver: Receiver, courier: Courier, clock: Clock) -> None:
    subscribe(receiver.url())
    end_task()
    number()
    carry(courier)
    assert delivering.sweep(now=clock() + timedelta(days=29)) == 0
    assert delivering.sweep(now=clock() + timedelta(days=31)) == 1
    assert not WebhookDelivery.objects.exists()
    assert not WebhookAttempt.objects.exists()
