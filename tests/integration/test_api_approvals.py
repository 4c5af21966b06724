"""Approvals over HTTP: the list, and a person's answer."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.models import Task
from audit.ids import new_id
from tests.integration.api_cast import Api, api_of, events_of, problem_of, world
from toolgate.api import ApprovalPage, ApprovalWire
from toolgate.digests import digest_call
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
        "rule_id": "build-refactor-patch",
        "submitted_by": "olga",
        "created_at": now,
        "expires_at": now + timedelta(minutes=30),
    }
    return Approval.objects.create(**(values | columns))


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


def test_other_arguments_cannot_be_approved_yet(ana: Api) -> None:
    approval = park()
    values: list[Any] = [{}, None]
    for value in values:
        problem_of(decide(ana, approval, decision="approve", input=value), 422, "input_edit_unsupported")
    approval.refresh_from_db()
    assert approval.state == "pending"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/decision"),
        ({"decision": "yes"}, "#/decision"),
        ({"decision": True}, "#/decision"),
        ({"decision": "approve", "note": 7}, "#/note"),
        ({"decision": "approve", "user": "ada"}, "#/user"),
        ({"decision": "approve", "force": True}, "#/force"),
    ],
)
def test_an_unclear_answer_is_pointed_at(ana: Api, body: dict[str, Any], pointer: str) -> None:
    problem = problem_of(decide(ana, park(), **body), 422, "body_invalid")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize("note", ["x" * 2001, "bell\a"])
def test_a_note_that_cannot_be_kept_is_refused(ana: Api, note: str) -> None:
    problem_of(decide(ana, park(), decision="approve", note=note), 422, "input_invalid")


def test_an_unknown_approval_is_not_found(ana: Api) -> None:
    problem_of(ana.post("approvals/none/decision", {"decision": "approve"}), 404, "approval_unknown")


def test_an_operator_does_not_decide(world: None) -> None:
    problem_of(decide(api_of("olga"), park(), decision="approve"), 403, "forbidden")
    [event] = events_of("token.refused")
    assert event.body["scope"] == "approvals:decide"
