"""May it, and why: the page, the API, the way into a draft; and that asking changes nothing."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from django.apps import apps
from django.urls import reverse
from django.utils import timezone

from agents import registry
from agents.switches.changes import quarantine_skill
from tests.integration.api_cast import api_of, problem_of
from tests.integration.console_cast import (
    CAST,
    FETCH,
    FETCHER,
    PATCH,
    PATCH_INPUT,
    PATCHER,
    make_decision,
    make_refused_task,
    make_task,
    make_waiting_task,
    sign_in,
    text_of,
    world,
)
from tests.integration.gate_cast import judge, make_call, publish, rule
from toolgate.editing.drafts import find_open_draft
from toolgate.explaining.answers import Question, answer_call
from toolgate.explaining.wire import AnswerWire, FindingList, ReplayWire
from toolgate.fleet import get_fleet
from toolgate.in_force import forget_policy
from toolgate.models import DecisionRecord
from toolgate.types import Call

__all__ = ["world"]
URL = {"url": "https://example.com/page"}


def ask_page(name: str = "vera", **query: str) -> Any:
    return sign_in(name).get(reverse("console:explain"), query)


def ask_about(agent: str = FETCHER, skill: str = FETCH, arguments: Any = None, **more: str) -> Any:
    return ask_page(agent=agent, skill=skill, arguments=orjson.dumps(arguments or URL).decode(), **more)


def explain_by_api(owner: str = "vera", **body: Any) -> Any:
    return api_of(owner).post("policy/explain", {"agentId": FETCHER, "skillId": FETCH, "input": URL} | body)


def count_rows() -> dict[str, int]:
    return {model._meta.label: model._default_manager.count() for model in apps.get_models()}


# --- an imagined call -------------------------------------------------------------------------------------------
def test_a_refused_host_is_explained_by_the_rule_that_missed(world: None) -> None:
    page = text_of(ask_about())
    assert "market-research-fetch" in page
    assert "the host example.com is not among github.com" in page
    assert "example.com added to its hosts" in page
    assert "Put into my draft" not in page  # Vera keeps no rules
    assert "Put into my draft" in text_of(sign_in("ada").get(reverse("console:explain"), {
        "agent": FETCHER, "skill": FETCH, "arguments": orjson.dumps(URL).decode(),
    }))  # fmt: skip


def test_a_call_is_judged_once_its_arguments_are_said(world: None) -> None:
    page = text_of(ask_page(agent=FETCHER, skill=FETCH))  # as the cell of a pair leads here
    assert "The answer" not in page
    assert f'<option value="{FETCHER}" selected>' in page
    refused = text_of(ask_page(agent=FETCHER, skill=FETCH, arguments="{}"))
    assert "It is refused before any rule is asked" in refused
    assert "No rule is about this agent" not in refused  # one is: it was not asked


def test_what_no_rule_was_asked_about_is_not_said_to_be_uncovered(world: None) -> None:
    assert "what no rule covers is refused" in text_of(ask_about(FETCHER, PATCH, PATCH_INPUT))
    quarantine_skill(FETCH, author="ada", reason="leaks", now=timezone.now())
    registry.look_again()  # as once it is committed
    page = text_of(ask_about())
    assert "The skill sourceFetch is quarantined" in page
    assert "what no rule covers is refused" not in page


def test_asking_changes_no_row(world: None) -> None:
    task = make_refused_task()
    decision = DecisionRecord.objects.get(task_id=task.id)
    client, api = sign_in("vera"), api_of("vera")
    client.get("/counts/")  # which notes that the session is in use
    before = count_rows()
    for query in ({"agent": FETCHER, "skill": FETCH, "arguments": "{}"}, {"decision": decision.id}, {}):
        assert client.get(reverse("console:explain"), query).status_code == 200
    assert api.post("policy/explain", {"agentId": PATCHER, "skillId": PATCH, "input": PATCH_INPUT}).status_code == 200
    assert api.get("policy/explain", decisionId=decision.id).status_code == 200
    assert api.post("policy/lint", {}).status_code == 200
    assert count_rows() == before


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"agentId": "nobody"}, "agent_unknown"),
        ({"agentId": "no body\n"}, "agent_unknown"),
        ({"skillId": "none"}, "skill_unknown"),
        ({"skillId": ""}, "skill_unknown"),
        ({"input": {}}, "input_invalid"),
        ({"input": {"url": "ftp://x"}}, "domain_not_allowed"),
        ({"input": {"url": "https://127.0.0.1/"}}, "address_not_allowed"),
        ({"agentId": PATCHER, "skillId": PATCH, "input": PATCH_INPUT | {"filePath": "../x"}}, "write_path"),
    ],
)
def test_what_is_refused_before_any_rule_is_explained_too(world: None, body: dict[str, Any], reason: str) -> None:
    answer = explain_by_api(**body)
    AnswerWire.model_validate_json(answer.content)
    told = answer.json()
    assert (answer.status_code, told["effect"]) == (200, "deny")
    assert told["reason"] in {reason, "domain_not_allowed"}
    assert told["detail"]
    assert told["suggestion"]["rule"] is None
    assert told["suggestion"]["obstacle"]


def test_it_says_what_the_gate_then_does(world: None) -> None:
    """The door itself, on the same call: one answer."""
    publish(
        rule("a", readPaths=["examples"], limits={"callsPerTask": 1}),
        rule("b", "ask", arguments={"dryRun": {"equals": False}}),
        rule("c", "deny", readPaths=["examples/secret"]),
    )
    for arguments in (
        PATCH_INPUT | {"dryRun": True},
        PATCH_INPUT,
        PATCH_INPUT | {"filePath": "examples/secret/x"},
        PATCH_INPUT | {"filePath": "else/x"},
    ):
        question = Question(agent_id=PATCHER, skill_id=PATCH, arguments=arguments)
        call = real_call(arguments)
        told = answer_call(question, now=call.now)
        verdict = judge(call)
        assert (told.effect, told.reason) == (verdict.effect, verdict.reason)


def real_call(arguments: dict[str, Any], **more: Any) -> Call:
    """Return a call as a run would make it."""
    described = get_fleet().describe_call(PATCHER, PATCH, arguments, tainted=False)
    return replace(make_call(**more), request=described.request, arguments=described.arguments)


def test_counters_of_a_task_are_shown_and_a_full_one_is_raised(world: None) -> None:
    publish(rule("a", limits={"callsPerTask": 1}))
    arguments = PATCH_INPUT | {"dryRun": True}
    call = real_call(arguments)
    assert judge(call).effect == "allow"
    body = {"agentId": PATCHER, "skillId": PATCH, "input": arguments}
    told = explain_by_api(**body, taskId=call.task_id).json()
    assert (told["effect"], told["reason"], told["limits"][0]["used"]) == ("deny", "call_ceiling", 1)
    assert told["suggestion"]["rule"]["limits"] == {"callsPerTask": 2}
    fresh = explain_by_api(**body).json()
    assert (fresh["effect"], fresh["limits"][0]["used"], fresh["suggestion"]) == ("allow", 0, None)


# --- a decision on record ---------------------------------------------------------------------------------------
def test_a_decision_is_explained_by_its_own_version_and_by_the_one_in_force(world: None) -> None:
    publish(rule("a", readPaths=["examples"]))
    arguments = PATCH_INPUT | {"dryRun": True, "filePath": "else/x.py"}
    refused = judge(real_call(arguments))
    number = publish(rule("b"))
    forget_policy()  # as the commit does, which this test's transaction never reaches
    answer = api_of("vera").get("policy/explain", decisionId=refused.decision_id)
    ReplayWire.model_validate_json(answer.content)
    told = answer.json()
    assert (told["effect"], told["then"]["effect"], told["gap"]) == ("deny", "deny", "")
    assert [one["ruleId"] for one in told["then"]["rules"]] == ["a"]
    assert (told["now"]["effect"], told["now"]["decided"]["policyVersion"], told["differs"]) == ("allow", number, True)
    page = text_of(ask_page(decision=refused.decision_id))
    assert "Now the answer is another one" in page


def test_what_came_after_the_rules_is_told_apart(world: None) -> None:
    publish(rule("a", limits={"callsPerTask": 1}))
    arguments = PATCH_INPUT | {"dryRun": True}
    first = real_call(arguments)
    judge(first)
    verdict = judge(real_call(arguments, task_id=first.task_id))
    assert verdict.reason == "call_ceiling"
    told = api_of("vera").get("policy/explain", decisionId=verdict.decision_id).json()
    assert (told["then"]["effect"], told["effect"]) == ("allow", "deny")
    assert "what came after them decided" in told["gap"]
    assert told["counters"]["a"]["calls"] == 1


def test_a_record_that_is_not_whole_says_so(world: None) -> None:
    task = make_task(state="failed")
    make_decision(task, resource={"unrecordable": "x"}, policy_version=1)
    make_decision(make_task(state="failed"), policy_version=99)
    for record in DecisionRecord.objects.all():
        page = ask_page(decision=record.id)
        assert page.status_code == 200
        assert "cannot be made again" in text_of(page)


def test_unknown_decisions_are_not_found(world: None) -> None:
    assert ask_page(decision="none").status_code == 404
    assert ask_page(approval="none").status_code == 404
    problem_of(api_of("vera").get("policy/explain", decisionId="none"), 404, "decision_unknown")
    problem_of(api_of("vera").get("policy/explain", decisionId="\0"), 400, "query_invalid")
    problem_of(api_of("vera").get("policy/explain"), 400, "query_invalid")


# --- into a draft -----------------------------------------------------------------------------------------------
def test_one_click_puts_the_rule_into_a_draft_and_what_is_posted_is_not_trusted(world: None) -> None:
    decision = refused_decision()
    answer = sign_in("ada").post(
        reverse("console:explain_draft"), {"decision": decision.id, "rule": '{"agent": "*"}', "replaces": "x"}
    )
    assert (answer.status_code, answer["Location"]) == (302, reverse("console:policy_draft"))
    draft = find_open_draft("ada")
    assert draft is not None
    [changed] = [one for one in draft.rules if one["id"] == "market-research-fetch"]
    assert changed["conditions"]["domains"][-1] == "example.com"
    assert changed["limits"] == {"callsPerTask": 20, "ratePerSecond": 2}
    again = sign_in("ada").post(reverse("console:explain_draft"), {"decision": decision.id}, follow=True)
    assert "the call passes already" in text_of(again)


def refused_decision() -> DecisionRecord:
    task = make_refused_task()
    return DecisionRecord.objects.get(task_id=task.id)


def test_an_obstacle_puts_nothing_into_a_draft(world: None) -> None:
    query = {"agent": "nobody", "skill": FETCH, "arguments": "{}"}
    answer = sign_in("ada").post(reverse("console:explain_draft"), query)
    assert answer["Location"].startswith(reverse("console:explain"))
    assert find_open_draft("ada") is None


@pytest.mark.parametrize("name", [name for name in CAST if name != "ada"])
def test_only_who_keeps_the_rules_may_draft_one(world: None, name: str) -> None:
    decision = refused_decision()
    assert sign_in(name).post(reverse("console:explain_draft"), {"decision": decision.id}).status_code == 403
    assert find_open_draft(name) is None


# --- the form ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arguments", ["{", "[]", "7", '{"a": NaN}'])
def test_arguments_that_are_no_object_are_pointed_at(world: None, arguments: str) -> None:
    page = ask_page(agent=FETCHER, skill=FETCH, arguments=arguments)
    assert page.status_code == 422
    assert "This is no JSON" in text_of(page)


def test_what_it_shows_is_inert(world: None) -> None:
    url = "https://example.com/<script>alert(1)</script>\u202e"
    decision = refused_decision()
    DecisionRecord.objects.filter(id=decision.id).update(arguments={"url": url})
    page = text_of(ask_page(decision=decision.id))
    assert "alert(1)" in page
    assert "<script>alert(1)" not in page
    assert "\u202e" not in page


# --- links ------------------------------------------------------------------------------------------------------
def test_a_refused_task_leads_to_why(world: None) -> None:
    task = make_refused_task()
    decision = DecisionRecord.objects.get(task_id=task.id)
    page = text_of(sign_in("vera").get(reverse("console:task", args=[task.id])))
    assert page.count(f"{reverse('console:explain')}?decision={decision.id}") == 2


def test_an_approval_leads_to_the_decision_that_asked(world: None) -> None:
    task, approval = make_waiting_task()
    make_decision(task, effect="ask", reason="approval_required", arguments=PATCH_INPUT, resource={
        "hosts": [], "readPaths": ["examples/project/report.py"], "writePaths": ["examples/project/report.py"],
        "arguments": {"dryRun": False}, "tainted": False,
    })  # fmt: skip
    page = text_of(sign_in("ana").get(reverse("console:approval", args=[approval.id])))
    assert f"{reverse('console:explain')}?approval={approval.id}" in page
    why = text_of(ask_page("ana", approval=approval.id))
    assert "build-refactor-patch-write" in why


# --- lint -------------------------------------------------------------------------------------------------------
def test_lint_looks_over_what_is_sent_else_what_is_in_force(world: None) -> None:
    api = api_of("vera")
    in_force = api.post("policy/lint")
    FindingList.model_validate_json(in_force.content)
    assert [one for one in in_force.json()["findings"] if one["severity"] == "error"] == []
    sent = api.post("policy/lint", {"rules": [rule("x", agent="nobody")]}).json()["findings"]
    assert [(one["code"], one["ruleIds"]) for one in sent if one["severity"] == "error"] == [("unknown_agent", ["x"])]


@pytest.mark.parametrize("body", [{"rules": 7}, {"rulez": []}, {"rules": [7]}])
def test_an_unclear_body_is_pointed_at(world: None, body: dict[str, Any]) -> None:
    problem_of(api_of("vera").post("policy/lint", body), 422, "body_invalid")


def test_rules_that_do_not_fit_the_schema_are_refused(world: None) -> None:
    problem_of(api_of("vera").post("policy/lint", {"rules": [{"id": "x"}]}), 422, "policy_invalid")


@pytest.mark.parametrize(
    ("skill_id", "arguments"),
    [
        (FETCH, {"url": "https://github.com/"}),
        ("documentParser", {"filePath": "a.csv", "format": "csv"}),
        ("normalizer", {"data": {}, "schema": {}}),
        (PATCH, PATCH_INPUT),
        ("testRunner", {"target": "examples", "command": "lint"}),
    ],
)
def test_lint_knows_every_argument_that_rules_can_test(world: None, skill_id: str, arguments: dict[str, Any]) -> None:
    [facts] = [facts for facts in get_fleet().list_skills() if facts.id == skill_id]
    described = get_fleet().describe_call("x", skill_id, arguments, tainted=False)
    assert described.refusal is None
    assert described.request.resource.arguments
    assert set(described.request.resource.arguments) <= set(facts.arguments)
