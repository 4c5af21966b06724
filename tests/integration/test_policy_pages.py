"""The pages on which people edit the policy: the draft, a conflict, the history, versions, restoring, comparing."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from tests.integration.console_cast import sign_in, text_of, world
from toolgate.editing import drafts, versions
from toolgate.matrix.what_if import start_note
from toolgate.models import PolicyVersion
from toolgate.publishing import publish_policy

__all__ = ["world"]
pytestmark = [pytest.mark.usefixtures("world"), pytest.mark.django_db(transaction=True)]

DRAFT = "/permissions/draft/"
HISTORY = "/permissions/history/"
RULE = {"id": "extra", "agent": "qa-verification-agent", "skill": "sourceFetch", "effect": "deny"}
FETCH = "market-research-fetch"


@pytest.fixture
def ada() -> Client:
    return sign_in("ada")


@pytest.fixture
def bob() -> Client:
    """A second admin."""
    User.objects.create_user("bob").groups.add(Group.objects.get(name="admin"))
    return sign_in("bob")


def put(rule: dict[str, Any], *, author: str = "ada", replaces: str | None = None) -> Any:
    return drafts.put_rule(author, rule, replaces=replaces, now=timezone.now())


def seeded(rule_id: str) -> dict[str, Any]:
    return next(dict(rule) for rule in versions.read_rules(1) if rule["id"] == rule_id)


def tighten(calls: int, *, author: str = "ada") -> Any:
    return put({**seeded(FETCH), "limits": {"callsPerTask": calls}}, author=author, replaces=FETCH)


def publish_more(*rules: dict[str, Any], base: int, author: str = "olga") -> PolicyVersion:
    whole = [*versions.read_rules(base), *rules]
    return publish_policy(whole, author=author, reason=f"after {base}", base_version=base, now=timezone.now())


def fields_of(page: Any) -> dict[str, str]:
    """Return the hidden fields of a page."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.content.decode())
    return dict(found)


# --- the draft ------------------------------------------------------------------------------------------------
def test_without_a_draft_the_page_says_how_to_begin_one(ada: Client) -> None:
    page = ada.get(DRAFT)
    assert page.status_code == 200
    assert "You have no open draft" in text_of(page)


def test_the_draft_shows_what_it_changes_and_what_is_odd(ada: Client) -> None:
    put(RULE)
    tighten(7)
    page = ada.get(DRAFT)
    text = text_of(page)
    for words in (
        "1 added",
        "1 changed",
        "extra",
        "qa-verification-agent may not call sourceFetch",
        "\N{MINUS SIGN}\N{NO-BREAK SPACE}20",
        "+\N{NO-BREAK SPACE}7",
    ):
        assert words in text, words
    assert "Publish version 2" in text
    assert page.context["findings"] + page.context["known_findings"] == versions_findings()
    assert "deny > ask" not in text
    assert "One deny rule that touches a call refuses it" in text


def versions_findings() -> Any:
    from toolgate.editing.findings import lint_rules

    return lint_rules(drafts.find_open_draft("ada").rules, now=timezone.now())


def test_what_is_odd_already_is_told_apart_from_what_a_draft_brings(ada: Client) -> None:
    tighten(7)
    page = ada.get(DRAFT)
    assert page.context["findings"] == []
    assert "Nothing is odd about what it changes" in text_of(page)
    known = page.context["known_findings"]
    assert [finding.rule_ids for finding in known] == [(FETCH,)]
    assert "1 finding that the version it was made on has too" in text_of(page)
    put({"id": "lost", "agent": "nobody", "skill": "sourceFetch", "effect": "deny"})
    page = ada.get(DRAFT)
    assert {finding.rule_ids for finding in page.context["findings"]} == {("lost",)}
    assert page.context["known_findings"] == known


def test_a_draft_leads_to_each_rule_and_its_form(ada: Client) -> None:
    put(RULE)
    page = ada.get(DRAFT).content.decode()
    assert 'href="/permissions/rules/extra/"' in page
    assert 'href="/permissions/rules/extra/edit/"' in page


def test_the_version_in_force_leads_to_its_rules_and_shows_which_only_log(ada: Client) -> None:
    put(RULE | {"shadow": True})
    page = ada.post(f"{DRAFT}publish/", {**fields_of(ada.get(DRAFT)), "reason": "a trial"}, follow=True)
    assert page.content.decode().count('href="/permissions/rules/extra/"') == 2  # what it changed, all its rules
    assert text_of(page).count("Log only") > text_of(page).count("Log only:")  # a badge beside the sentence
    assert 'href="/permissions/rules/' not in ada.get("/permissions/versions/1/").content.decode()


def test_a_draft_says_what_it_would_have_done_once_it_was_replayed(ada: Client) -> None:
    start_note(put(RULE), now=timezone.now())
    assert "With the whole draft, in the last 7 days: no call that it is about." in text_of(ada.get(DRAFT))


def test_the_grid_says_that_a_draft_was_overtaken(ada: Client) -> None:
    put(RULE)
    assert "Meanwhile version" not in text_of(ada.get("/permissions/"))
    publish_more(RULE | {"id": "other"}, base=1)
    assert "Meanwhile version 2 was published" in text_of(ada.get("/permissions/"))


def test_each_edit_can_be_undone_by_itself(ada: Client) -> None:
    put(RULE)
    tighten(7)
    page = ada.post(f"{DRAFT}rules/{FETCH}/undo/", follow=True)
    assert page.redirect_chain == [(DRAFT, 302)]
    assert [change.rule_id for change in page.context["diff"].changes] == ["extra"]


def test_publishing_needs_a_reason_and_what_was_looked_at(ada: Client) -> None:
    put(RULE)
    sent = fields_of(ada.get(DRAFT))
    assert "give a reason" in text_of(ada.post(f"{DRAFT}publish/", sent, follow=True))
    tighten(7)  # in another window
    page = ada.post(f"{DRAFT}publish/", {**sent, "reason": "why"}, follow=True)
    assert "in another window" in text_of(page)
    assert PolicyVersion.objects.count() == 1
    page = ada.post(f"{DRAFT}publish/", {**fields_of(ada.get(DRAFT)), "reason": "why"}, follow=True)
    assert page.redirect_chain == [("/permissions/versions/2/", 302)]
    assert "Version 2 is in force" in text_of(page)
    assert PolicyVersion.objects.get(number=2).author == "ada"


def test_a_draft_can_be_thrown_away(ada: Client) -> None:
    put(RULE)
    assert ada.post(f"{DRAFT}discard/").status_code == 302
    assert drafts.find_open_draft("ada") is None


def test_others_may_look_at_a_draft_and_not_touch_it(ada: Client) -> None:
    draft = put(RULE)
    vera = sign_in("vera")
    page = vera.get(DRAFT)
    assert f"/permissions/drafts/{draft.id}/" in page.content.decode()
    page = vera.get(f"/permissions/drafts/{draft.id}/")
    assert "Draft of the policy by ada" in text_of(page)
    assert '<form method="post" action="/permissions' not in page.content.decode()
    assert ada.get(f"/permissions/drafts/{draft.id}/").status_code == 302
    for path in ("publish/", "discard/", "rebase/", "rules/extra/undo/"):
        assert vera.post(DRAFT + path, {"reason": "x", "revision": "1"}).status_code == 403
    assert drafts.find_open_draft("ada").revision == 1


def test_every_post_wants_its_csrf_token() -> None:
    put(RULE)
    client = sign_in("ada", csrf=True)
    for path in ("draft/publish/", "draft/discard/", "draft/rebase/", "draft/rules/extra/undo/", "versions/1/restore/"):
        assert client.post(f"/permissions/{path}").status_code == 403, path


# --- a conflict -----------------------------------------------------------------------------------------------
def test_the_second_editor_is_told_shown_both_differences_and_can_rebase(ada: Client, bob: Client) -> None:
    tighten(7)
    put(RULE)
    tighten(9, author="bob")
    bob.post(f"{DRAFT}publish/", {"reason": "mine first", "revision": "1"})
    page = ada.get(DRAFT)
    text = text_of(page)
    assert "version 2 is in force now" in text
    assert [clash.rule_id for clash in page.context["conflict"].clashes] == [FETCH]
    assert ("Calls a task", "20", "9", "7") in page.context["conflict"].clashes[0].rows
    assert "Publish version" not in text
    refused = ada.post(f"{DRAFT}publish/", {"reason": "x", "revision": "2"}, follow=True)
    assert "version 2 is in force now" in text_of(refused)
    page = ada.post(f"{DRAFT}rebase/", follow=True)
    assert page.context["conflict"] is None
    assert [change.rule_id for change in page.context["diff"].changes] == ["extra", FETCH]
    sent = fields_of(page)
    assert ada.post(f"{DRAFT}publish/", {**sent, "reason": "now mine"}).status_code == 302
    assert PolicyVersion.objects.get(number=3).author == "ada"


# --- versions -------------------------------------------------------------------------------------------------
def test_the_history_is_read_in_pages(ada: Client) -> None:
    for number in range(1, 28):
        publish_more({**RULE, "id": f"extra-{number:02}"}, base=number)
    first = ada.get(HISTORY)
    assert [one.version.number for one in first.context["editions"]] == list(range(28, 3, -1))
    assert "1 added" in text_of(first)
    second = ada.get(HISTORY, {"before": first.context["next_before"]})
    assert [one.version.number for one in second.context["editions"]] == [3, 2, 1]
    assert second.context["next_before"] is None


def test_a_version_is_shown_whole_and_restored_with_one_click(ada: Client) -> None:
    publish_more(RULE, base=1)
    page = ada.get("/permissions/versions/1/")
    text = text_of(page)
    assert "market-research-agent may call sourceFetch" in text
    assert 'value="Back to version 1"' in page.content.decode()
    sent = {**fields_of(page), "reason": "Back to version 1"}
    page = ada.post("/permissions/versions/1/restore/", sent, follow=True)
    assert page.redirect_chain == [("/permissions/versions/3/", 302)]
    assert "restored from version 1" in text_of(page)
    assert "Restored from" in text_of(ada.get(HISTORY))
    late = ada.post("/permissions/versions/1/restore/", sent, follow=True)
    assert "version 3 is in force now" in text_of(late)
    assert PolicyVersion.objects.count() == 3


def test_any_two_versions_are_compared(ada: Client) -> None:
    publish_more(RULE, base=1)
    publish_more({**RULE, "id": "more"}, base=2)
    assert ada.get("/permissions/compare/").context["diff"].to_ids()["added"] == ["more"]
    page = ada.get("/permissions/compare/", {"from": "3", "to": "1"})
    assert page.context["diff"].to_ids()["removed"] == ["extra", "more"]
    assert ada.get("/permissions/compare/", {"from": "9"}).status_code == 404


@pytest.mark.parametrize("path", ["versions/9/", "versions/0/", f"versions/{10**30}/", "drafts/x/"])
def test_what_is_not_there_is_not_found(ada: Client, path: str) -> None:
    assert ada.get(f"/permissions/{path}").status_code == 404
    assert ada.post("/permissions/versions/9/restore/", {"reason": "x", "base": "1"}).status_code == 404


def test_what_people_write_is_shown_as_text(ada: Client) -> None:
    put({**RULE, "description": "<script>alert(1)</script>\u202e"})
    text = ada.get(DRAFT).content.decode()
    assert "<script>alert" not in text
    ada.post(f"{DRAFT}publish/", {"reason": "<b>why</b>", "revision": "1"})
    for path in (HISTORY, "/permissions/versions/2/"):
        content = ada.get(path).content.decode()
        assert "<b>why" not in content
        assert "<script>alert" not in content
        assert "\u202e" not in content
