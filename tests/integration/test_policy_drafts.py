"""Drafts of the policy: edits that are valid at any time, and how they come into force."""

import pytest
from django.utils import timezone

from audit.models import LedgerEvent
from tests.integration.gate_cast import in_threads, rule
from toolgate import publishing
from toolgate.editing import drafts, versions
from toolgate.exceptions import (
    DraftConflict,
    DraftMissing,
    NothingToPublish,
    PolicyConflict,
    PolicyInvalid,
    ReasonRequired,
    RuleMissing,
    TextInvalid,
    VersionMissing,
)
from toolgate.in_force import forget_policy, policy_in_force
from toolgate.models import PolicyDraft, PolicyVersion, WhatIf
from toolgate.policy import policy_digest, read_policy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def first_version():
    forget_policy()
    publish(rule("a"), rule("b"), base=0)
    yield
    forget_policy()


def publish(*rules, base, author="olga"):
    return publishing.publish_policy(rules, author=author, reason="because", base_version=base, now=timezone.now())


def put(given, *, replaces=None, author="ada"):
    return drafts.put_rule(author, given, replaces=replaces, now=timezone.now())


def remove(rule_id, *, author="ada"):
    return drafts.remove_rule(author, rule_id, now=timezone.now())


def publish_draft(revision, *, author="ada", reason="it is time"):
    return drafts.publish_draft(author, reason=reason, revision=revision, now=timezone.now())


def restore(number, *, base, reason="back"):
    return publishing.restore_version(number, author="ada", reason=reason, base_version=base, now=timezone.now())


def ids(draft):
    return [one["id"] for one in draft.rules]


def events(type_):
    return list(LedgerEvent.objects.filter(type=type_).order_by("id"))


# --- edits ----------------------------------------------------------------------------------------------------
def test_a_draft_collects_edits_and_changes_nothing_in_force():
    put(rule("c"))
    put(rule("a", limits={"callsPerTask": 3}), replaces="a")
    draft = remove("b")
    assert (ids(draft), draft.base_version, draft.revision) == (["a", "c"], 1, 3)
    assert [one.rules for one in PolicyVersion.objects.all()] == [versions.get_version(1).rules]
    last = events("policy.drafted")[-1]
    assert (last.actor, last.body) == (
        "user:ada",
        {
            "draftId": draft.id, "baseVersion": 1, "revision": 3,
            "added": ["c"], "removed": ["b"], "changed": ["a"],
        },
    )  # fmt: skip


def test_each_person_has_a_draft_of_their_own():
    put(rule("c"))
    put(rule("d"), author="bob")
    assert ids(drafts.find_open_draft("ada")) == ["a", "b", "c"]
    assert ids(drafts.find_open_draft("bob")) == ["a", "b", "d"]
    assert drafts.find_open_draft("eve") is None
    assert {draft.author for draft in versions.list_open_drafts()} == {"ada", "bob"}


def test_a_rule_that_takes_anothers_place_may_have_another_id():
    assert ids(put(rule("z"), replaces="a")) == ["b", "z"]


def test_what_would_be_no_valid_policy_changes_nothing():
    put(rule("c"))
    for wrong in (rule("c"), {"id": "x"}, rule("d", effect="perhaps")):
        with pytest.raises(PolicyInvalid):
            put(wrong)
    for act in (lambda: remove("x"), lambda: put(rule("y"), replaces="x")):
        with pytest.raises(RuleMissing):
            act()
    draft = drafts.find_open_draft("ada")
    assert (ids(draft), draft.revision, len(events("policy.drafted"))) == (["a", "b", "c"], 1, 1)


def test_a_first_edit_that_fails_opens_no_draft():
    with pytest.raises(RuleMissing):
        remove("x")
    assert not PolicyDraft.objects.exists()


def test_each_rule_can_be_taken_back_by_itself():
    put(rule("c"))
    put(rule("a", limits={"callsPerTask": 3}), replaces="a")
    remove("b")
    for rule_id in ("a", "b", "c"):
        draft = drafts.undo_rule("ada", rule_id, now=timezone.now())
    assert draft.rules == versions.get_version(1).rules
    with pytest.raises(RuleMissing):
        drafts.undo_rule("ada", "c", now=timezone.now())


def test_a_whole_set_of_rules_may_be_put_in():
    put(rule("c"))
    draft = drafts.replace_rules("ada", [rule("q")], base_version=1, now=timezone.now())
    assert (ids(draft), draft.revision) == (["q"], 2)
    with pytest.raises(VersionMissing):
        drafts.replace_rules("ada", [rule("q")], base_version=9, now=timezone.now())


def test_edits_of_one_person_at_once_are_all_kept_or_refused():
    def edit(number):
        try:
            return put(rule(f"r{number}")).revision
        except DraftConflict:
            return None

    done = [revision for revision in in_threads(8, edit) if revision]
    draft = drafts.find_open_draft("ada")
    assert sorted(done) == list(range(1, len(done) + 1))
    assert len(draft.rules) == 2 + len(done)
    assert draft.revision == len(done) >= 1


# --- ends -----------------------------------------------------------------------------------------------------
def test_a_draft_that_is_thrown_away_is_closed_and_audited():
    draft = put(rule("c"))
    drafts.discard_draft("ada", now=timezone.now())
    assert drafts.find_open_draft("ada") is None
    assert PolicyDraft.objects.get(id=draft.id).published_as is None
    assert [(one.actor, one.body["added"]) for one in events("policy.discarded")] == [("user:ada", ["c"])]
    with pytest.raises(DraftMissing):
        drafts.discard_draft("ada", now=timezone.now())


def test_publishing_makes_the_next_version_and_closes_the_draft():
    draft = put(rule("c"))
    version = publish_draft(draft.revision, reason=" it is time ")
    assert (version.number, version.author, version.reason, version.restored_from) == (2, "ada", "it is time", None)
    assert policy_in_force().version == 2
    assert PolicyDraft.objects.get(id=draft.id).published_as == 2
    assert drafts.find_open_draft("ada") is None
    body = events("policy.published")[-1].body
    assert (body["added"], body["changes"][0]["ruleId"]) == (["c"], "c")
    assert {"field": "skill", "old": "", "new": rule("c")["skill"]} in body["changes"][0]["fields"]


def test_what_cannot_be_published_is_refused_and_kept():
    with pytest.raises(DraftMissing):
        publish_draft(1)
    draft = put(rule("c"))
    for error, reason, revision in (
        (ReasonRequired, " ", draft.revision), (TextInvalid, "a\0", draft.revision), (DraftConflict, "x", 7),
    ):  # fmt: skip
        with pytest.raises(error):
            publish_draft(revision, reason=reason)
    drafts.undo_rule("ada", "c", now=timezone.now())
    with pytest.raises(NothingToPublish):
        publish_draft(2)
    assert PolicyVersion.objects.count() == 1
    assert drafts.find_open_draft("ada") is not None


def test_the_second_of_two_editors_is_refused_and_can_rebase():
    put(rule("a", limits={"callsPerTask": 3}), replaces="a")
    put(rule("c"))
    publish(rule("a"), rule("b", limits={"callsPerTask": 9}), base=1)
    with pytest.raises(PolicyConflict) as caught:
        publish_draft(2)
    assert (caught.value.base_version, caught.value.current_version) == (1, 2)
    draft = drafts.rebase_draft("ada", now=timezone.now())
    limits = {one["id"]: one["limits"] for one in draft.rules}
    assert (draft.base_version, limits) == (2, {"a": {"callsPerTask": 3}, "b": {"callsPerTask": 9}, "c": {}})
    assert events("policy.drafted")[-1].body["clashes"] == []
    assert publish_draft(draft.revision).number == 3


def test_a_rebase_keeps_mine_where_both_changed_a_rule_and_says_so():
    put(rule("a", limits={"callsPerTask": 3}), replaces="a")
    remove("b")
    publish(rule("a", limits={"callsPerTask": 5}), rule("b", limits={"callsPerTask": 9}), base=1)
    draft = drafts.rebase_draft("ada", now=timezone.now())
    assert [(one["id"], one["limits"]) for one in draft.rules] == [("a", {"callsPerTask": 3})]
    assert events("policy.drafted")[-1].body["clashes"] == ["a", "b"]


def test_of_two_drafts_on_one_version_exactly_one_is_published():
    people = [f"p{number}" for number in range(6)]
    for person in people:
        put(rule(person), author=person)

    def try_it(number):
        try:
            return publish_draft(1, author=people[number]).number
        except PolicyConflict:
            return None

    assert [number for number in in_threads(6, try_it) if number] == [2]
    assert PolicyVersion.objects.count() == 2
    assert PolicyDraft.objects.filter(closed_at=None).count() == 5


def test_a_version_carries_the_newest_replay_of_just_its_rules():
    draft = put(rule("c"))
    digest = policy_digest(read_policy(draft.rules))
    for name, state, of in (
        ("old", "done", digest),
        ("new", "done", digest),
        ("x", "failed", digest),
        ("y", "done", "z"),
    ):
        WhatIf.objects.create(
            id=name, state=state, base_version=1, rules=[], digest=of, asked_by="ada", created_at=timezone.now()
        )
    assert publish_draft(draft.revision).what_if_id == "new"
    assert events("policy.published")[-1].body["whatIfId"] == "new"


# --- restore --------------------------------------------------------------------------------------------------
def test_restoring_makes_a_new_version_that_says_what_the_old_one_said():
    publish(rule("z"), base=1)
    version = restore(1, base=2)
    assert (version.number, version.restored_from, version.digest) == (3, 1, versions.get_version(1).digest)
    assert policy_in_force().version == 3
    body = events("policy.published")[-1].body
    assert (body["restoredFrom"], body["added"], body["removed"]) == (1, ["a", "b"], ["z"])


def test_what_cannot_be_restored_changes_nothing():
    publish(rule("z"), base=1)
    for error, number, base, reason in (
        (VersionMissing, 9, 2, "back"), (PolicyConflict, 1, 1, "back"), (PolicyConflict, 2, 1, "back"),
        (NothingToPublish, 2, 2, "back"), (ReasonRequired, 1, 2, ""),
    ):  # fmt: skip
        with pytest.raises(error):
            restore(number, base=base, reason=reason)
    assert PolicyVersion.objects.count() == 2


# --- reading --------------------------------------------------------------------------------------------------
def test_the_history_tells_what_each_version_changed():
    publish(rule("a"), rule("c"), base=1)
    publish(rule("a", limits={"callsPerTask": 1}), rule("c"), base=2)
    told = [(one.version.number, one.diff.to_ids()) for one in versions.list_editions(limit=2)]
    assert told == [
        (3, {"added": [], "removed": [], "changed": ["a"]}),
        (2, {"added": ["c"], "removed": ["b"], "changed": []}),
    ]
    first = versions.list_editions(before=2, limit=2)
    assert [(one.version.number, one.diff.to_ids()["added"]) for one in first] == [(1, ["a", "b"])]
    assert versions.get_edition(2).diff == versions.list_editions(before=3, limit=1)[0].diff


def test_it_tells_who_last_changed_a_rule():
    publish(rule("a", limits={"callsPerTask": 1}), rule("b"), base=1, author="bob")
    publish(rule("a", limits={"callsPerTask": 1}), base=2, author="eve")
    found = {rule_id: versions.find_last_change(rule_id) for rule_id in ("a", "b", "x")}
    assert (found["a"].number, found["a"].author, found["a"].kind) == (2, "bob", "changed")
    assert (found["b"].number, found["b"].author, found["b"].kind) == (3, "eve", "removed")
    assert found["x"] is None
