"""Help, the palette and saved views: what they show to whom, what they keep, and what they never open."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from audit.events import EventType
from audit.ids import new_id
from audit.models import LedgerEvent
from orchestrator_site.finding.keys import BY_PAGE, GO
from orchestrator_site.finding.lists import LISTS, keep_filters
from orchestrator_site.finding.results import MAX_HITS
from orchestrator_site.finding.saved import MAX_VIEWS
from orchestrator_site.models import SavedView
from tests.integration.console_cast import CAST, make_task, make_waiting_task, sign_in, world
from tests.security.test_doors import ADDRESSES

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")

PART: Any = {"HTTP_HX_REQUEST": "true"}


def find(text: str, who: str = "ada") -> dict[str, list[str]]:
    """Return what a text finds, by kind: addresses."""
    answer = sign_in(who).get("/find/", {"q": text})
    assert answer.status_code == 200
    return {label: [hit.href for hit in hits] for label, hits in answer.context["groups"]}


# --- help -----------------------------------------------------------------------------------------------------
def test_the_help_names_the_keys_of_the_page_it_was_asked_on() -> None:
    ada = sign_in("ada")
    plain = ada.get("/help/").content.decode()
    assert "pause, and go on" not in plain
    assert "On this page" not in plain
    for page in BY_PAGE:
        address = reverse(f"console:{page}", args=["x"] if page in {"approval", "task"} else [])
        there = ada.get("/help/", {"at": address}, **PART).content.decode()
        assert '<h3 id="keys-here">' in there
        assert "<html" not in there


def test_the_help_takes_any_address(client: Any) -> None:
    for at in ("//", "http://[", "/nowhere/", "https://evil.example/live/", "\x00" * 3 and "%"):
        assert sign_in("ada").get("/help/", {"at": at}).status_code == 200


def test_a_letter_leads_only_to_pages_that_the_person_may_open() -> None:
    for who, sees_trail in (("vera", False), ("olga", True)):
        page = sign_in(who).get("/tasks/").content.decode()
        assert ('data-key="g u"' in page) is sees_trail
        assert 'data-key="g t"' in page
        assert ("<dd>Audit</dd>" in sign_in(who).get("/help/").content.decode()) is sees_trail


def test_no_two_pages_have_the_same_letter() -> None:
    assert len(set(GO.values())) == len(GO)


# --- find -----------------------------------------------------------------------------------------------------
def test_tasks_and_approvals_are_found_by_the_beginning_of_their_id_and_tasks_by_its_end() -> None:
    task, (waiting, approval) = make_task(), make_waiting_task()
    other = make_task(age=timedelta(days=400))
    assert f"/tasks/{task.id}/" in find(task.id)["Tasks"]
    assert find(other.id[:12]) == {"Tasks": [f"/tasks/{other.id}/"], "Audit trail": [f"/audit/?q={other.id[:12]}"]}
    assert find(task.id[-8:])["Tasks"] == [f"/tasks/{task.id}/"]
    assert find(approval.id)["Approvals"] == [f"/approvals/{approval.id}/"]
    assert f"/tasks/{waiting.id}/" in find(waiting.id.upper())["Tasks"]


def test_an_entry_is_found_by_its_number_and_by_the_beginning_of_its_id(audit_store: Any) -> None:
    from audit.sequencer import Sequencer

    sequencer = Sequencer("one")
    while sequencer.step():
        pass
    event = LedgerEvent.objects.filter(seq__isnull=False).order_by("-seq").first()
    assert event
    assert event.seq
    assert find(f"#{event.seq}")["Audit trail"] == [f"/audit/{event.seq}/"]
    assert f"/audit/{event.seq}/" in find(event.event_id[:20])["Audit trail"]
    assert "Audit trail" not in find(str(event.seq + 10_000))


def test_the_rest_is_found_by_its_name() -> None:
    assert "/agents/market-research-agent/" in find("market rese")["Agents"]
    assert "/permissions/rules/market-research-fetch/" in find("research-fetch")["Rules"]
    assert "/skills/sourceFetch/" in find("sourcefetch")["Skills"]
    assert "/tasks/new/market-research-agent/" in find("new task market")["Do"]
    assert find("stop fleet")["Do"] == ["/fleet/"]
    assert find("gra")["Pages"] == ["/approvals/grants/"]
    assert find("olg")["Users"] == [f"/settings/users/{User.objects.get(username='olga').pk}/"]
    assert "Users" not in find("olg", "olga")
    assert find("nothing is called so") == {}


def test_without_a_text_it_offers_pages_and_deeds() -> None:
    assert {*find("")} == {"Pages", "Do"}
    assert "/tasks/" in find("  ")["Pages"]


@pytest.mark.parametrize("who", CAST)
def test_everything_that_is_found_may_be_opened_by_who_found_it(who: str) -> None:
    task = make_task()
    client = sign_in(who)
    for text in ("", "a", "new", "fleet", "audit", "cap", "views", "market", task.id):
        for address in [address for addresses in find(text, who).values() for address in addresses]:
            if not address.startswith(("/audit/", "/live/")):  # they need their store
                assert client.get(address).status_code == 200, (who, text, address)


def test_who_may_not_read_the_trail_finds_nothing_of_it() -> None:
    assert "Pages" not in find("audit", "vera")
    assert "Audit trail" not in find(new_id(), "vera")


@pytest.mark.parametrize("text", ["%", "_", "'", "\\", "<script>", "{{ 7 }}", "f" * 500, "\u202e", "0", "a" * 32])
def test_whatever_is_typed_is_a_text(text: str) -> None:
    answer = sign_in("ada").get("/find/", {"q": text}, **PART)
    assert answer.status_code == 200
    assert b"<script>" not in answer.content


def test_a_search_is_bounded(django_assert_max_num_queries: Any) -> None:
    client, tasks = sign_in("ada"), [make_task() for _ in range(MAX_HITS + 3)]
    client.get("/find/", {"q": "warm"}, **PART)
    with django_assert_max_num_queries(28):
        answer = client.get("/find/", {"q": tasks[0].id[:6]}, **PART)
    assert len(dict(answer.context["groups"])["Tasks"]) == MAX_HITS


def test_ids_are_looked_for_by_their_index() -> None:
    from django.db import connection

    from agents.models import Task
    from audit.ids import span_of

    plan = Task.objects.filter(id__range=span_of("0191af")).order_by("-id").explain()
    assert "SCAN" not in plan or "USING INDEX" in plan, plan
    assert connection.vendor == "postgresql" or "SEARCH" in plan


# --- views ----------------------------------------------------------------------------------------------------
def save(who: str = "ada", **given: str) -> Any:
    sent = {"list": "tasks", "name": "Failed", "query": "status=failed&before=abc&peek=1&csrfmiddlewaretoken=x"} | given
    return sign_in(who).post("/views/save/", sent)


def test_a_view_keeps_the_filters_alone_and_is_a_link_above_its_list() -> None:
    answer = save()
    assert answer["Location"] == "/tasks/?status=failed"
    page = sign_in("ada").get("/tasks/?status=failed").content.decode()
    assert '<a class="chip" href="/tasks/?status=failed" aria-current="true">' in page
    assert "Failed" not in sign_in("ana").get("/views/").content.decode()
    event = LedgerEvent.objects.filter(type=EventType.VIEW_SAVED).get()
    assert '"query":"status=failed"' in str(event.body).replace(" ", "").replace("'", '"')
    assert find("failed")["Saved views"] == ["/tasks/?status=failed"]


@pytest.mark.parametrize("name", LISTS)
def test_every_list_offers_to_save_what_it_is_narrowed_to(name: str) -> None:
    one = LISTS[name]
    key = sorted(one.filters)[0]
    page = sign_in("ada").get(reverse(one.view), {key: "deny", "elsewhere": "//evil.example"}).content.decode()
    assert f'name="query" value="{keep_filters(name, f"{key}=deny")}"' in page
    assert "Save this view" not in sign_in("ada").get(reverse(one.view)).content.decode()


@pytest.mark.parametrize(
    "given",
    [
        {"query": ""},
        {"query": "next=//evil.example&before=1"},
        {"query": "status=" + "x" * 1001},
        {"name": ""},
        {"name": " "},
        {"name": "x" * 61},
        {"name": "a\nb"},
    ],
)
def test_what_is_no_view_is_not_kept(given: dict[str, str]) -> None:
    answer = save(**given)
    assert answer["Location"] == "/tasks/"
    assert not SavedView.objects.exists()


def test_a_list_that_is_unknown_or_closed_to_the_person_keeps_nothing() -> None:
    for who, name in (("ada", "https://evil.example"), ("ada", "users"), ("vera", "audit")):
        assert save(who, list=name, query="q=x").status_code == 404
    assert not SavedView.objects.exists()


def test_a_view_of_a_list_that_was_closed_since_is_not_shown() -> None:
    save("olga", list="audit", query="decision=deny", name="Denied")
    olga = User.objects.get(username="olga")
    olga.groups.set([next(group for group in User.objects.get(username="vera").groups.all())])
    assert "Denied" not in sign_in("olga").get("/views/").content.decode()
    assert "Saved views" not in find("Denied", "olga")


def test_views_are_renamed_and_deleted_by_their_owner_alone() -> None:
    save()
    save(name="Waiting", query="status=queued")
    view = SavedView.objects.get(name="Failed")
    for verb in ("rename", "delete"):
        assert sign_in("ana").post(f"/views/{view.pk}/{verb}/", {"name": "Mine"}).status_code == 404
    ada = sign_in("ada")
    ada.post(f"/views/{view.pk}/rename/", {"name": "Waiting"})
    ada.post(f"/views/{view.pk}/rename/", {"name": "Broken"})
    view.refresh_from_db()
    assert view.name == "Broken"
    ada.post(f"/views/{view.pk}/delete/")
    assert [one.name for one in SavedView.objects.all()] == ["Waiting"]
    kinds = LedgerEvent.objects.filter(type__startswith="view.").order_by("id").values_list("type", flat=True)
    assert [*kinds] == ["view.saved", "view.saved", "view.renamed", "view.deleted"]


def test_a_name_that_is_taken_is_saved_anew_and_there_is_an_end_to_it() -> None:
    save()
    save(query="status=cancelled")
    assert SavedView.objects.get().query == "status=cancelled"
    ada = User.objects.get(username="ada")
    now = SavedView.objects.get().created_at
    rows = [SavedView(owner=ada, list="tasks", name=f"{n}", query="status=queued", created_at=now) for n in range(99)]
    SavedView.objects.bulk_create(rows)
    save(name="One more")
    assert SavedView.objects.count() == MAX_VIEWS


# --- the panel beside a list ----------------------------------------------------------------------------------
def test_the_panel_of_a_task_says_why_it_failed_and_is_no_page() -> None:
    task = make_task(state="failed", error_code="timeout", error_message="it took <too> long")
    shown = sign_in("vera").get(f"/tasks/{task.id}/", HTTP_HX_REQUEST="true", HTTP_HX_TARGET="peek").content.decode()
    assert "It took &lt;too&gt; long" in shown
    assert f'href="/tasks/{task.id}/">Open' in shown
    assert "<html" not in shown
    assert "Request" not in shown


def test_a_row_of_the_tasks_is_a_link_that_works_without_scripts() -> None:
    task = make_task()
    page = sign_in("vera").get("/tasks/").content.decode()
    assert f'href="/tasks/{task.id}/" title="{task.id}" data-peek="{task.id}"' in page


def test_these_tests_look_at_addresses_that_there_are() -> None:
    assert {"/help/", "/find/", "/views/", "/views/save/", "/views/1/rename/", "/views/1/delete/"} <= set(ADDRESSES)
