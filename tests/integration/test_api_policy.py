"""The policy over HTTP: versions, publishing, restoring, and the caller's own draft."""

from typing import Any

import pytest

from audit.models import LedgerEvent
from orchestrator_site.roles import Role
from tests.integration.api_cast import Api, api_of, make_person, open_world, problem_of
from toolgate.models import PolicyDraft, PolicyVersion

__all__ = ["open_world"]
pytestmark = pytest.mark.usefixtures("open_world")

RULE = {"id": "extra", "agent": "qa-verification-agent", "skill": "sourceFetch", "effect": "deny"}
FETCH = "market-research-fetch"


@pytest.fixture
def ada() -> Api:
    return api_of("ada")


@pytest.fixture
def bob() -> Api:
    make_person("bob", Role.ADMIN)
    return api_of("bob")


def put(api: Api, path: str, body: Any) -> Any:
    import orjson

    return api.send("PUT", path, data=orjson.dumps(body), content_type="application/json")


def rules_in_force(api: Api) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = api.get("policy").json()["rules"]
    return rules


def tightened(rules: list[dict[str, Any]], calls: int) -> list[dict[str, Any]]:
    return [{**rule, "limits": {"callsPerTask": calls}} if rule["id"] == FETCH else rule for rule in rules]


def publish(api: Api, rules: Any, *, base: int, reason: str = "why") -> Any:
    return api.post("policy/versions", {"rules": rules, "reason": reason, "baseVersion": base})


# --- versions ---------------------------------------------------------------------------------------------------
def test_it_tells_what_is_in_force(ada: Api) -> None:
    found = ada.get("policy").json()
    version = PolicyVersion.objects.get()
    assert found == {"number": 1, "digest": version.digest, "rules": version.rules}


def test_publishing_makes_the_next_version_by_the_tokens_owner(ada: Api) -> None:
    answer = publish(ada, [*rules_in_force(ada), RULE], base=1, reason=" why ")
    assert (answer.status_code, answer["Location"]) == (201, "/api/policy/versions/2")
    made = answer.json()
    assert (made["number"], made["author"], made["reason"], made["added"]) == (2, "ada", "why", ["extra"])
    assert made["changes"][0]["fields"][0] == {"field": "agent", "old": "", "new": "qa-verification-agent"}
    assert ada.get("policy/versions/2").json() == made
    assert made["rules"] == rules_in_force(ada)
    assert LedgerEvent.objects.filter(type="policy.published").order_by("id").last().actor == "user:ada"


def test_what_was_read_can_be_sent_back_as_it_is(ada: Api) -> None:
    whole = {
        "id": "whole", "agent": "*", "exceptAgents": ["x"], "skill": "*", "effect": "ask", "shadow": True,
        "validUntil": "2031-01-01T00:00:00Z", "limits": {"spendPerDay": "2.5", "ratePerSecond": 2},
        "conditions": {"timeWindow": {"zone": "UTC", "days": ["mon"], "start": "09:00"}, "tainted": True},
        "approval": {"quorum": 2, "approvers": ["group:approver"]},
    }  # fmt: skip
    first = publish(ada, [*rules_in_force(ada), whole], base=1).json()
    again = publish(ada, rules_in_force(ada), base=2).json()
    assert (again["digest"], again["changes"]) == (first["digest"], [])


def test_an_edit_of_an_older_version_is_told_both_differences(ada: Api, bob: Api) -> None:
    base = rules_in_force(ada)
    publish(bob, tightened(base, 9), base=1)
    problem = problem_of(publish(ada, [*tightened(base, 7), RULE], base=1), 409, "policy_conflict")
    conflict = problem["conflict"]
    assert (conflict["baseVersion"], conflict["currentVersion"], conflict["bothChanged"]) == (1, 2, [FETCH])
    assert [change["ruleId"] for change in conflict["mine"]] == ["extra", FETCH]
    assert {"field": "limits.callsPerTask", "old": "20", "new": "9"} in conflict["theirs"][0]["fields"]
    assert PolicyVersion.objects.count() == 2
    assert "conflict" not in problem_of(publish(ada, base, base=99), 409, "policy_conflict")


def test_rules_that_are_none_are_told_by_place(ada: Api) -> None:
    problem = problem_of(publish(ada, [{**RULE, "effect": "maybe"}, {"id": "x"}], base=1), 422, "policy_invalid")
    assert {"#/rules/0/effect", "#/rules/1/agent"} <= {one["pointer"] for one in problem["errors"]}
    problem_of(publish(ada, [RULE, RULE], base=1), 422, "policy_invalid")
    problem_of(publish(ada, [RULE], base=1, reason=" "), 422, "reason_required")
    problem_of(publish(ada, "none", base=1), 422, "body_invalid")
    problem_of(ada.post("policy/versions", {"rules": [], "reason": "x", "baseVersion": 1, "x": 1}), 422, "body_invalid")
    assert PolicyVersion.objects.count() == 1


def test_versions_are_listed_in_pages(ada: Api) -> None:
    for number in (1, 2, 3):
        publish(ada, [*rules_in_force(ada), {**RULE, "id": f"extra-{number}"}], base=number)
    first = ada.get("policy/versions", limit=3).json()
    assert [(one["number"], one["added"]) for one in first["results"]] == [
        (4, ["extra-3"]), (3, ["extra-2"]), (2, ["extra-1"]),
    ]  # fmt: skip
    second = ada.get("policy/versions", limit=3, cursor=first["next"]).json()
    assert ([one["number"] for one in second["results"]], second["next"]) == ([1], None)
    problem_of(ada.get("policy/versions", cursor="x"), 400, "query_invalid")
    for number in (0, 9, 10**30):
        problem_of(ada.get(f"policy/versions/{number}"), 404, "version_unknown")


def test_an_earlier_version_is_restored_once(ada: Api) -> None:
    publish(ada, [RULE], base=1)
    body = {"reason": "back", "baseVersion": 2}
    made = ada.post("policy/versions/1/restore", body).json()
    assert (made["number"], made["restoredFrom"], made["reason"]) == (3, 1, "back")
    problem_of(ada.post("policy/versions/1/restore", body), 409, "policy_conflict")
    problem_of(ada.post("policy/versions/1/restore", {"reason": "x", "baseVersion": 3}), 409, "nothing_to_change")
    problem_of(ada.post("policy/versions/9/restore", {"reason": "x", "baseVersion": 3}), 404, "version_unknown")
    assert PolicyVersion.objects.count() == 3


# --- the caller's draft -----------------------------------------------------------------------------------------
def test_a_draft_is_put_read_published_and_gone(ada: Api) -> None:
    problem_of(ada.get("policy/draft"), 404, "draft_unknown")
    body = {"rules": [*rules_in_force(ada), RULE], "baseVersion": 1, "revision": 0}
    made = put(ada, "policy/draft", body).json()
    assert (made["revision"], made["stale"], made["changes"][0]["ruleId"]) == (1, False, "extra")
    assert ada.get("policy/draft").json() == made
    problem_of(put(ada, "policy/draft", body), 409, "draft_conflict")
    assert put(ada, "policy/draft", {**body, "revision": 1}).json()["revision"] == 2
    problem_of(ada.post("policy/draft/publish", {"reason": "x", "revision": 1}), 409, "draft_conflict")
    answer = ada.post("policy/draft/publish", {"reason": "x", "revision": 2})
    assert (answer.status_code, answer.json()["number"]) == (201, 2)
    problem_of(ada.post("policy/draft/publish", {"reason": "x", "revision": 2}), 404, "draft_unknown")


def test_a_stale_draft_says_so_and_is_not_published(ada: Api, bob: Api) -> None:
    base = rules_in_force(ada)
    put(ada, "policy/draft", {"rules": [*base, RULE], "baseVersion": 1})
    publish(bob, tightened(base, 9), base=1)
    assert ada.get("policy/draft").json()["stale"] is True
    problem = problem_of(ada.post("policy/draft/publish", {"reason": "x", "revision": 1}), 409, "policy_conflict")
    assert (problem["conflict"]["bothChanged"], problem["conflict"]["currentVersion"]) == ([], 2)
    assert PolicyDraft.objects.get().closed_at is None


def test_a_draft_is_its_owners_alone_and_can_be_thrown_away(ada: Api, bob: Api) -> None:
    put(ada, "policy/draft", {"rules": [RULE], "baseVersion": 1})
    problem_of(bob.send("DELETE", "policy/draft"), 404, "draft_unknown")
    assert ada.send("DELETE", "policy/draft").status_code == 204
    problem_of(ada.send("DELETE", "policy/draft"), 404, "draft_unknown")
    problem_of(put(ada, "policy/draft", {"rules": [{"id": "x"}], "baseVersion": 1}), 422, "policy_invalid")
    problem_of(put(ada, "policy/draft", {"rules": [RULE], "baseVersion": 9}), 404, "version_unknown")
    assert not PolicyDraft.objects.filter(closed_at=None).exists()


def test_who_may_only_read_changes_nothing(ada: Api) -> None:
    vera = api_of("vera")
    assert vera.get("policy").status_code == 200
    problem_of(publish(vera, [RULE], base=1), 403, "forbidden")
    problem_of(put(vera, "policy/draft", {"rules": [RULE], "baseVersion": 1}), 403, "forbidden")
    assert PolicyVersion.objects.count() == 1
