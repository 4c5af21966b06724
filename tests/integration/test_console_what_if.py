"""The pages of what-ifs and shadow rules, and the same over HTTP."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.test import Client
from django.utils import timezone

from tests.integration.api_cast import api_of, problem_of
from tests.integration.console_cast import FETCH, FETCHER, make_decision, make_task, sign_in, text_of, world
from toolgate.editing.drafts import put_rule
from toolgate.editing.versions import get_newest
from toolgate.models import DecisionRecord, PolicyVersion, ShadowFlip, WhatIf
from toolgate.policy import read_policy, rule_digest
from toolgate.publishing import publish_policy
from toolgate.records import describe_resource
from toolgate.replay import runs
from toolgate.types import Resource

__all__ = ["world"]
pytestmark = [pytest.mark.usefixtures("world"), pytest.mark.django_db(transaction=True)]
START = "/permissions/whatif/"
DENY = {"id": "no-arxiv", "agent": FETCHER, "skill": FETCH, "effect": "deny", "conditions": {"domains": ["arxiv.org"]}}


@pytest.fixture
def ada() -> Client:
    return sign_in("ada")


def make_calls(hosts: tuple[str, ...] = ("arxiv.org", "github.com"), **columns: Any) -> list[Any]:
    """Insert a task that succeeded with one allowed call for each host, and give the tasks."""
    tasks = []
    for host in hosts:
        task = make_task(cost_micro=1_310_000, age=timedelta(days=1))
        resource = describe_resource(Resource(hosts=(host,), arguments={"url": f"https://{host}/"}))
        values = {"resource": orjson.loads(orjson.dumps(resource)), "effect": "allow", "reason": "allowed"}
        make_decision(task, **(values | columns))
        tasks.append(task)
    return tasks


def start(client: Client, since: str = "") -> Any:
    return client.post(START, {"since": since}, follow=True)


def draft(rule: dict[str, Any] = DENY) -> None:
    put_rule("ada", rule, replaces=None, now=timezone.now())


# --- the page -----------------------------------------------------------------------------------------------------
def test_it_replays_the_persons_draft_and_shows_what_turns(ada: Client) -> None:
    refused, other = make_calls()
    draft()
    answer = start(ada)
    page = text_of(answer)
    assert answer.redirect_chain == [(f"{START}{WhatIf.objects.get().id}/", 302)]
    assert "1 of 2 calls would have come out otherwise." in page
    assert "1 task that succeeded would have been refused a call that it made." in page
    assert "which cost £1.00" in page
    assert page.count(f'href="/tasks/{refused.id}/"') == 2  # as a call, and as a broken task
    assert f'href="/tasks/{other.id}/"' not in page
    assert 'href="/permissions/rules/no-arxiv/"' in page
    assert "explain/?decision=" in page
    assert "data-follow" not in page  # nothing is to come


def test_it_says_so_if_nothing_turns(ada: Client) -> None:
    make_calls(("github.com",))
    draft()
    assert "None of 1 calls would have come out otherwise." in text_of(start(ada))


def test_the_days_bound_what_is_replayed(ada: Client) -> None:
    make_calls()
    draft()
    start(ada, since="7")
    assert WhatIf.objects.get().total == 2
    WhatIf.objects.all().delete()
    DecisionRecord.objects.update(at=timezone.now() - timedelta(days=8))
    start(ada, since="7")
    assert WhatIf.objects.get().total == 0
    start(ada, since="30")
    assert {one.total for one in WhatIf.objects.all()} == {0, 2}


def test_without_a_draft_nothing_is_started(ada: Client) -> None:
    assert "You have no open draft" in text_of(start(ada))
    assert not WhatIf.objects.exists()


def test_a_large_one_shows_its_progress_until_it_is_done(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "AT_ONCE_ROWS", 0)
    make_calls()
    draft()
    page = text_of(start(ada))
    what_if = WhatIf.objects.get()
    assert "Waiting for a worker" in page
    assert 'data-follow data-type="policy."' in page
    assert "0 of 2 recorded decisions" in page
    assert "No worker has taken this up" not in page
    address = f"{START}{what_if.id}/"
    WhatIf.objects.update(created_at=timezone.now() - timedelta(seconds=11))
    assert "No worker has taken this up" in text_of(ada.get(address))
    runs.run_due()
    fragment = text_of(ada.get(address, headers={"HX-Request": "true"}))
    assert fragment.startswith('<div class="stack" id="what-if">')
    assert "1 of 2 calls would have come out otherwise." in fragment
    assert "<html" not in fragment


def test_a_failure_is_told_in_words(ada: Client) -> None:
    draft()
    start(ada)
    WhatIf.objects.update(state="failed", error="ValueError: <b>bad</b>", result=None)
    page = text_of(ada.get(f"{START}{WhatIf.objects.get().id}/"))
    assert "The replay failed, and nothing was changed." in page
    assert "&lt;b&gt;bad" in page


def test_what_rests_on_what_is_told(ada: Client) -> None:
    make_calls()
    make_calls(("arxiv.org",), effect="deny", reason="agent_quarantined")
    make_calls(("arxiv.org",), resource={"unrecordable": "x"})
    shadow = {"id": "s", "agent": FETCHER, "skill": FETCH, "effect": "deny", "shadow": True}
    draft()
    draft(shadow)
    page = text_of(start(ada))
    for words in (
        "4 decisions", "1: refused before any rule saw them", "1: what they touched is not on record",
        "2 of 2 that version 1 really decided", "s: in shadow, or not valid at that time",
    ):  # fmt: skip
        assert words in page, words


@pytest.mark.parametrize("person", ["vera", "olga", "ana", "axel"])
def test_those_who_read_the_policy_read_replays(person: str, ada: Client) -> None:
    make_calls()
    draft()
    start(ada)
    what_if = WhatIf.objects.get()
    assert "1 of 2 calls" in text_of(sign_in(person).get(f"{START}{what_if.id}/"))


def test_an_outsider_reads_none_and_nobody_reads_what_is_not_there(ada: Client) -> None:
    draft()
    start(ada)
    assert sign_in("mallory").get(f"{START}{WhatIf.objects.get().id}/").status_code == 403
    assert ada.get(f"{START}nowhere/").status_code == 404
    assert ada.get(START).status_code == 405


# --- over HTTP ----------------------------------------------------------------------------------------------------
def test_rules_are_held_against_the_history_over_http() -> None:
    make_calls()
    api = api_of("vera")
    rules = [*get_newest().rules, DENY]
    answer = api.post("policy/what-if", {"rules": rules, "sinceDays": 30})
    body = answer.json()
    assert (answer.status_code, answer["Location"]) == (200, f"/api/policy/what-if/{body['whatIfId']}")
    assert (body["state"], body["total"], body["askedBy"], body["baseVersion"]) == ("done", 2, "vera", 1)
    assert body["result"]["flips"]["allow_deny"] == 1
    assert api.get(f"policy/what-if/{body['whatIfId']}").json() == body


def test_a_large_one_is_accepted_and_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "AT_ONCE_ROWS", 0)
    make_calls()
    api = api_of("ada")
    answer = api.post("policy/what-if", {"rules": [DENY]})
    assert (answer.status_code, answer.json()["state"], answer.json()["result"]) == (202, "waiting", None)
    runs.run_due()
    assert api.get(answer["Location"]).json()["result"]["calls"] == 2
    for _ in range(runs.MAX_OPEN):
        answer = api.post("policy/what-if", {"rules": [DENY]})
    problem = problem_of(api.post("policy/what-if", {"rules": [DENY]}), 429, "too_many_what_ifs")
    assert "Nothing was started" in problem["detail"]


def test_what_cannot_be_replayed_is_refused() -> None:
    api = api_of("ada")
    problem_of(api.post("policy/what-if", {"rules": [{"id": "x"}]}), 422, "policy_invalid")
    problem_of(api.post("policy/what-if", {"rules": [DENY], "baseVersion": 9}), 404, "version_unknown")
    problem_of(api.post("policy/what-if", {"rules": [DENY], "sinceDays": 0}), 422, "body_invalid")
    problem_of(api.get("policy/what-if/nowhere"), 404, "what_if_unknown")
    assert not WhatIf.objects.exists()


# --- shadow -------------------------------------------------------------------------------------------------------
@pytest.fixture
def on_trial() -> str:
    """Publish a shadow rule with one flip, and give its page."""
    rule = DENY | {"shadow": True}
    rules = [*get_newest().rules, rule]
    publish_policy(rules, author="ada", reason="trying", base_version=1, now=timezone.now())
    task = make_task()
    ShadowFlip.objects.create(
        rule_id="no-arxiv", rule_digest=rule_digest(read_policy([rule]).rules[0]), decision_id="d1", task_id=task.id,
        agent_id=FETCHER, skill_id=FETCH, at=timezone.now(), was="allow", would="deny", reason="domain_not_allowed",
    )  # fmt: skip
    return "/permissions/shadow/no-arxiv/"


def test_it_shows_what_a_shadow_rule_would_have_turned(ada: Client, on_trial: str) -> None:
    page = text_of(ada.get(on_trial))
    assert "1 decision</span>" in page
    assert "explain/?decision=d1" in page
    assert "It decides nothing." in page
    assert "<strong>1</strong> live decision would" in text_of(ada.get("/permissions/rules/no-arxiv/"))
    assert "Promote it" not in text_of(sign_in("vera").get(on_trial))


def test_it_is_promoted_by_one_click_and_a_reason(ada: Client, on_trial: str) -> None:
    page = text_of(ada.post(f"{on_trial}promote/", {"version": "2", "reason": "it was right"}, follow=True))
    assert "The rule no-arxiv is enforced now, as version 3." in page
    assert PolicyVersion.objects.get(number=3).author == "ada"
    assert ada.get(on_trial).status_code == 404


def test_it_is_dropped_by_one_click_and_a_reason(ada: Client, on_trial: str) -> None:
    page = text_of(ada.post(f"{on_trial}drop/", {"version": "2", "reason": "it was wrong"}, follow=True))
    assert "The rule no-arxiv is gone, as version 3 has it." in page
    assert "no-arxiv" not in {one["id"] for one in get_newest().rules}


@pytest.mark.parametrize("form", [{"version": "2"}, {"version": "1", "reason": "x"}, {"reason": "x"}])
def test_an_end_that_cannot_be_is_told(ada: Client, on_trial: str, form: dict[str, str]) -> None:
    page = text_of(ada.post(f"{on_trial}promote/", form, follow=True))
    assert "Nothing was changed" in page
    assert get_newest().number == 2


def test_only_those_who_keep_the_rules_end_a_trial(on_trial: str) -> None:
    for person in ("vera", "olga", "ana", "axel", "mallory"):
        for verb in ("promote", "drop"):
            assert sign_in(person).post(f"{on_trial}{verb}/", {"version": "2", "reason": "x"}).status_code == 403


def test_trials_are_listed_over_http(on_trial: str) -> None:
    found = api_of("vera").get("policy/shadow").json()["results"]
    assert [(one["ruleId"], one["count"], one["isCapped"], one["sinceVersion"]) for one in found] == [
        ("no-arxiv", 1, False, 2)
    ]
