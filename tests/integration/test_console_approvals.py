"""Approvals in the console: what is shown before an answer, who may give which, and what came of it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Task
from orchestrator_site.roles import Role
from tests.integration.console_cast import PATCH_INPUT, PATCHER, make_task, make_waiting_task, sign_in, text_of, world
from toolgate.approvals import decide_approval, list_grants
from toolgate.digests import digest_call
from toolgate.fleet import get_fleet
from toolgate.in_force import policy_in_force
from toolgate.models import Approval, ApprovalState, ApprovalVote, DecisionRecord

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")

WRITE_RULE = "build-refactor-patch-write"
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7|add:7 }}\u202e\x1b[31m'


def make_request(**columns: Any) -> Approval:
    """Insert what the gate would ask about a patch that is no dry run."""
    columns.setdefault("rule_id", WRITE_RULE)
    columns.setdefault("terms", [terms()])
    columns.setdefault("created_at", timezone.now())
    _, approval = make_waiting_task(sla_at=columns["created_at"] + timedelta(minutes=15), **columns)
    return approval


def terms(rule_id: str = WRITE_RULE, *, quorum: int = 1, approvers: Any = None, four_eyes: bool = True) -> Any:
    return {
        "ruleId": rule_id, "quorum": quorum, "approvers": approvers, "fourEyes": four_eyes,
        "expiresSeconds": None, "slaSeconds": None,
    }  # fmt: skip


def answer(client: Client, approval: Approval, decision: str = "approve", **more: Any) -> Any:
    sent = {"decision": decision, "digest": approval.digest, **more}
    return client.post(f"/approvals/{approval.id}/decide/", sent)


def state_of(approval: Approval) -> str:
    return Approval.objects.get(id=approval.id).state


@pytest.fixture
def ben() -> User:
    """A second approver, who is one of the leads."""
    ben = User.objects.create_user("ben")
    ben.groups.set([Group.objects.get_or_create(name=name)[0] for name in (Role.APPROVER, "leads")])
    return ben


# --- one request ------------------------------------------------------------------------------------------------
def test_the_page_of_an_approval_shows_the_exact_arguments_and_what_binds_them() -> None:
    approval = make_request()
    page = text_of(sign_in("ana").get(f"/approvals/{approval.id}/"))
    assert "examples/project/report.py" in page
    assert f'name="digest" value="{approval.digest}"' in page
    assert f'href="/permissions/rules/{WRITE_RULE}/"' in page
    assert "0 of 1 approval, from anybody who may decide approvals, other than who submitted the task" in page
    assert "writes to the workspace" in page
    assert "answer due in 14 min" in page


@pytest.mark.parametrize(
    "path", ["/approvals/", "/approvals/{approval}/", "/tasks/{task}/", "/approvals/{approval}/edit/"]
)
def test_what_is_asked_for_is_inert(path: str) -> None:
    arguments = {"filePath": HOSTILE, HOSTILE: [HOSTILE], "changes": [{"type": HOSTILE, "newText": HOSTILE}]}
    digest = digest_call(PATCHER, "workspacePatch", arguments, 1)
    approval = make_request(arguments=arguments, asked_arguments={"filePath": "x"}, digest=digest)
    page = text_of(sign_in("ana").get(path.format(approval=approval.id, task=approval.task_id)))
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "{{ 7|add:7 }}" in page


def test_how_the_rules_came_to_ask_can_be_looked_up() -> None:
    approval = make_request()
    make_decision_of(approval, tainted=True)
    page = text_of(sign_in("ana").get(f"/approvals/{approval.id}/"))
    assert f'href="/permissions/explain/?approval={approval.id}"' in page
    assert "the task has read text from outside" in page


def make_decision_of(approval: Approval, *, tainted: bool) -> None:
    DecisionRecord.objects.create(
        id=f"d{approval.id}"[:64], at=approval.created_at, agent_id=approval.agent_id, agent_version=1,
        skill_id=approval.skill_id, skill_version="1", arguments=approval.arguments, arguments_digest="0" * 64,
        resource={"hosts": [], "readPaths": [], "writePaths": [], "arguments": {}, "tainted": tainted}, counters={},
        effect="ask", reason="approval_required", detail="", deciding_rules=[WRITE_RULE], policy_version=1,
        task_id=approval.task_id, trace_id="t",
    )  # fmt: skip


def test_what_was_said_last_time_is_told() -> None:
    earlier = make_request()
    decide_approval(earlier.id, approve=False, user="ana", note="not today", now=timezone.now())
    page = text_of(sign_in("ana").get(f"/approvals/{make_request().id}/"))
    assert re.search(rf'<a href="/approvals/{earlier.id}/">refused</a> by ana', page)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"state": "expired"}, "Nobody answered in time"),
        ({"state": "superseded"}, "The rules changed or the task ended"),
        ({"state": "approved", "decided_by": "ana", "scope": "task"}, "this call, and further ones in this task"),
        ({"state": "used", "decided_by": "ana"}, "Approved and used"),
        ({"state": "refused", "decided_by": "ana", "note": "no"}, "Refused"),
    ],
)
def test_what_is_over_says_so_and_has_no_form(columns: dict[str, Any], words: str) -> None:
    approval = make_request(decided_at=timezone.now(), used_at=timezone.now(), **columns)
    page = text_of(sign_in("ana").get(f"/approvals/{approval.id}/"))
    assert words in page
    assert "/decide/" not in page
    assert "<dt>Expires</dt>" not in page  # what is over expires no more


def test_the_clock_of_the_sla_and_an_escalation_are_shown() -> None:
    now = timezone.now()
    approval = make_request(escalated_at=now)
    late = now - timedelta(minutes=3, seconds=5)
    Approval.objects.filter(id=approval.id).update(created_at=late - timedelta(minutes=15), sla_at=late)
    for path in ("/approvals/", f"/approvals/{approval.id}/", f"/tasks/{approval.task_id}/"):
        page = text_of(sign_in("ana").get(path))
        assert "answer overdue by 3 min" in page
        assert "Escalated" in page


def test_a_request_under_older_rules_says_so_before_it_is_answered() -> None:
    approval = make_request(policy_version=policy_in_force().version - 1)
    for path in (f"/approvals/{approval.id}/", f"/tasks/{approval.task_id}/"):
        page = text_of(sign_in("ana").get(path))
        assert "The rules have changed since this was asked" in page
        assert "Let it ask again" in page
        assert 'name="scope"' not in page  # there is nothing to choose: it cannot be approved
    assert "The rules have changed" not in text_of(sign_in("ana").get(f"/approvals/{make_request().id}/"))


# --- answers ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("decision", "state", "task_state"),
    [("approve", ApprovalState.APPROVED, "queued"), ("refuse", ApprovalState.REFUSED, "failed")],
)
def test_an_answer_on_the_task_page_moves_the_task(decision: str, state: str, task_state: str) -> None:
    approval = make_request()
    back = f"/tasks/{approval.task_id}/"
    sent = answer(sign_in("ana"), approval, decision, note="looked at it", next=back)
    assert sent["Location"] == back
    approval.refresh_from_db()
    assert (approval.state, approval.decided_by, approval.note) == (state, "ana", "looked at it")
    assert Task.objects.get(id=approval.task_id).state == task_state


def test_an_answer_leads_nowhere_else() -> None:
    approval = make_request()
    assert answer(sign_in("ana"), approval, next="https://evil.example/")["Location"] == f"/approvals/{approval.id}/"


def test_who_submitted_is_not_offered_to_decide_and_is_refused_all_the_same() -> None:
    approval = make_request(submitted_by="ada")
    Task.objects.filter(id=approval.task_id).update(submitted_by="ada")
    client = sign_in("ada")
    for path in (f"/tasks/{approval.task_id}/", f"/approvals/{approval.id}/"):
        page = text_of(client.get(path))
        assert "another person decides" in page
        assert 'value="approve"' not in page
    page = text_of(client.get(answer(client, approval)["Location"]))
    assert "another person has to answer" in page
    assert state_of(approval) == ApprovalState.PENDING


def test_whom_the_rules_do_not_name_is_told_whom_they_do(ben: User) -> None:
    approval = make_request(terms=[terms(approvers=["group:leads"])])
    page = text_of(sign_in("ana").get(f"/approvals/{approval.id}/"))
    assert "from somebody of the group leads" in page
    assert "do not name you" in page
    assert 'value="approve"' not in page
    answer(sign_in("ana"), approval)
    assert state_of(approval) == ApprovalState.PENDING
    answer(sign_in("ben"), approval)
    assert state_of(approval) == ApprovalState.APPROVED


def test_two_people_approve_what_takes_two(ben: User) -> None:
    approval = make_request(terms=[terms(quorum=2)])
    ana = sign_in("ana")
    page = text_of(ana.get(answer(ana, approval, note="fine by me")["Location"]))
    assert "Your approval counts" in page
    assert "1 of 2 approvals" in page
    assert "fine by me" in page
    assert "You have approved this" in page
    assert 'value="refuse"' in page
    assert 'value="approve"' not in page
    answer(sign_in("ben"), approval)
    assert state_of(approval) == ApprovalState.APPROVED


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "Choose “Approve” or “Refuse”."),
        ({"decision": "force"}, "Choose “Approve” or “Refuse”."),
        ({"decision": "approve"}, "The form does not say what you saw."),
        ({"decision": "approve", "digest": "x"}, "Enter a valid value."),
        ({"decision": "approve", "digest": "DIGEST", "scope": "minutes"}, "Say for how many minutes."),
        ({"decision": "approve", "digest": "DIGEST", "scope": "minutes", "minutes": "1441"}, "less than or equal to"),
        ({"decision": "approve", "digest": "DIGEST", "scope": "always"}, "not one of the available choices"),
        ({"decision": "refuse", "digest": "DIGEST", "note": "bell\a"}, "control characters"),
    ],
)
def test_an_answer_that_cannot_be_taken_decides_nothing_and_keeps_what_was_typed(
    sent: dict[str, str], words: str
) -> None:
    approval = make_request()
    sent = {"note": "keep me"} | {name: approval.digest if text == "DIGEST" else text for name, text in sent.items()}
    got = sign_in("ana").post(f"/approvals/{approval.id}/decide/", sent)
    assert got.status_code == 422
    page = text_of(got)
    assert words in page
    assert f'name="note" maxlength="2000" autocomplete="off" value="{sent["note"]}"' in page
    assert state_of(approval) == ApprovalState.PENDING


def test_what_was_changed_since_it_was_shown_is_not_approved(ben: User) -> None:
    approval = make_request(terms=[terms(quorum=2)])
    changed = PATCH_INPUT | {"changes": [{"type": "append", "newText": "# other\n"}]}
    decide_approval(approval.id, approve=True, user="ben", arguments=changed, now=timezone.now())
    client = sign_in("ana")
    page = text_of(client.get(answer(client, approval)["Location"]))
    assert state_of(approval) == ApprovalState.PENDING
    assert "Somebody changed the arguments meanwhile." in page
    assert "before it is approved" in page
    assert ApprovalVote.objects.get().user == "ben"


def test_a_scope_beyond_the_call_becomes_a_grant_that_can_be_revoked() -> None:
    approval = make_request()
    answer(sign_in("ana"), approval, scope="minutes", minutes="30")
    [grant] = list_grants(timezone.now())
    assert (grant.agent_id, grant.task_id, grant.granted_by) == (PATCHER, "", ["ana"])
    page = text_of(sign_in("vera").get("/approvals/grants/"))
    assert "any of its tasks" in page
    assert "/revoke/" not in page
    client = sign_in("ana")
    assert f"/approvals/grants/{grant.id}/revoke/" in text_of(client.get("/approvals/grants/"))
    page = text_of(client.post(f"/approvals/grants/{grant.id}/revoke/", follow=True))
    assert "Revoked. From now on" in page
    assert "revoked by ana" in page
    assert list_grants(timezone.now()) == []
    assert "already" in text_of(client.post(f"/approvals/grants/{grant.id}/revoke/", follow=True))


def test_a_task_scope_names_its_task() -> None:
    approval = make_request()
    page = text_of(sign_in("ana").get(answer(sign_in("ana"), approval, scope="task")["Location"]))
    assert "this call, and further ones in this task" in page
    assert f'href="/tasks/{approval.task_id}/"' in text_of(sign_in("ana").get("/approvals/grants/"))


# --- reports and steps of unknown outcome -----------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/approvals/{approval}/", "/tasks/{task}/", "/approvals/"])
def test_a_review_speaks_of_the_report_and_not_of_a_call(path: str) -> None:
    arguments = {"content": "# Title\nWords."}
    approval = make_request(kind="review", skill_id="report", arguments=arguments, rule_id="", terms=[])
    page = text_of(sign_in("ana").get(path.format(approval=approval.id, task=approval.task_id)))
    assert "report" in page
    assert "asks to call" not in page
    assert "<code>report</code>" not in page
    assert "Change the arguments" not in page
    assert 'name="scope"' not in page


def test_a_refused_review_ends_the_task_and_says_so() -> None:
    approval = make_request(kind="review", skill_id="report", arguments={"content": "Words."}, rule_id="", terms=[])
    client = sign_in("ana")
    page = text_of(client.get(answer(client, approval, "refuse", note="too short")["Location"]))
    assert "The report is no result" in page
    assert Task.objects.get(id=approval.task_id).error_message == "ana refused the report: too short."


def test_a_question_about_an_unknown_step_asks_whether_it_may_run_again() -> None:
    approval = make_request(kind="step_unknown")
    page = text_of(sign_in("ana").get(f"/approvals/{approval.id}/"))
    assert "once more" in page
    assert "Let it run again" in page
    assert "Look first" in page
    assert "If you refuse, the task ends with your note" in page
    assert "Change the arguments" not in page


def test_a_question_that_has_its_answer_asks_nothing_any_more() -> None:
    approval = make_request(kind="step_unknown", state="used", decided_by="ana", decided_at=timezone.now())
    assert "Look first" not in text_of(sign_in("ana").get(f"/approvals/{approval.id}/"))


# --- other arguments --------------------------------------------------------------------------------------------
def fields_of(page: str) -> dict[str, str]:
    """Return the names of the form's fields by their label."""
    return {label: name for name, label in re.findall(r'<label for="id_(a\d+)">(\w+)', page)}


@pytest.fixture
def edited() -> tuple[Client, Approval, dict[str, str]]:
    """Give a request whose form was filled with other arguments, by ana."""
    client, approval = sign_in("ana"), make_request()
    names = fields_of(text_of(client.get(f"/approvals/{approval.id}/edit/")))
    assert set(names) == set(PATCH_INPUT)
    values = {"filePath": "examples/other.py", "changes": '[{"type": "append", "newText": "# seen\\n# twice\\n"}]'}
    return client, approval, {names[name]: value for name, value in values.items()}


def test_a_changed_call_is_shown_line_by_line_and_then_approved(
    edited: tuple[Client, Approval, dict[str, str]],
) -> None:
    client, approval, sent = edited
    got = client.post(f"/approvals/{approval.id}/edit/", sent)
    page = text_of(got)
    assert got.status_code == 200
    assert "<del>\N{MINUS SIGN}   &quot;filePath&quot;: &quot;examples/project/report.py&quot;</del>" in page
    assert "<ins>+   &quot;filePath&quot;: &quot;examples/other.py&quot;</ins>" in page
    assert "| # twice</ins>" in page
    assert state_of(approval) == ApprovalState.PENDING
    arguments = hidden(page, "arguments")
    page = text_of(client.get(answer(client, approval, arguments=arguments, note="safer")["Location"]))
    approval.refresh_from_db()
    assert approval.state == ApprovalState.APPROVED
    assert approval.asked_arguments == PATCH_INPUT
    assert approval.arguments["filePath"] == "examples/other.py"
    assert "before it was approved, by ana" in page
    assert "<ins>+   &quot;filePath&quot;: &quot;examples/other.py&quot;</ins>" in page


def hidden(page: str, name: str) -> str:
    from html import unescape

    return unescape(re.findall(rf'name="{name}" value="([^"]*)"', page)[0])


def test_a_change_can_be_changed_further(edited: tuple[Client, Approval, dict[str, str]]) -> None:
    client, approval, sent = edited
    arguments = hidden(text_of(client.post(f"/approvals/{approval.id}/edit/", sent)), "arguments")
    page = text_of(client.post(f"/approvals/{approval.id}/edit/", {"arguments": arguments}))
    assert 'value="examples/other.py"' in page
    assert "# twice" in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("[", "This is not JSON"),
        ("", "This field is required."),
        ('[{"type": "explode"}]', "The input is not as the skill wants it"),
        ('[{"type": "append", "newText": "# checked\\n"}]', "Nothing is changed yet."),
    ],
)
def test_what_cannot_run_is_told_and_nothing_is_lost(changes: str, words: str) -> None:
    arguments = dict(get_fleet().describe_call(PATCHER, "workspacePatch", PATCH_INPUT, tainted=False).arguments)
    client, approval = sign_in("ana"), make_request(arguments=arguments)
    names = fields_of(text_of(client.get(f"/approvals/{approval.id}/edit/")))
    sent = {names["filePath"]: "examples/project/report.py", names["changes"]: changes}
    got = client.post(f"/approvals/{approval.id}/edit/", sent)
    page = text_of(got)
    assert got.status_code == 422
    assert words in page
    assert "nothing you wrote is lost" in page
    assert state_of(approval) == ApprovalState.PENDING


@pytest.mark.parametrize("arguments", ["[1]", "{", '{"filePath": 7}'])
def test_arguments_that_the_preview_did_not_send_are_not_approved(arguments: str) -> None:
    approval = make_request()
    assert answer(sign_in("ana"), approval, arguments=arguments).status_code == 422
    assert state_of(approval) == ApprovalState.PENDING


@pytest.mark.parametrize("person", ["vera", "olga"])
def test_who_may_not_decide_may_not_change(person: str) -> None:
    assert sign_in(person).get(f"/approvals/{make_request().id}/edit/").status_code == 403


def test_nothing_is_changed_where_one_may_not_answer() -> None:
    client, approval = sign_in("ada"), make_request(submitted_by="ada")
    page = text_of(client.get(f"/approvals/{approval.id}/edit/", follow=True))
    assert "Nothing can be changed here" in page


# --- several at once --------------------------------------------------------------------------------------------
def test_equal_requests_are_one_item_and_one_answer_settles_those_that_are_chosen() -> None:
    same = [make_request() for _ in range(3)]
    own = make_request(submitted_by="ana")
    client = sign_in("ana")
    page = text_of(client.get("/approvals/"))
    assert "4 equal requests" in page
    assert len(re.findall(r'class="item"', page)) == 1
    sent = {
        "decision": "approve",
        "digest": same[0].digest,
        "ids": [same[0].id, same[1].id, own.id],
        "note": "all of it",
    }
    page = text_of(client.post(f"/approvals/{same[0].id}/decide-equal/", sent))
    assert [state_of(one) for one in same] == ["approved", "approved", "pending"]
    assert state_of(own) == ApprovalState.PENDING
    assert page.count("The task goes on with exactly these arguments.") == 2
    assert "another person has to answer" in page


@pytest.mark.parametrize("ids", [[], ["none"], ["OTHER"]])
def test_what_is_not_equal_is_not_decided_with_it(ids: list[str]) -> None:
    approval = make_request()
    other_arguments = PATCH_INPUT | {"filePath": "else.py"}
    other = make_request(arguments=other_arguments, digest=digest_call(PATCHER, "workspacePatch", other_arguments, 1))
    sent = {
        "decision": "approve",
        "digest": approval.digest,
        "ids": [other.id if one == "OTHER" else one for one in ids],
    }
    page = text_of(sign_in("ana").post(f"/approvals/{approval.id}/decide-equal/", sent, follow=True))
    assert "Nothing was decided." in page
    assert (state_of(approval), state_of(other)) == ("pending", "pending")


# --- the queue --------------------------------------------------------------------------------------------------
def test_the_first_to_expire_comes_first_and_is_shown() -> None:
    later = make_request(
        expires_at=timezone.now() + timedelta(hours=2), arguments={"filePath": "later"}, digest="1" * 64
    )
    soon = make_request(
        expires_at=timezone.now() + timedelta(minutes=2), arguments={"filePath": "soon"}, digest="2" * 64
    )
    page = text_of(sign_in("ana").get("/approvals/"))
    assert page.index(f"/approvals/{soon.id}/") < page.index(f"/approvals/{later.id}/")
    assert f'action="/approvals/{soon.id}/decide/"' in page


def test_a_page_says_that_others_wait_behind_it_and_counts_equal_ones_wherever_they_stand() -> None:
    now = timezone.now()
    first = make_request(digest="a" * 64, expires_at=now + timedelta(minutes=1))
    for number in range(50):
        make_request(digest=f"{number:064x}", expires_at=now + timedelta(minutes=2))
    make_request(digest="a" * 64, expires_at=now + timedelta(hours=9), escalated_at=now)
    for query in ("", "?mine=yes"):
        page = text_of(sign_in("ana").get(f"/approvals/{query}"))
        assert len(re.findall(r'class="item"', page)) == 50
        assert re.findall(r'class="item" href="/approvals/(\w+)/', page)[0] == first.id
        assert "2 equal requests" in page
        assert page.count("Escalated") == 1
        assert "The first 50 to expire are shown; others wait behind them." in page


def test_filters_narrow_the_queue_and_stay_in_its_links(ben: User) -> None:
    patch = make_request(terms=[terms(approvers=["group:leads"])])
    fetch = make_request(agent_id="market-research-agent", skill_id="sourceFetch", rule_id="ask-fetch", digest="3" * 64)
    ana = sign_in("ana")

    def shown(query: str, client: Client = ana) -> set[str]:
        page = text_of(client.get(f"/approvals/?{query}"))
        return set(re.findall(r'class="item" href="/approvals/(\w+)/', page))

    assert shown("") == {patch.id, fetch.id}
    assert shown("agent=market-research-agent") == {fetch.id}
    assert shown("skill=workspacePatch") == {patch.id}
    assert shown("rule=ask-fetch") == {fetch.id}
    assert shown("mine=yes") == {fetch.id}
    assert shown("mine=yes", sign_in("ben")) == {patch.id, fetch.id}
    assert shown("agent=nobody") == set()
    page = text_of(ana.get("/approvals/?skill=workspacePatch"))
    assert f'href="/approvals/{patch.id}/?skill=workspacePatch"' in page


def test_what_was_decided_is_read_a_page_at_a_time() -> None:
    made = [make_request(state="refused", decided_by="ana", decided_at=timezone.now()) for _ in range(52)]
    client = sign_in("vera")
    first = text_of(client.get("/approvals/?show=decided"))
    [older] = re.findall(r'href="(\?[^"]*before=[^"]*)"', first)
    second = text_of(client.get("/approvals/" + older.replace("&amp;", "&")))
    ids = [re.findall(r'class="item" href="/approvals/(\w+)/"', page) for page in (first, second)]
    assert [len(page) for page in ids] == [50, 2]
    assert {*ids[0], *ids[1]} == {one.id for one in made}


def test_more_requests_take_no_more_queries() -> None:
    client = sign_in("ana")

    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        return len(queries)

    def fill(number: int) -> Approval:
        for index in range(number):
            approval = make_request(digest=f"{Approval.objects.count():064x}", terms=[terms(quorum=3)])
            ApprovalVote.objects.create(
                approval=approval, user=f"v{index}", counts_for=[WRITE_RULE], approve=True, digest=approval.digest,
                at=timezone.now(),
            )  # fmt: skip
        return approval

    approval = fill(2)
    paths = ("/approvals/", "/approvals/?mine=yes", f"/approvals/{approval.id}/", f"/tasks/{approval.task_id}/")
    assert all(map(count, paths))  # what every process reads once
    before = [count(path) for path in paths]
    fill(20)
    after = [count(path) for path in paths]
    assert all(now <= then + 4 for now, then in zip(after, before, strict=True))  # what is read anew now and then
    assert max(after) <= 24


def test_the_badge_counts_what_waits() -> None:
    make_request()
    client = sign_in("ana")
    assert client.get("/counts/").json() == {"approvals": 1}
    assert 'data-count="approvals">1<' in text_of(client.get("/"))


def test_a_viewer_sees_it_all_and_can_answer_nothing() -> None:
    approval = make_request()
    make_task()
    page = text_of(sign_in("vera").get("/approvals/"))
    assert "An approver decides this." in page
    assert "Your answer" not in page
    assert answer(sign_in("vera"), approval).status_code == 403
