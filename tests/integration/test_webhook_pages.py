"""Webhooks in the console and over the API: who may see and change them, and what is shown of them."""

from collections.abc import Iterator
from typing import Any

import pytest

from audit.events import EventType
from audit.models import LedgerEvent
from orchestrator_site.webhooks import subscribing
from orchestrator_site.webhooks.courier import Courier
from orchestrator_site.webhooks.following import get_state
from orchestrator_site.webhooks.models import WebhookDelivery, WebhookSubscription
from orchestrator_site.webhooks.views import make_key
from tests.integration.api_cast import ORDER, api_of, problem_of
from tests.integration.console_cast import sign_in, text_of, world
from tests.integration.webhook_cast import LOOPBACK, Receiver, carry, end_task, number, run_receiver, subscribe

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")
FORM = {"name": "Ops", "url": "https://hooks.example/in?key=s3cr3t", "kinds": ["task.ended", "budget.crossed"]}


@pytest.fixture(autouse=True)
def opened(settings: Any, world: None) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [f"{LOOPBACK}/32"]
    get_state()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with run_receiver() as running:
        yield running


@pytest.fixture
def courier() -> Iterator[Courier]:
    courier = Courier()
    yield courier
    courier.close()


# --- the console ----------------------------------------------------------------------------------------------
def test_a_webhook_is_made_changed_paused_and_deleted_and_its_secret_is_shown_once() -> None:
    ada = sign_in("ada")
    made = text_of(ada.post("/settings/webhooks/new/", FORM, follow=True))
    row = WebhookSubscription.objects.get()
    secret = subscribing.read_secret(row)
    assert secret in made
    page = f"/settings/webhooks/{row.id}/"
    for path in (
        page,
        f"{page}edit/",
        f"{page}secret/",
        f"{page}secret/?key={make_key(row, user='olga')}",
        "/settings/webhooks/",
        "/settings/webhooks/deliveries/",
    ):
        assert secret not in text_of(ada.get(path))
    assert "s3cr3t" not in text_of(ada.get(page))  # it stands in the form of who may change it alone
    ada.post(f"{page}edit/", FORM | {"name": "Ops 2", "agents": ["content-agent"]})
    ada.post(f"{page}switch/", {"state": "paused"})
    row.refresh_from_db()
    assert (row.name, row.agents, row.is_active) == ("Ops 2", ["content-agent"], False)
    changed = text_of(ada.post(f"{page}rotate/", follow=True))
    row.refresh_from_db()
    assert subscribing.read_secret(row) != secret
    assert subscribing.read_secret(row) in changed
    ada.post(f"{page}delete/")
    assert not WebhookSubscription.objects.exists()
    events = list(LedgerEvent.objects.filter(type__startswith="webhook.").order_by("id"))
    assert [event.type.partition(".")[2] for event in events] == ["created", "changed", "paused", "rotated", "deleted"]
    assert all(event.body["host"] == "hooks.example" for event in events)
    assert not any("s3cr3t" in str(event.body) or "whsec_" in str(event.body) for event in events)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://hooks.example/", "an address of https or http"),
        ("https://user:pass@hooks.example/", "no user and no password"),
        ("https://hooks.example/#part", "fragment"),
        ("https://hooks.example:0/", "no port"),
        ("https://0x7f.1/", "neither a domain name nor an IP address"),
        ("https://hooks.example/" + "a" * 2_048, "2,048"),
        ("https://hooks.example/" + "é" * 1_000, "2,048"),
    ],
)
def test_an_address_that_is_none_is_refused_everywhere(url: str, why: str) -> None:
    answer = sign_in("ada").post("/settings/webhooks/new/", FORM | {"url": url})
    assert answer.status_code == 422
    assert why in text_of(answer)
    webhook = problem_of(api_of("ada").post("webhooks", FORM | {"url": url}), 422, "body_invalid")
    order = problem_of(api_of("olga").post("tasks", ORDER | {"callbackUrl": url}), 422, "body_invalid")
    assert why in webhook["errors"][0]["detail"]
    assert why in order["errors"][0]["detail"]
    assert order["errors"][0]["pointer"] == "#/callbackUrl"
    assert not WebhookSubscription.objects.exists()


def test_who_may_only_read_sees_no_secret_and_no_button() -> None:
    row = subscribe("https://hooks.example/")
    for name in ("olga", "axel"):
        client = sign_in(name)
        shown = text_of(client.get("/settings/webhooks/")) + text_of(client.get(f"/settings/webhooks/{row.id}/"))
        assert "whsec_" not in shown
        assert not any(
            button in shown for button in ("New webhook", ">Pause", ">Delete", "its secret", "that secret</")
        )
        assert client.get("/settings/webhooks/new/").status_code == 403
    assert subscribing.read_callback_secret() in text_of(sign_in("ada").get("/settings/webhooks/"))
    for name in ("vera", "ana", "mallory"):
        assert sign_in(name).get("/settings/webhooks/").status_code == 403


def test_a_receiver_that_may_not_be_reached_is_explained_on_its_page(courier: Courier, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    task = end_task(callback_url="http://127.0.0.1:9/?key=s3cr3t")
    number()
    carry(courier)
    ada = sign_in("ada")
    page = text_of(ada.get(f"/settings/webhooks/deliveries/{WebhookDelivery.objects.get().id}/"))
    assert "not a public one. Nothing was sent to it." in page
    assert "WEBHOOK_ALLOWED_NETWORKS opens networks of your own." in page
    task_page = text_of(ada.get(f"/tasks/{task.id}/"))
    assert "http://127.0.0.1:9/?…" in task_page
    assert "s3cr3t" not in task_page + page


def test_deliveries_are_filtered_paged_and_sent_again(receiver: Receiver, courier: Courier, monkeypatch: Any) -> None:
    monkeypatch.setattr("orchestrator_site.webhooks.views.PAGE_SIZE", 2)
    receiver.answers(500, body=b"<img src=x onerror=alert(1)>\x1b[31m")
    row = subscribe(receiver.url())
    for _ in range(3):
        end_task(EventType.TASK_FAILED)
    number()
    carry(courier)
    ada = sign_in("ada")
    first = ada.get("/settings/webhooks/deliveries/", {"state": "pending", "receiver": row.id, "kind": "task.ended"})
    older = ada.get("/settings/webhooks/deliveries/", {"before": first.context["next"]})
    ids = [shown["delivery"].id for page in (first, older) for shown in page.context["deliveries"]]
    assert ids == list(WebhookDelivery.objects.order_by("-id").values_list("id", flat=True))
    assert not ada.get("/settings/webhooks/deliveries/", {"state": "failed"}).context["deliveries"]
    exported: Any = ada.get("/exports/deliveries.csv", {"state": "pending", "task": ids[0]})
    assert len(b"".join(exported.streaming_content).splitlines()) == 1  # no task has that id
    exported = ada.get("/exports/deliveries.csv", {"state": "pending"})
    assert len(b"".join(exported.streaming_content).splitlines()) == 4
    page = f"/settings/webhooks/deliveries/{ids[0]}/"
    assert "&lt;img src=x onerror=alert(1)&gt;\\x1b[31m" in text_of(ada.get(page))
    receiver.answers(200)
    assert ada.post(f"{page}retry/").status_code == 302
    carry(courier)
    assert WebhookDelivery.objects.get(id=ids[0]).state == "delivered"
    (event,) = LedgerEvent.objects.filter(type="webhook.retried")
    assert (event.actor, event.body["deliveryId"]) == ("user:ada", ids[0])
    assert sign_in("olga").post(f"{page}retry/").status_code == 403


def test_the_pages_ask_the_store_a_bounded_number_of_questions(
    receiver: Receiver, courier: Courier, django_assert_max_num_queries: Any
) -> None:
    for place in range(10):
        subscribe(receiver.url(), name=f"hook {place}")
    end_task()
    number()
    carry(courier)
    ada = sign_in("ada")
    for path in ("/settings/webhooks/", "/settings/webhooks/deliveries/"):
        ada.get(path)
        with django_assert_max_num_queries(16):
            ada.get(path)


# --- the API --------------------------------------------------------------------------------------------------
def test_the_api_does_the_same(receiver: Receiver, courier: Courier) -> None:
    ada = api_of("ada")
    made = ada.post("webhooks", {"name": "Ops", "url": receiver.url(), "kinds": ["task.ended"]})
    assert made.status_code == 201
    hook = made.json()
    assert hook["secret"].startswith("whsec_")
    path = f"/api/webhooks/{hook['webhookId']}"
    (listed,) = ada.get("webhooks").json()["results"]
    assert listed == {name: value for name, value in hook.items() if name != "secret"} == ada.get(path).json()
    changed = ada.send("PATCH", path, data=b'{"name": "Ops 2", "active": false}', content_type="application/json")
    assert (changed.json()["name"], changed.json()["active"]) == ("Ops 2", False)
    ada.send("PATCH", path, data=b'{"active": true}', content_type="application/json")
    assert ada.post(f"{path}/rotate").json()["secret"] != hook["secret"]
    end_task()
    number()
    carry(courier)
    (delivery,) = ada.get("webhooks/deliveries", state="delivered").json()["results"]
    detail = ada.get(f"webhooks/deliveries/{delivery['deliveryId']}").json()
    assert (detail["tries"][0]["status"], detail["tries"][0]["body"]) == (200, "ok")
    assert ada.post(f"webhooks/deliveries/{delivery['deliveryId']}/retry").status_code == 202
    assert ada.send("DELETE", path).status_code == 204
    problem_of(ada.get(path), 404, "not_found")
    problem_of(ada.post(f"webhooks/deliveries/{delivery['deliveryId']}/retry"), 404, "not_found")
    assert ada.get("webhooks/deliveries", state="failed").json()["results"] != []


def test_two_webhooks_have_two_names_and_agents_that_there_are() -> None:
    ada = api_of("ada")
    ada.post("webhooks", FORM)
    problem_of(ada.post("webhooks", FORM), 409, "name_taken")
    problem_of(ada.post("webhooks", FORM | {"name": "b", "agents": ["nobody"]}), 422, "body_invalid")
    problem_of(ada.post("webhooks", FORM | {"name": "b", "kinds": ["task.started"]}), 422, "body_invalid")


def test_an_order_keeps_its_callback_in_one_form() -> None:
    olga = api_of("olga")
    task = olga.post("tasks", ORDER | {"callbackUrl": "HTTPS://Hooks.Example:443/a b".replace(" ", "%20")}).json()
    assert task["callbackUrl"] == "https://hooks.example/a%20b"
    flow = {"steps": [{"name": "one", **ORDER}], "callbackUrl": "https://hooks.example/flow"}
    assert olga.post("workflows", flow).json()["callbackUrl"] == "https://hooks.example/flow"
    assert olga.post("tasks", ORDER).json()["callbackUrl"] is None


def test_who_may_only_read_sees_no_query_of_an_address_by_the_api_either() -> None:
    row = subscribe("https://hooks.example/a?key=s3cr3t")
    task = end_task(callback_url="https://hooks.example/b?key=s3cr3t")
    for path in ("webhooks", f"webhooks/{row.id}"):
        answer = api_of("olga").get(path)
        assert "https://hooks.example/a?…" in answer.content.decode()
        assert "s3cr3t" not in answer.content.decode()
        assert "s3cr3t" in api_of("ada").get(path).content.decode()
    for path in ("tasks", f"tasks/{task.id}"):
        answer = api_of("vera").get(path)
        assert "https://hooks.example/b?…" in answer.content.decode()
        assert "s3cr3t" not in answer.content.decode()
