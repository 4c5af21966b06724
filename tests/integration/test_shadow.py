"""Shadow rules on live traffic: what they would have turned is counted, and the trial ends by promoting or dropping."""

from collections.abc import Iterator

import pytest
from django.db import transaction
from django.utils import timezone

from audit.transactions import write_transaction
from tests.integration.gate_cast import AGENT, SKILL, judge, make_call, publish, rule
from toolgate.enforcement import authorise
from toolgate.exceptions import PolicyConflict, ReasonRequired, RuleMissing
from toolgate.in_force import forget_policy
from toolgate.models import DecisionRecord, PolicyVersion, ShadowFlip
from toolgate.policy import read_policy, rule_digest
from toolgate.replay import shadow, trials
from toolgate.types import Effect

pytestmark = pytest.mark.django_db(transaction=True)
ALLOW = rule("allow")
SHADOW = rule("no-tests", "deny", readPaths=["tests"], shadow=True)


@pytest.fixture(autouse=True)
def on_trial() -> Iterator[None]:
    forget_policy()
    publish(ALLOW, SHADOW)
    yield
    forget_policy()


def call(path: str) -> str:
    verdict = judge(make_call(read_paths=(path,)))
    return verdict.decision_id


def end(verb, rule_id="no-tests", *, base=1, reason="it was right"):
    return verb(rule_id, author="ada", reason=reason, base_version=base, now=timezone.now())


def test_it_decides_nothing_and_notes_what_it_would_have_turned() -> None:
    turned, kept = call("tests/a.py"), call("src/a.py")
    assert {one.effect for one in DecisionRecord.objects.all()} == {"allow"}
    flip = ShadowFlip.objects.get()
    assert (flip.decision_id, flip.was, flip.would, flip.agent_id, flip.skill_id) == (
        turned, "allow", "deny", AGENT, SKILL,
    )  # fmt: skip
    assert kept != turned
    trial = trials.get_trial("no-tests")
    assert (trial.count, trial.is_capped, trial.version, trial.since.number) == (1, False, 1, 1)
    assert [(share.agent_id, share.refused, share.asked, share.passed) for share in trial.shares] == [(AGENT, 1, 0, 0)]
    assert [one.decision_id for one in trial.flips] == [turned]


def test_a_rolled_back_decision_notes_nothing() -> None:
    with write_transaction():
        authorise(make_call(read_paths=("tests/a.py",)))
        assert ShadowFlip.objects.exists()
        transaction.set_rollback(True)
    assert not ShadowFlip.objects.exists()


def test_a_rule_that_is_changed_counts_anew() -> None:
    call("tests/a.py")
    publish(ALLOW, SHADOW | {"conditions": {"readPaths": ["tests", "docs"]}})
    assert trials.get_trial("no-tests").count == 0
    call("docs/a.md")
    assert trials.get_trial("no-tests").count == 1
    old = rule_digest(read_policy([SHADOW]).rules[0])
    assert (shadow.count_flips("no-tests", old), len(shadow.list_flips("no-tests", old))) == (1, 1)


def test_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "COUNTED_UP_TO", 3)
    for number in range(5):
        call(f"tests/{number}.py")
    trial = trials.get_trial("no-tests")
    assert (trial.count, trial.is_capped, trial.shares[0].refused) == (3, True, 3)


def test_it_is_promoted_and_then_decides() -> None:
    version = end(trials.promote_rule)
    assert (version.number, version.author, version.reason) == (2, "ada", "it was right")
    assert judge(make_call(read_paths=("tests/a.py",))).effect is Effect.DENY
    assert trials.list_shadow_rules() == []
    with pytest.raises(RuleMissing):
        end(trials.promote_rule, base=2)


def test_it_is_dropped_and_the_others_stay() -> None:
    assert [one["id"] for one in end(trials.drop_rule).rules] == ["allow"]


@pytest.mark.parametrize("verb", [trials.promote_rule, trials.drop_rule])
def test_an_end_that_cannot_be_changes_nothing(verb) -> None:
    with pytest.raises(ReasonRequired):
        end(verb, reason=" ")
    with pytest.raises(RuleMissing):
        end(verb, "allow")  # enforced: not on trial
    publish(ALLOW, SHADOW, rule("more"))
    with pytest.raises(PolicyConflict):
        end(verb, base=1)
    assert PolicyVersion.objects.count() == 2
