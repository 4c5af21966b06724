"""The door: what is let through, what is written down, and what a permit is good for."""

import copy
import pickle
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pydantic import BaseModel

from audit.models import LedgerEvent
from audit.transactions import write_transaction
from tests.integration.gate_cast import (
    AGENT,
    ARGUMENTS,
    SKILL,
    FakeSkill,
    in_threads,
    judge,
    make_call,
    publish,
    rule,
)
from toolgate import enforcement
from toolgate.digests import digest_arguments, digest_call, dump_arguments
from toolgate.enforcement import Permit, authorise, invoke, refuse
from toolgate.engine import compile_policy, decide
from toolgate.exceptions import PermitViolation
from toolgate.in_force import forget_policy, policy_in_force
from toolgate.models import CallCounter, DecisionRecord, PolicyVersion, ShadowFlip
from toolgate.policy import read_policy, rule_digest
from toolgate.records import restore_resource
from toolgate.types import Action, Principal, Reason, Request, Spent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_policy_yet():
    forget_policy()
    yield
    forget_policy()


def run(permit, skill=None, arguments=ARGUMENTS):
    return invoke(permit, (skill or FakeSkill()).run, arguments, lambda permit: permit.domains)


# --- decisions ------------------------------------------------------------------------------------------------
def test_without_a_policy_nothing_is_allowed():
    verdict = judge(make_call())
    assert (verdict.effect, verdict.reason, verdict.permit) == ("deny", Reason.SKILL_NOT_ALLOWED, None)
    assert verdict.policy_version == 0


def test_outside_a_transaction_nothing_is_decided():
    publish(rule("r"))
    with pytest.raises(RuntimeError, match="outside a transaction"):
        authorise(make_call())
    with pytest.raises(RuntimeError, match="outside a transaction"):
        refuse(make_call(), reason=Reason.READ_PATH, detail="")
    assert not DecisionRecord.objects.exists()


def test_it_records_a_decision_with_all_it_was_made_from():
    version = publish(rule("r", domains=["a.org"], limits={"callsPerTask": 3, "ratePerSecond": 2}))
    arguments = {"filePath": "ä.py", "dryRun": True, "weight": 1.5}
    call = make_call(task_id="t1", arguments=arguments, hosts=("a.org",), read_paths=("ä.py",))
    verdict = judge(call)
    record = DecisionRecord.objects.get()
    assert record.id == verdict.decision_id
    assert (record.at, record.task_id, record.trace_id) == (call.now, "t1", "trace-1")
    assert (record.agent_id, record.agent_version, record.skill_id, record.skill_version) == (AGENT, 3, SKILL, "1.0")
    assert (record.effect, record.reason, record.deciding_rules) == ("allow", "allowed", ["r"])
    assert (record.policy_version, record.arguments) == (version, arguments)
    assert record.arguments_digest == digest_arguments(arguments)
    assert record.counters == {"r": {"callsPerTask": 3, "calls": 1, "ratePerSecond": 2}}
    assert record.resource == {
        "hosts": ["a.org"], "readPaths": ["ä.py"], "writePaths": [], "arguments": arguments, "tainted": False,
        "argumentBytes": len(dump_arguments(arguments)),
    }  # fmt: skip


@pytest.mark.parametrize("tainted", [True, False])
def test_a_decision_can_be_made_again_from_its_record(tainted):
    publish(rule("r", readPaths=["src"]), rule("t", "ask", tainted=True))
    verdict = judge(make_call(read_paths=("src/a.py",), tainted=tainted))
    record = DecisionRecord.objects.get()
    seen = dict(record.resource)
    again = Request(
        principal=Principal(agent_id=record.agent_id, version=record.agent_version),
        action=Action(skill_id=record.skill_id, version=record.skill_version),
        tainted=seen.pop("tainted"),
        resource=restore_resource(seen),
    )
    policy = compile_policy(read_policy(PolicyVersion.objects.get(number=record.policy_version).rules), 1)
    assert decide(policy, again, now=record.at).effect == verdict.effect == record.effect
    assert verdict.effect == ("ask" if tainted else "allow")


def test_the_gate_counts_the_bytes_itself_and_believes_nobody():
    publish(rule("r", argumentBytes={"max": 40}))
    small, large = {"filePath": "a.py"}, {"filePath": "a" * 40}
    assert judge(make_call(arguments=small, argument_bytes=1000)).effect == "allow"
    refused = judge(make_call(arguments=large, argument_bytes=1))
    assert (refused.effect, refused.reason) == ("deny", Reason.ARGUMENT_NOT_ALLOWED)
    sizes = [record.resource["argumentBytes"] for record in DecisionRecord.objects.order_by("at")]
    assert sizes == [len(dump_arguments(small)), len(dump_arguments(large))]


def test_what_a_shadow_rule_would_have_turned_is_recorded_beside_the_decision():
    publish(rule("r"), rule("s", "deny", arguments={"filePath": {"pattern": r".*\.key"}}, shadow=True))
    plain, turned = judge(make_call()), judge(make_call(task_id="t", arguments={"filePath": "a.key"}))
    assert (plain.effect, turned.effect) == ("allow", "allow")
    flip = ShadowFlip.objects.get()
    assert (flip.rule_id, flip.decision_id, flip.was, flip.would) == ("s", turned.decision_id, "allow", "deny")
    assert (flip.reason, flip.task_id, flip.agent_id, flip.skill_id) == ("argument_not_allowed", "t", AGENT, SKILL)
    shadow = policy_in_force().policy.rules[1]
    assert flip.rule_digest == rule_digest(shadow) == rule_digest(shadow.model_copy(update={"shadow": False}))
    bodies = [event.body for event in LedgerEvent.objects.filter(type="decision.made").order_by("id")]
    assert "shadow" not in bodies[0]
    assert bodies[1]["shadow"] == [{"ruleId": "s", "effect": "deny", "reason": "argument_not_allowed"}]


def test_a_limit_on_money_ends_the_question_too():
    publish(rule("r", "ask", limits={"spendPerDay": "1.50"}))
    spent = Spent(task_micro=0, day_micro=1_500_000)
    assert judge(replace(make_call(), spent=spent)).reason is Reason.BUDGET_EXHAUSTED
    assert judge(make_call()).reason is Reason.BUDGET_EXHAUSTED
    assert judge(replace(make_call(), spent=replace(spent, day_micro=1_499_999))).effect == "ask"


def test_it_tells_the_ledger_once_a_decision():
    publish(rule("r"))
    allowed, denied = judge(make_call(task_id="t1")), judge(make_call(task_id="t1", skill="sourceFetch"))
    events = list(LedgerEvent.objects.filter(type="decision.made").order_by("id"))
    assert [event.body["decisionId"] for event in events] == [allowed.decision_id, denied.decision_id]
    assert [(event.decision, event.reason) for event in events] == [("allow", "allowed"), ("deny", "skill_not_allowed")]
    assert {(event.actor, event.task_id, event.agent_id) for event in events} == {(f"agent:{AGENT}", "t1", AGENT)}
    assert events[0].body == {
        "decisionId": allowed.decision_id,
        "argumentsDigest": digest_arguments(ARGUMENTS),
        "decidingRules": ["r"],
        "policyVersion": 1,
        "agentVersion": 3,
        "skillVersion": "1.0",
        "counters": {},
        "detail": "",
    }


def test_a_decision_that_cannot_be_recorded_lets_nothing_through(monkeypatch):
    publish(rule("r", limits={"callsPerTask": 3}))
    monkeypatch.setattr("toolgate.records.record", lambda *events: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        judge(make_call())
    assert not DecisionRecord.objects.exists()
    assert not CallCounter.objects.exists()


def test_the_twenty_first_call_of_a_task_is_denied():
    publish(rule("r", limits={"callsPerTask": 20, "ratePerSecond": 1000}))
    verdicts = [judge(make_call(task_id="t")) for _ in range(21)]
    assert [verdict.effect for verdict in verdicts] == ["allow"] * 20 + ["deny"]
    assert verdicts[20].reason is Reason.CALL_CEILING
    assert "all 20 calls that the rule r grants" in verdicts[20].detail
    assert judge(make_call(task_id="another")).effect == "allow"


def test_a_rate_refuses_with_the_seconds_to_wait():
    publish(rule("r", limits={"ratePerSecond": 1, "callsPerTask": 9}))
    now = timezone.now()
    assert judge(make_call(task_id="t", now=now)).effect == "allow"
    refused = judge(make_call(task_id="t", now=now + timedelta(milliseconds=250)))
    assert (refused.reason, refused.retry_after_seconds, refused.permit) == (Reason.RATE_LIMITED, 0.75, None)
    assert DecisionRecord.objects.get(id=refused.decision_id).counters["r"]["retryAfterMillis"] == 750
    assert judge(make_call(task_id="t", now=now + timedelta(seconds=1))).effect == "allow"
    assert CallCounter.objects.get().count == 2


def test_many_callers_at_once_never_pass_a_ceiling():
    publish(rule("r", limits={"callsPerTask": 7}))
    verdicts = in_threads(40, lambda number: judge(make_call(task_id="t")))
    assert sum(verdict.permit is not None for verdict in verdicts) == 7
    assert DecisionRecord.objects.count() == 40


@pytest.mark.parametrize(
    "bad",
    ["", "x" * 10_000, "a b", "sourceFetch\x00", "sourceFetch\u200b", "\uff53ourceFetch", "'; DROP TABLE x;--", None],
)
def test_ids_that_are_none_are_denied_and_recorded(bad):
    publish({"id": "r", "agent": "*", "skill": "*", "effect": "allow"})
    skill = judge(make_call(skill=bad))
    agent = judge(make_call(agent=bad))
    assert (skill.reason, agent.reason) == (Reason.SKILL_UNKNOWN, Reason.AGENT_UNKNOWN)
    assert DecisionRecord.objects.get(id=skill.decision_id).skill_id == "invalid"
    assert DecisionRecord.objects.get(id=agent.decision_id).agent_id == "invalid"


def test_unknown_is_told_from_not_permitted():
    publish(rule("r"))
    assert judge(make_call(skill="nope", action={"known": False})).reason is Reason.SKILL_UNKNOWN
    assert judge(make_call(skill="sourceFetch")).reason is Reason.SKILL_NOT_ALLOWED
    assert judge(make_call(agent="nobody", principal={"status": "unknown"})).reason is Reason.AGENT_UNKNOWN


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ({"read_paths": ("../etc",)}, Reason.READ_PATH),
        ({"read_paths": ("a/\ud800",)}, Reason.ALLOWED),
        ({"write_paths": ("/etc/passwd",)}, Reason.WRITE_PATH),
        ({"hosts": ("10.0.0.1",)}, Reason.DOMAIN_NOT_ALLOWED),
        ({"hosts": (None,)}, Reason.INPUT_INVALID),
        ({"read_paths": None}, Reason.INPUT_INVALID),
    ],
)
def test_what_has_no_normal_form_is_refused_and_recorded(resource, reason):
    publish(rule("r"))
    verdict = judge(make_call(**resource))
    assert verdict.reason is reason
    assert DecisionRecord.objects.get(id=verdict.decision_id).reason == reason.value


def test_hosts_are_normalised_before_the_rules_see_them():
    publish(rule("r", domains=["a.org"]))
    assert judge(make_call(hosts=("A.ORG.",))).effect == "allow"


@pytest.mark.parametrize("arguments", [{"n": 2**70}, {"text": "\ud800"}, {1: 2}, {"x": object()}])
def test_arguments_that_json_cannot_hold_are_refused(arguments):
    publish(rule("r"))
    verdict = judge(make_call(arguments=arguments))
    assert (verdict.effect, verdict.reason) == ("deny", Reason.INPUT_INVALID)


def test_it_records_what_was_refused_before_the_gate():
    publish(rule("r"))
    with write_transaction():
        verdict = refuse(make_call(), reason=Reason.READ_PATH, detail="a symlink leads outside")
    record = DecisionRecord.objects.get(id=verdict.decision_id)
    assert (verdict.permit, record.effect, record.reason, record.policy_version) == (None, "deny", "read_path", 1)
    assert LedgerEvent.objects.filter(type="decision.made", reason="read_path").count() == 1


# --- the policy in force --------------------------------------------------------------------------------------
def test_a_published_policy_holds_at_once_in_this_process():
    publish(rule("r"))
    assert judge(make_call()).effect == "allow"
    publish(rule("r"), rule("no", "deny"))
    verdict = judge(make_call())
    assert (verdict.effect, verdict.policy_version) == ("deny", 2)


def test_a_policy_of_another_process_is_seen_within_half_a_second(monkeypatch):
    publish(rule("r"))
    assert policy_in_force().version == 1
    first = PolicyVersion.objects.get(number=1)
    PolicyVersion.objects.create(
        number=2, rules=first.rules, digest=first.digest, author="x", reason="x", created_at=timezone.now()
    )
    clock = [0.0]
    monkeypatch.setattr("toolgate.in_force.monotonic", lambda: clock[0])
    forget_policy()
    assert policy_in_force().version == 2
    PolicyVersion.objects.filter(number=2).delete()
    clock[0] = 0.4
    assert policy_in_force().version == 2
    clock[0] = 0.5
    assert policy_in_force().version == 1


def test_rules_that_were_tampered_with_deny_everything(caplog):
    publish(rule("r"))
    PolicyVersion.objects.update(rules=[rule("r"), {**rule("s"), "agent": "*", "skill": "*"}])
    forget_policy()
    assert judge(make_call()).reason is Reason.SKILL_NOT_ALLOWED
    assert "policy unreadable" in caplog.text


@pytest.mark.parametrize("stored", ["", "[", "5", "[1]", '{"rules": []}'])
def test_a_stored_version_that_is_no_list_of_rules_denies_everything(stored, caplog):
    publish(rule("r"))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE toolgate_policyversion SET rules = %s", [stored])
    forget_policy()
    assert judge(make_call()).reason is Reason.SKILL_NOT_ALLOWED
    assert "policy unreadable" in caplog.text


# --- permits --------------------------------------------------------------------------------------------------
def test_a_permit_runs_its_skill_once():
    publish(rule("r", domains=["a.org"]))
    permit, skill = judge(make_call(hosts=("a.org",))).permit, FakeSkill()
    assert run(permit, skill) == "done"
    assert skill.runs == [(ARGUMENTS, ("a.org",))]
    with pytest.raises(PermitViolation, match="one run"):
        run(permit, skill)
    assert len(skill.runs) == 1


def test_of_many_threads_with_one_permit_one_runs():
    publish(rule("r"))
    permit, skill = judge(make_call()).permit, FakeSkill()

    def try_it(number):
        try:
            return run(permit, skill)
        except PermitViolation:
            return "refused"

    assert sorted(in_threads(32, try_it, threads=16)) == ["done"] + ["refused"] * 31
    assert len(skill.runs) == 1


def test_a_permit_takes_a_model_for_the_mapping_it_was_decided_on():
    class Input(BaseModel):
        b: int = 2
        a: str = "x"

    publish(rule("r"))
    permit = judge(make_call(arguments={"a": "x", "b": 2})).permit
    assert run(permit, arguments=Input()) == "done"


@pytest.mark.parametrize("changed", [{**ARGUMENTS, "dryRun": True}, {**ARGUMENTS, "more": 1}, {}, None])
def test_a_permit_is_for_its_arguments(changed):
    publish(rule("r"))
    permit, skill = judge(make_call()).permit, FakeSkill()
    with pytest.raises(PermitViolation, match="arguments"):
        run(permit, skill, changed)
    assert skill.runs == []


def test_arguments_changed_after_the_decision_do_not_run():
    publish(rule("r"))
    arguments, skill = {"changes": [{"text": "a"}]}, FakeSkill()
    permit = judge(make_call(arguments=arguments)).permit
    arguments["changes"][0]["text"] = "b"
    with pytest.raises(PermitViolation, match="arguments"):
        run(permit, skill, arguments)
    assert skill.runs == []


def test_a_permit_is_for_its_skill():
    publish(rule("r"))
    permit, other = judge(make_call()).permit, FakeSkill("sourceFetch")
    with pytest.raises(PermitViolation, match="no other skill"):
        run(permit, other)
    with pytest.raises(PermitViolation, match="no other skill"):
        invoke(permit, partial(other.run), ARGUMENTS, lambda permit: None)
    assert other.runs == []


def roll_back(begin):
    """Take a permit in a transaction that does not last."""
    with begin():
        permit = authorise(make_call()).permit
        transaction.set_rollback(True)
    return permit


def test_a_permit_is_good_only_once_its_decision_is_committed():
    publish(rule("r"))
    skill = FakeSkill()
    with write_transaction():
        early = authorise(make_call()).permit
        with pytest.raises(PermitViolation, match="not committed"):
            run(early, skill)
    lost = roll_back(write_transaction)
    with pytest.raises(PermitViolation, match="not committed"):
        run(lost, skill)
    with write_transaction():
        undone = roll_back(transaction.atomic)
    with pytest.raises(PermitViolation, match="not committed"):
        run(undone, skill)
    assert skill.runs == []
    assert run(early, skill) == "done"


def test_a_permit_cannot_be_made_copied_sent_or_dressed_up():
    publish(rule("r"))
    call = make_call()
    permit, skill = judge(call).permit, FakeSkill()
    with pytest.raises(PermitViolation):
        Permit(object(), call, None, decision_id="d", arguments_digest=permit.arguments_digest)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(PermitViolation):
            duplicate(permit)
    with pytest.raises(PermitViolation):
        type("Forged", (Permit,), {})
    for forged in (object.__new__(Permit), None, "permit", type("Permit", (), {"_armed": True})()):
        with pytest.raises(PermitViolation):
            run(forged, skill)
    assert skill.runs == []


def test_a_refusal_has_no_permit_and_nothing_runs_on_its_verdict():
    publish()
    verdict, skill = judge(make_call()), FakeSkill()
    with pytest.raises(PermitViolation):
        run(verdict.permit, skill)
    with pytest.raises(PermitViolation):
        run(verdict, skill)
    assert skill.runs == []


def test_a_permit_carries_what_the_call_may_reach():
    publish(rule("r", domains=["a.org", "*.b.org"], readPaths=["src"]))
    permit = judge(make_call(hosts=("a.org",), read_paths=("src/a.py",), write_paths=("src/a.py",))).permit
    assert (permit.domains, permit.read_scopes, permit.write_scopes) == (("a.org", "*.b.org"), ("src",), ("src/a.py",))
    assert (permit.arguments, permit.resource.write_paths) == (ARGUMENTS, ("src/a.py",))


def test_the_digest_binds_agent_skill_arguments_and_policy_version():
    digests = {
        digest_call("a", "s", {"x": 1, "y": 2}, 1),
        digest_call("b", "s", {"x": 1, "y": 2}, 1),
        digest_call("a", "t", {"x": 1, "y": 2}, 1),
        digest_call("a", "s", {"x": 1, "y": 3}, 1),
        digest_call("a", "s", {"x": 1, "y": 2}, 2),
    }
    assert len(digests) == 5
    assert digest_call("a", "s", {"y": 2, "x": 1}, 1) in digests
    assert enforcement.digest_call is digest_call
