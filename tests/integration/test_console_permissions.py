"""The permissions in the console: the grid, the inspector, the draft that they edit, a rule and its whole form."""

from datetime import timedelta
from typing import Any

import pytest
from bs4 import BeautifulSoup
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.registry import forget_fleet
from tests.integration.console_cast import make_decision, make_task, sign_in, text_of, world
from tests.unit.matrix_cast import send
from toolgate.editing.drafts import find_open_draft, publish_draft, put_rule, remove_rule
from toolgate.exceptions import RuleMissing
from toolgate.in_force import forget_policy
from toolgate.publishing import publish_policy
from toolgate.queries import current_rules

__all__ = ["world"]
pytestmark = [
    pytest.mark.usefixtures("world"),
    pytest.mark.django_db(transaction=True),
]  # what is done on commit is done

PAGE, CELL, KEEP = "/permissions/", "/permissions/cell/", "/permissions/cell/keep/"
RULES = "/permissions/rules/"
FETCH = {"agent": "market-research-agent", "skill": "sourceFetch"}
PATCH = {"agent": "build-refactor-agent", "skill": "workspacePatch"}
UNSET = {"agent": "security-agent", "skill": "sourceFetch"}
HTMX = {"HX-Request": "true"}


@pytest.fixture
def ada() -> Client:
    return sign_in("ada")


def soup_of(answer: Any) -> Any:
    return BeautifulSoup(answer.content, "html.parser")


def find_cell(page: Any, agent: str, skill: str) -> Any:
    return next(
        link for link in page.select('[role="grid"] td > a') if link["aria-label"].startswith(f"{agent}, {skill}:")
    )


def draft_rules(author: str = "ada") -> dict[str, Any]:
    """Return the rules of a person's open draft by id."""
    draft = find_open_draft(author)
    assert draft is not None
    return {rule["id"]: rule for rule in draft.rules}


def fill_cell(client: Client, pair: dict[str, str], **changes: Any) -> dict[str, Any]:
    """Return what a browser sends of the inspector's form, with some fields changed."""
    return send(client.get(PAGE, pair).context["form"], **pair, **changes)


def fill_rule(client: Client, path: str, **changes: Any) -> dict[str, Any]:
    """Return what a browser sends of the whole form, with some fields changed."""
    form = client.get(path).context["form"]
    return send(form, form.rows, **changes)


# --- the grid ---------------------------------------------------------------------------------------------------
def test_it_shows_every_agent_and_skill_with_what_the_rules_say(ada: Client) -> None:
    page = soup_of(ada.get(PAGE))
    links = page.select('[role="grid"] td > a')
    assert len(links) == 55
    assert all(link["href"].startswith(f"{PAGE}?agent=") for link in links)
    heads = page.select('[role="grid"] thead th')[1:]
    assert all(len(head.text.strip()) <= 10 for head in heads)
    assert "market-research-agent" in [head["aria-label"] for head in heads]
    assert find_cell(page, **FETCH)["aria-label"] == (
        "market-research-agent, sourceFetch: Allow, at most 20 calls a task, 2 calls a second, under conditions; 1 rule"
    )
    assert "Ask" in find_cell(page, **PATCH)["aria-label"]
    assert "Default deny" in find_cell(page, **UNSET)["aria-label"]
    assert "tainted-fetch" in page.text


@pytest.mark.parametrize("name", ["vera", "olga", "ana", "axel", "ada"])
def test_everybody_with_a_role_may_look(name: str) -> None:
    person = sign_in(name)
    for path in (PAGE, f"{RULES}market-research-fetch/"):
        assert person.get(path).status_code == 200
    assert person.get(PAGE, FETCH).status_code == 200
    assert 'href="/permissions/"' in text_of(person.get("/tasks/"))


@pytest.mark.parametrize("name", ["vera", "olga", "ana", "axel"])
def test_only_an_admin_may_edit(name: str) -> None:
    person = sign_in(name)
    assert "Keep in my draft" not in text_of(person.get(PAGE, FETCH))
    assert "policy:write" in text_of(person.get(PAGE, FETCH))
    assert person.post(KEEP, FETCH | {"effect": "deny"}).status_code == 403
    for path in (f"{RULES}new/", f"{RULES}market-research-fetch/edit/"):
        assert person.get(path).status_code == 403
        assert person.post(path, {}).status_code == 403
    assert person.post(f"{RULES}market-research-fetch/delete/").status_code == 403
    assert find_open_draft(name) is None


def test_who_has_no_role_sees_nothing() -> None:
    assert sign_in("mallory").get(PAGE).status_code == 403


def test_edits_need_the_token_of_the_form() -> None:
    client = sign_in("ada", csrf=True)
    for path in (KEEP, f"{RULES}new/", f"{RULES}market-research-fetch/delete/"):
        assert client.post(path, FETCH | {"effect": "deny"}).status_code == 403
    assert find_open_draft("ada") is None


@pytest.mark.parametrize(
    ("query", "cells"), [("fetch", 11), ("qa", 5), ("nobody at all", 0), ("", 55)]
)  # fmt: skip
def test_the_filter_is_in_the_address(ada: Client, query: str, cells: int) -> None:
    page = soup_of(ada.get(PAGE, {"q": query}))
    assert len(page.select('[role="grid"] td > a')) == cells
    assert page.select_one('input[name="q"]')["value"] == query
    assert ("Clear the filter" in page.text) == (cells == 0)


def test_a_filter_by_effect_dims_the_others_and_is_kept_by_the_links(ada: Client) -> None:
    page = soup_of(ada.get(PAGE, {"effect": "ask"}))
    assert len(page.select(".cell:not(.off)")) == 1
    assert "effect=ask" in find_cell(page, **FETCH)["href"]
    assert page.select_one('.chip[aria-current="true"]').text == "Ask"
    assert len(soup_of(ada.get(PAGE, {"effect": "<b>"})).select(".cell.off")) == 0


def test_the_number_of_queries_does_not_grow_with_the_rules(ada: Client) -> None:
    def count() -> int:
        forget_fleet()  # so that each time all is read anew
        forget_policy()
        with CaptureQueriesContext(connection) as caught:
            assert ada.get(PAGE, FETCH).status_code == 200
        return len(caught)

    before = count()
    number, rules = current_rules()
    more = [{"id": f"more-{one}", "agent": "qa", "skill": "x", "effect": "deny"} for one in range(300)]
    publish_policy([*rules, *more], author="ada", reason="more", base_version=number, now=timezone.now())
    assert count() <= before + 10 <= 45  # of 300 rules more; a slow page reads some things anew by the clock


# --- the inspector ----------------------------------------------------------------------------------------------
def test_the_inspector_is_a_fragment_for_htmx_and_a_page_for_others(ada: Client) -> None:
    fragment = ada.get(CELL, FETCH, headers=HTMX)
    assert "<html" not in text_of(fragment)
    assert "market-research-fetch" in text_of(fragment)
    alone = ada.get(CELL, FETCH)
    assert alone.status_code == 302
    page = soup_of(ada.get(alone["Location"]))
    assert page.select_one("#inspector h2").text == "market-research-agent → sourceFetch"
    assert page.select_one('td[aria-selected="true"] > a') == find_cell(page, **FETCH)


@pytest.mark.parametrize("pair", [{"agent": "nobody", "skill": "sourceFetch"}, {"agent": "qa"}, {"skill": "<b>"}])
def test_a_pair_that_is_not_there_is_not_found(ada: Client, pair: dict[str, str]) -> None:
    assert ada.get(PAGE, pair).status_code == 404
    assert ada.get(CELL, pair, headers=HTMX).status_code == 404


def test_it_says_who_set_a_rule_and_what_it_says(ada: Client) -> None:
    text = soup_of(ada.get(PAGE, FETCH)).select_one("#inspector").text
    assert "market-research-agent may call sourceFetch on github.com" in text
    assert "Set by system" in text


# --- the draft --------------------------------------------------------------------------------------------------
def test_a_changed_limit_is_kept_in_the_draft_and_marked(ada: Client) -> None:
    answer = ada.post(KEEP, fill_cell(ada, FETCH, **{"limits.callsPerTask": "7"}), follow=True)
    assert draft_rules()["market-research-fetch"]["limits"] == {"callsPerTask": 7, "ratePerSecond": 2}
    page = soup_of(answer)
    assert find_cell(page, **FETCH)["aria-label"].endswith("changed in your draft")
    assert "7/task" in find_cell(page, **FETCH).text
    assert "Kept in your draft" in page.text
    assert "With the whole draft, in the last 7 days: no call that it is about" in " ".join(page.text.split())
    assert "20/task" in find_cell(soup_of(ada.get(PAGE, {"rules": "force"})), **FETCH).text
    assert current_rules()[0] == 1


def test_the_note_counts_the_calls_that_would_have_been_refused(ada: Client) -> None:
    touched = {"hosts": ["arxiv.org"], "readPaths": [], "writePaths": [], "arguments": {}, "tainted": False}
    for hours in (1, 2, 3):
        make_decision(make_task(age=timedelta(hours=hours)), effect="allow", reason="allowed", resource=touched)
    answer = ada.post(KEEP, fill_cell(ada, FETCH, effect="deny"), follow=True)
    assert "With the whole draft, in the last 7 days: 3 calls, 3 would have been refused" in " ".join(
        soup_of(answer).text.split()
    )


def test_the_rules_of_a_pair_come_before_those_that_reach_further(ada: Client) -> None:
    wide = {"id": "a-wide-one", "agent": "*", "skill": PATCH["skill"], "effect": "deny"}
    put_rule("ada", wide, replaces=None, now=timezone.now())
    ids = [link.text for link in soup_of(ada.get(PAGE, PATCH)).select("#inspector .items a.mono")]
    assert ids[:2] == ["build-refactor-patch", "build-refactor-patch-write"]
    assert {"a-wide-one", "tainted-patch-write"} == set(ids[2:])


def test_an_unset_cell_gets_a_rule(ada: Client) -> None:
    filled = fill_cell(ada, UNSET, effect="allow", **{"conditions.domains": "docs.python.org"})
    assert ada.post(KEEP, filled).status_code == 302
    rule = draft_rules()["security-source-fetch"]
    assert (rule["agent"], rule["skill"], rule["effect"]) == ("security-agent", "sourceFetch", "allow")
    assert rule["conditions"] == {"domains": ["docs.python.org"]}


def test_what_is_wrong_is_told_at_its_field_and_nothing_is_lost(ada: Client) -> None:
    filled = fill_cell(ada, UNSET, effect="allow", description="for the docs", **{"limits.callsPerTask": "9"})
    answer = ada.post(KEEP, filled)
    assert answer.status_code == 422
    form = soup_of(answer).select_one(".cell-form")
    assert "Name at least one host" in form.text
    assert form.select_one('[name="limits.callsPerTask"]')["value"] == "9"
    assert form.select_one('[name="description"]')["value"] == "for the docs"
    assert form.select_one('[name="effect"][value="allow"]').has_attr("checked")
    assert find_open_draft("ada") is None


def test_default_where_there_is_no_rule_changes_nothing(ada: Client) -> None:
    answer = ada.post(KEEP, fill_cell(ada, UNSET), follow=True)
    assert "nothing was changed" in text_of(answer)
    assert find_open_draft("ada") is None


def test_default_takes_the_rules_of_the_pair_out(ada: Client) -> None:
    assert "market-research-fetch" in soup_of(ada.get(PAGE, FETCH)).select_one(".only-unset").text
    answer = ada.post(KEEP, fill_cell(ada, FETCH, effect="unset"), follow=True)
    assert "market-research-fetch" not in draft_rules()
    assert "removed in your draft" in find_cell(soup_of(answer), **FETCH)["aria-label"]
    assert soup_of(answer).select_one("#inspector del") is not None


def test_a_cell_of_several_rules_says_so_and_can_be_refused(ada: Client) -> None:
    page = soup_of(ada.get(PAGE, PATCH)).select_one("#inspector")
    assert "2 rules of this pair work together" in " ".join(page.text.split())
    assert [radio["value"] for radio in page.select('[name="effect"]')] == ["deny", "unset"]
    assert ada.post(KEEP, fill_cell(ada, PATCH)).status_code == 422  # nothing is chosen for anybody
    assert find_open_draft("ada") is None
    ada.post(KEEP, fill_cell(ada, PATCH, effect="deny"))
    assert draft_rules()["build-refactor-workspace-patch"]["effect"] == "deny"
    assert {"build-refactor-patch", "build-refactor-patch-write"} < set(draft_rules())


def test_of_several_rules_all_are_taken_out_or_none(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(author: str, rule_id: str, **options: Any) -> Any:
        """Another window was quicker with one of them."""
        if rule_id == "build-refactor-patch-write":
            raise RuleMissing(rule_id)
        return remove_rule(author, rule_id, **options)

    monkeypatch.setattr("toolgate.matrix.keeping.remove_rule", remove)
    form = fill_cell(ada, PATCH, effect="unset")
    ada.post(KEEP, form)
    assert find_open_draft("ada") is None


def test_beside_an_open_draft_what_is_in_force_is_only_looked_at(ada: Client) -> None:
    ada.post(KEEP, fill_cell(ada, FETCH, effect="deny"))
    text = text_of(ada.get(PAGE, FETCH | {"rules": "force"}))
    assert "Keep in my draft" not in text
    assert "Your draft" in text


def test_another_person_sees_nothing_of_a_draft(ada: Client) -> None:
    ada.post(KEEP, fill_cell(ada, FETCH, effect="deny"))
    assert "20/task" in find_cell(soup_of(sign_in("olga").get(PAGE)), **FETCH).text


# --- a rule -----------------------------------------------------------------------------------------------------
def test_its_page_tells_what_it_says_who_set_it_and_what_it_decided(ada: Client) -> None:
    task = make_task()
    make_decision(task)
    text = text_of(ada.get(f"{RULES}market-research-fetch/"))
    for words in ("may call sourceFetch on github.com", "huggingface.co", "Version 1", "&quot;callsPerTask&quot;: 20"):
        assert words in text, words
    assert f"/permissions/explain/?decision={task.id[:12]}" in text
    assert task.id in text
    assert f"/tasks/{task.id}/" not in text_of(ada.get(f"{RULES}security-parse/"))


def test_a_wide_rule_lists_the_decisions_it_made_of_any_pair(ada: Client) -> None:
    task = make_task(agent_id="qa-verification-agent")
    make_decision(task, deciding_rules=["tainted-fetch"])
    assert task.id in text_of(ada.get(f"{RULES}tainted-fetch/"))


def test_a_rule_that_is_not_there_is_not_found(ada: Client) -> None:
    for path in ("nothing/", "nothing/edit/"):
        assert ada.get(f"{RULES}{path}").status_code == 404
    assert ada.post(f"{RULES}nothing/delete/").status_code == 404


def test_its_history_names_each_version_that_changed_it(ada: Client) -> None:
    rule = dict(next(one for one in current_rules()[1] if one["id"] == "security-parse"))
    draft = put_rule("ada", rule | {"limits": {"callsPerTask": 3}}, replaces="security-parse", now=timezone.now())
    publish_draft("ada", reason="Fewer reads", revision=draft.revision, now=timezone.now())
    text = text_of(ada.get(f"{RULES}security-parse/"))
    assert "Fewer reads" in text
    assert "/permissions/versions/2/" in text
    assert "Fewer reads" not in text_of(ada.get(f"{RULES}security-normalise/"))


def test_the_whole_form_keeps_every_field(ada: Client) -> None:
    path = f"{RULES}build-refactor-patch-write/edit/"
    changes = {
        "shadow": "on", "approval.quorum": "2", "approval.approvers": "ana\r\ngroup:admin",
        "validUntil": "2030-01-01T00:00",
        "conditions.timeWindow.zone": "Europe/London", "conditions.timeWindow.days": ["mon", "fri"],
        "conditions.timeWindow.start": "09:00", "conditions.timeWindow.end": "17:00",
        "argument-1-kind": "pattern", "argument-1-value": r"src/.*\.py",
    }  # fmt: skip
    filled = fill_rule(ada, path, **changes)
    tested = filled["argument-1-name"]
    answer = ada.post(path, filled)
    assert answer.status_code == 302, answer.context["form"].errors
    rule = draft_rules()["build-refactor-patch-write"]
    assert rule["shadow"] is True
    assert rule["approval"] == {"fourEyes": True, "quorum": 2, "approvers": ["ana", "group:admin"]}
    assert rule["conditions"]["arguments"] == {"dryRun": {"equals": False}, tested: {"pattern": r"src/.*\.py"}}
    assert rule["conditions"]["timeWindow"] == {
        "zone": "Europe/London", "days": ["mon", "fri"], "start": "09:00:00", "end": "17:00:00",
    }  # fmt: skip
    page = text_of(ada.get(answer["Location"]))
    assert "Log only" in page
    assert "changes this rule" in page
    assert "Log only" in text_of(ada.get(PAGE, PATCH))


def test_a_rule_that_cannot_be_is_refused_with_its_fields_marked(ada: Client) -> None:
    path = f"{RULES}market-research-fetch/edit/"
    answer = ada.post(path, fill_rule(ada, path, **{"conditions.domains": "10.0.0.1", "description": "kept"}))
    assert answer.status_code == 422
    page = soup_of(answer)
    assert "neither a host" in page.find(id="id_conditions.domains_error").text
    assert page.select_one('[name="description"]')["value"] == "kept"
    assert find_open_draft("ada") is None


def test_an_id_that_is_taken_is_refused_at_the_id(ada: Client) -> None:
    path = f"{RULES}new/"
    filled = fill_rule(ada, path, id="security-parse", effect="deny")
    answer = ada.post(path, filled)
    assert answer.status_code == 422
    assert "used twice" in soup_of(answer).find(id="id_id_error").text


def test_one_more_row_is_had_without_scripts_and_nothing_is_kept(ada: Client) -> None:
    path = f"{RULES}new/?agent=qa-verification-agent&skill=testRunner"
    filled = fill_rule(ada, path, effect="deny", description="half done")
    answer = ada.post(path, filled | {"add": "row"})
    assert answer.status_code == 200
    page = soup_of(answer)
    assert len(page.select(".test-row")) == int(filled["argument-TOTAL_FORMS"]) + 1
    assert page.select_one('[name="description"]')["value"] == "half done"
    assert page.select_one(".error") is None
    assert find_open_draft("ada") is None


def test_a_new_rule_starts_with_its_pair_and_an_id(ada: Client) -> None:
    path = f"{RULES}new/?agent=qa-verification-agent&skill=testRunner"
    answer = ada.post(path, fill_rule(ada, path, effect="deny"))
    assert answer["Location"] == f"{RULES}qa-verification-test-runner/"
    assert draft_rules()["qa-verification-test-runner"]["effect"] == "deny"


def test_a_rule_is_taken_out_of_the_draft_and_stays_to_be_seen(ada: Client) -> None:
    assert ada.post(f"{RULES}security-parse/delete/", follow=True).status_code == 200
    assert "security-parse" not in draft_rules()
    page = text_of(ada.get(f"{RULES}security-parse/"))
    assert "does without this rule" in page
    assert ada.get(f"{RULES}security-parse/edit/").status_code == 404


@pytest.mark.parametrize("method", ["get", "put"])
def test_what_changes_something_is_only_posted(ada: Client, method: str) -> None:
    for path in (KEEP, f"{RULES}security-parse/delete/"):
        assert getattr(ada, method)(path).status_code == 405


def test_hostile_words_of_a_rule_stay_words(ada: Client) -> None:
    rule = {
        "id": "evil", "agent": "qa-verification-agent", "skill": "sourceFetch", "effect": "deny",
        "description": "<script>alert(1)</script>", "conditions": {"arguments": {"url": {"equals": "<b>x\u202e"}}},
    }  # fmt: skip
    put_rule("ada", rule, replaces=None, now=timezone.now())
    for path in (f"{RULES}evil/", f"{RULES}evil/edit/", f"{PAGE}?agent=qa-verification-agent&skill=sourceFetch"):
        text = text_of(ada.get(path))
        assert "<script>alert" not in text
        assert "<b>x" not in text
    assert "\u202e" not in text_of(ada.get(f"{RULES}evil/"))
