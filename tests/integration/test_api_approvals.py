"""Approvals over HTTP: the list, and a person's answer."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from agents.models import Task
from audit.ids import new_id
from tests.integration.api_cast import Api, api_of, events_of, problem_of, world
from toolgate.digests import digest_call
from toolgate.inbox.api import ApprovalPage, GrantList
from toolgate.inbox.wire import ApprovalWire
from toolgate.models import Approval

__all__ = ["world"]

AGENT, SKILL = "build-refactor-agent", "workspacePatch"
ARGUMENTS = {"filePath": "a.py", "changes": [{"type": "append", "newText": "#\n"}], "dryRun": False}


@pytest.fixture
def ana(world: None) -> Api:
    """The approver."""
    return api_of("ana")


def park(**columns: Any) -> Approval:
    """Insert a task of Olga's that waits for a person."""
    now = timezone.now()
    task = Task.objects.create(
        id=new_id(), state="awaiting_approval", agent_id=AGENT, agent_version=1, skill_id=SKILL, input=ARGUMENTS,
        attempt=1, created_at=now, trace_id=new_id(), submitted_by="olga",
    )  # fmt: skip
    values: dict[str, Any] = {
        "id": new_id(),
        "task_id": task.id,
        "agent_id": AGENT,
        "skill_id": SKILL,
        "arguments": ARGUMENTS,
        "digest": digest_call(AGENT, SKILL, ARGUMENTS, 1),
        "policy_version": 1,
        "rule_id": "build-refactor-patch-write",
        "terms": [terms()],
        "submitted_by": "olga",
        "created_at": now,
        "expires_at": now + timedelta(minutes=30),
    }
    return Approval.objects.create(**(values | columns))


def terms(*, quorum: int = 1, approvers: Any = None) -> dict[str, Any]:
    return {
        "ruleId": "build-refactor-patch-write", "quorum": quorum, "approvers": approvers, "fourEyes": True,
        "expiresSeconds": None, "slaSeconds": None,
    }  # fmt: skip


def decide(api: Api, approval: Approval, **body: Any) -> Any:
    return api.post(f"approvals/{approval.id}/decision", body)


def test_what_waits_is_listed_with_its_exact_arguments(ana: Api) -> None:
    approval = park()
    park(state="used", decided_by="ana", decided_at=timezone.now())
    answer = ana.get("approvals", status="pending")
    ApprovalPage.model_validate_json(answer.content)
    [one] = answer.json()["results"]
    assert (one["approvalId"], one["arguments"], one["digest"]) == (approval.id, ARGUMENTS, approval.digest)
    assert len(ana.get("approvals").json()["results"]) == 2


def test_pages_hold_every_approval_once(ana: Api) -> None:
    ids = [park().id for _ in range(3)]
    first = ana.get("approvals", limit=2).json()
    rest = ana.get("approvals", limit=2, cursor=first["next"]).json()
    assert [one["approvalId"] for one in first["results"] + rest["results"]] == sorted(ids, reverse=True)
    assert rest["next"] is None


@pytest.mark.parametrize(
    "query", [{"state": "pending"}, {"status": "open"}, {"limit": "101"}, {"cursor": "%"}, {"cursor": ""}]
)
def test_a_query_that_cannot_be_understood_is_refused(ana: Api, query: dict[str, str]) -> None:
    problem_of(ana.get("approvals", **query), 400, "query_invalid")


def test_an_approved_task_goes_on(ana: Api) -> None:
    approval = park()
    answer = decide(ana, approval, decision="approve", note="looks right")
    ApprovalWire.model_validate_json(answer.content)
    assert (answer.status_code, answer.json()["status"], answer.json()["decidedBy"]) == (200, "approved", "ana")
    assert Task.objects.get(id=approval.task_id).state == "queued"
    [event] = events_of("approval.granted")
    assert (event.actor, event.body["note"]) == ("user:ana", "looks right")


def test_a_refused_task_ends(ana: Api) -> None:
    approval = park()
    assert decide(ana, approval, decision="refuse", note="not this file").json()["status"] == "refused"
    task = Task.objects.get(id=approval.task_id)
    assert (task.state, task.error_code) == ("failed", "approval_rejected")


def test_a_second_answer_is_not_kept(ana: Api) -> None:
    approval = park()
    decide(ana, approval, decision="approve")
    problem_of(decide(ana, approval, decision="refuse"), 409, "already_decided")
    problem_of(decide(ana, approval, decision="approve"), 409, "already_decided")


def test_nobody_answers_for_their_own_task(ana: Api) -> None:
    approval = park(submitted_by="ana")
    problem_of(decide(ana, approval, decision="approve"), 403, "four_eyes")
    approval.refresh_from_db()
    assert approval.state == "pending"


def test_an_answer_out_of_time_is_not_kept(ana: Api) -> None:
    approval = park(expires_at=timezone.now() - timedelta(seconds=1))
    problem_of(decide(ana, approval, decision="approve"), 409, "approval_expired")


def test_an_answer_under_another_policy_is_not_kept(ana: Api) -> None:
    approval = park(policy_version=7)
    problem_of(decide(ana, approval, decision="approve"), 409, "approval_mismatch")


def test_other_arguments_can_be_approved_in_place_of_those_asked_for(ana: Api) -> None:
    approval = park()
    changed = ARGUMENTS | {"filePath": "b.py"}
    answer = decide(ana, approval, decision="approve", input=changed, digest=approval.digest)
    ApprovalWire.model_validate_json(answer.content)
    wire = answer.json()
    assert (answer.status_code, wire["status"]) == (200, "approved")
    assert wire["askedArguments"] == ARGUMENTS
    assert wire["arguments"]["filePath"] == "b.py"
    assert wire["digest"] != approval.digest
    assert [(vote["user"], vote["decision"], vote["counts"]) for vote in wire["votes"]] == [("ana", "approve", True)]
    assert ana.get(f"approvals/{approval.id}").json() == wire


def test_arguments_that_cannot_run_are_refused(ana: Api) -> None:
    approval = park()
    for changed in ({}, {"filePath": 7}, {"filePath": "../../etc/passwd", "changes": ARGUMENTS["changes"]}):
        answer = decide(ana, approval, decision="approve", input=changed)
        assert answer.status_code == 422, answer.content
    problem_of(decide(ana, approval, decision="refuse", input=ARGUMENTS), 422, "input_invalid")
    approval.refresh_from_db()
    assert approval.state == "pending"


def test_another_call_than_the_one_that_was_looked_at_is_not_approved(ana: Api) -> None:
    problem_of(decide(ana, park(), decision="approve", digest="0" * 64), 409, "approval_mismatch")


def test_whom_the_rules_do_not_name_is_refused(ana: Api) -> None:
    problem_of(decide(ana, park(terms=[terms(approvers=["cleo"])]), decision="approve"), 403, "not_approver")


def test_a_member_of_the_group_that_a_rule_names_may_answer(ana: Api) -> None:
    User.objects.get(username="ana").groups.add(Group.objects.create(name="leads"))
    answer = decide(ana, park(terms=[terms(approvers=["group:leads"])]), decision="approve")
    assert answer.json()["status"] == "approved"


def test_what_takes_two_waits_for_the_second(ana: Api) -> None:
    approval = park(terms=[terms(quorum=2)])
    wire = decide(ana, approval, decision="approve").json()
    assert (wire["status"], wire["terms"][0]["quorum"], len(wire["votes"])) == ("pending", 2, 1)
    problem_of(decide(ana, approval, decision="approve"), 409, "already_voted")
    assert decide(api_of("ada"), approval, decision="approve").json()["status"] == "approved"


def test_a_scope_becomes_a_grant_that_is_listed_and_revoked(ana: Api) -> None:
    approval = park()
    wire = decide(ana, approval, decision="approve", scope="minutes", minutes=10).json()
    assert wire["scope"] == "minutes"
    answer = api_of("vera").get("grants")
    GrantList.model_validate_json(answer.content)
    [grant] = answer.json()["results"]
    assert (grant["agentId"], grant["taskId"], grant["grantedBy"]) == (AGENT, None, ["ana"])
    assert grant["ruleIds"] == ["build-refactor-patch-write"]
    revoked = ana.post(f"grants/{grant['grantId']}/revoke").json()
    assert revoked["revokedBy"] == "ana"
    assert ana.get("grants").json()["results"] == []
    problem_of(ana.post(f"grants/{grant['grantId']}/revoke"), 409, "grant_over")
    problem_of(ana.post("grants/none/revoke"), 404, "grant_unknown")


def test_a_grant_is_revoked_by_who_may_decide(world: None) -> None:
    problem_of(api_of("olga").post("grants/none/revoke"), 403, "forbidden")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/decision"),
        ({"decision": "yes"}, "#/decision"),
        ({"decision": True}, "#/decision"),
        ({"decision": "approve", "note": 7}, "#/note"),
        ({"decision": "approve", "user": "ada"}, "#/user"),
        ({"decision": "approve", "force": True}, "#/force"),
        ({"decision": "approve", "input": [1]}, "#/input"),
        ({"decision": "approve", "digest": ""}, "#/digest"),
        ({"decision": "approve", "scope": "always"}, "#/scope"),
        ({"decision": "approve", "minutes": "10"}, "#/minutes"),
    ],
)
def test_an_unclear_answer_is_pointed_at(ana: Api, body: dict[str, Any], pointer: str) -> None:
    problem = problem_of(decide(ana, park(), **body), 422, "body_invalid")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize("note", ["x" * 2001, "bell\a"])
def test_a_note_that_cannot_be_kept_is_refused(ana: Api, note: str) -> None:
    problem_of(decide(ana, park(), decision="approve", note=note), 422, "input_invalid")


@pytest.mark.parametrize(
    "body",
    [{"scope": "minutes"}, {"scope": "minutes", "minutes": 0}, {"scope": "minutes", "minutes": 1441}, {"minutes": 5}],
)
def test_a_scope_without_its_minutes_is_refused(ana: Api, body: dict[str, Any]) -> None:
    problem_of(decide(ana, park(), decision="approve", **body), 422, "input_invalid")


def test_one_approval_is_shown(ana: Api) -> None:
    approval = park(kind="review", skill_id="report", terms=[], sla_at=timezone.now())
    answer = ana.get(f"approvals/{approval.id}")
    ApprovalWire.model_validate_json(answer.content)
    assert (answer.json()["kind"], answer.json()["slaAt"] is None) == ("review", False)
    problem_of(ana.get("approvals/none"), 404, "approval_unknown")


def test_an_unknown_approval_is_not_found(ana: Api) -> None:
    problem_of(ana.post("approvals/none/decision", {"decision": "approve"}), 404, "approval_unknown")


def test_an_operator_does_not_decide(world: None) -> None:
    problem_of(decide(api_of("olga"), park(), decision="approve"), 403, "forbidden")
    [event] = events_of("token.refused")
    assert event.body["scope"] == "approvals:decide"
