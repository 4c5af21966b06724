"""Policy versions: numbered, immutable, with a reason; and what reads from them."""

from datetime import timedelta

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY

from audit.models import LedgerEvent
from tests.integration.gate_cast import AGENT, SKILL, ask, in_threads, judge, make_call, publish, rule
from toolgate import queries
from toolgate.approvals import decide_approval
from toolgate.editing.diff import diff_rules
from toolgate.exceptions import (
    HostDenied,
    HostInvalid,
    NoRuleToWiden,
    PolicyConflict,
    PolicyInvalid,
    ReasonRequired,
    TextInvalid,
)
from toolgate.in_force import forget_policy
from toolgate.models import PolicyVersion
from toolgate.publishing import allow_host, publish_policy
from toolgate.seed import seed_policy
from toolgate.types import Reason

pytestmark = pytest.mark.django_db(transaction=True)
FETCHER = "market-research-agent"


@pytest.fixture(autouse=True)
def no_policy_yet():
    forget_policy()
    yield
    forget_policy()


def put(*rules, base=0, reason="because", author="olga"):
    return publish_policy(rules, author=author, reason=reason, base_version=base, now=timezone.now())


def allow(host, *, agent=FETCHER, skill="sourceFetch", reason="we read it daily"):
    return allow_host(agent, skill, host, author="olga", reason=reason, now=timezone.now())


def fetch(host):
    return judge(make_call(agent=FETCHER, skill="sourceFetch", arguments={}, hosts=(host,)))


def test_a_host_is_added_to_a_rule_that_decides():
    mine = {"agent": FETCHER, "skill": "sourceFetch", "domains": ["a.org"]}
    over = timezone.now() - timedelta(days=1)
    put(
        rule("a-shadow", **mine, shadow=True),
        rule("b-over", **mine, validUntil=over.isoformat()),
        rule("c-live", **mine),
        rule("d-shadow", "deny", domains=["b.org"], shadow=True) | {"agent": FETCHER, "skill": "sourceFetch"},
    )
    allow("b.org")
    assert fetch("b.org").reason is Reason.ALLOWED


def test_publishing_makes_a_numbered_version_with_its_diff():
    first = put(rule("a"), rule("b"))
    second = put(rule("b", limits={"callsPerTask": 1}), rule("c"), base=1, reason=" tighter ")
    assert (first.number, second.number, second.author, second.reason) == (1, 2, "olga", "tighter")
    event = LedgerEvent.objects.filter(type="policy.published").order_by("id").last()
    assert (event.actor, event.body) == (
        "user:olga",
        {
            "number": 2,
            "digest": second.digest,
            "reason": "tighter",
            "added": ["c"],
            "removed": ["a"],
            "changed": ["b"],
            "changes": diff_rules(first.rules, second.rules).to_wire(),
            "changesLeftOut": 0,
        },
    )
    assert queries.current_rules()[0] == 2
    assert [one.number for one in queries.list_policy_versions()] == [2, 1]
    assert [one.number for one in queries.list_policy_versions(before=2)] == [1]


def test_a_change_too_large_for_one_event_is_published_all_the_same():
    hosts = [f"h{number:04}.example.org" for number in range(3000)]
    put(*(rule(f"r{number:02}", conditions={"domains": hosts}) for number in range(20)))
    body = LedgerEvent.objects.get(type="policy.published").body
    assert (len(body["added"]), len(body["changes"]) + body["changesLeftOut"]) == (20, 20)
    assert 0 < body["changesLeftOut"] < 20


def test_an_edit_of_an_older_version_is_refused_and_changes_nothing():
    put(rule("a"))
    put(rule("b"), base=1)
    for base in (0, 1, 3):
        with pytest.raises(PolicyConflict) as caught:
            put(rule("c"), base=base)
        assert (caught.value.base_version, caught.value.current_version) == (base, 2)
    assert PolicyVersion.objects.count() == 2


def test_of_many_editors_at_once_one_publishes():
    put(rule("a"))

    def try_it(number):
        try:
            return put(rule(f"r{number}"), base=1).number
        except PolicyConflict:
            return None

    assert [number for number in in_threads(12, try_it) if number] == [2]
    assert LedgerEvent.objects.filter(type="policy.published").count() == 2


def test_what_is_wrong_changes_nothing():
    with pytest.raises(ReasonRequired):
        put(rule("a"), reason="  ")
    with pytest.raises(TextInvalid):
        put(rule("a"), reason="a\x00")
    with pytest.raises(PolicyInvalid):
        put({"id": "a"})
    assert not PolicyVersion.objects.exists()
    assert not LedgerEvent.objects.exists()


def test_the_seed_is_published_once_by_the_system():
    assert seed_policy(now=timezone.now()).number == 1
    assert seed_policy(now=timezone.now()) is None
    event = LedgerEvent.objects.get(type="policy.published")
    assert (event.actor, len(event.body["added"]), event.body["removed"]) == ("system", 21, [])
    assert in_threads(4, lambda number: seed_policy(now=timezone.now())) == [None] * 4


def test_a_rule_that_only_asks_tainted_tasks_is_no_permission():
    seed_policy(now=timezone.now())
    found = {permission.skill_id: permission.effect for permission in queries.list_permissions("content-agent")}
    assert found == {"documentParser": "allow"}
    assert [one.effect for one in queries.list_permissions(FETCHER)] == ["allow"]


def test_what_does_not_hold_now_or_is_in_the_shadow_is_no_permission():
    now = timezone.now()
    ended, begins = (now - timedelta(days=1)).isoformat(), (now + timedelta(days=1)).isoformat()
    put(
        rule("a", validUntil=ended), rule("b", validFrom=begins), rule("c", shadow=True), rule("d", skill="normalizer"),
        rule("e", "deny", shadow=True), rule("f", "deny", skill="normalizer", validUntil=ended),
    )  # fmt: skip
    assert [(one.skill_id, one.rule_ids) for one in queries.list_permissions(AGENT)] == [("normalizer", ("d",))]


def test_many_processes_that_seed_at_once_make_one_version():
    seeded = in_threads(8, lambda number: seed_policy(now=timezone.now()))
    assert sum(version is not None for version in seeded) == 1
    assert PolicyVersion.objects.count() == 1


def test_no_user_passes_for_the_system():
    put(rule("a"))
    put(rule("b"), base=1, author="system")
    assert LedgerEvent.objects.order_by("id").last().actor == "user:system"


# --- allow this host ------------------------------------------------------------------------------------------
def test_allowing_a_host_lets_the_retried_call_through_and_keeps_the_limits():
    seed_policy(now=timezone.now())
    refused = fetch("example.com")
    assert refused.reason is Reason.DOMAIN_NOT_ALLOWED
    version = allow("Example.COM")
    assert (version.number, version.author, version.reason) == (2, "olga", "we read it daily")
    allowed = fetch("example.com")
    assert (allowed.effect, allowed.policy_version) == ("allow", 2)
    assert fetch("www.example.com").reason is Reason.DOMAIN_NOT_ALLOWED
    before, after = (PolicyVersion.objects.get(number=number).rules for number in (1, 2))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [(old["limits"], new["conditions"]["domains"][-1]) for old, new in changed] == [
        ({"callsPerTask": 20, "ratePerSecond": 2}, "example.com")
    ]
    assert changed[0][0]["limits"] == changed[0][1]["limits"]


def test_allowing_a_host_twice_makes_one_version():
    seed_policy(now=timezone.now())
    assert allow("example.com").number == allow("example.com").number == 2


@pytest.mark.parametrize(
    "host",
    ["", "localhost", "10.0.0.1", "[::1]", "*.example.com", "*", "https://a.org", "a.org/x", "a.org:80", "a\x00.org"],
)
def test_only_a_plain_host_can_be_allowed(host):
    seed_policy(now=timezone.now())
    with pytest.raises(HostInvalid):
        allow(host)
    assert PolicyVersion.objects.count() == 1


def test_a_host_is_added_only_to_the_pairs_own_rule():
    seed_policy(now=timezone.now())
    with pytest.raises(NoRuleToWiden):
        allow("example.com", agent="content-agent")
    put(
        {"id": "wide", "agent": "*", "skill": "sourceFetch", "effect": "allow", "conditions": {"domains": ["a.org"]}},
        base=1,
    )
    with pytest.raises(NoRuleToWiden):
        allow("example.com")


def test_a_host_that_a_rule_denies_is_not_allowed_beside_it():
    seed_policy(now=timezone.now())
    deny = {"id": "no", "agent": "*", "skill": "*", "effect": "deny", "conditions": {"domains": ["*.example.com"]}}
    put(*queries.current_rules()[1], deny, base=1)
    with pytest.raises(HostDenied) as caught:
        allow("x.example.com")
    assert caught.value.rule_id == "no"
    assert allow("example.com").number == 3


def test_allowing_a_host_needs_a_reason():
    seed_policy(now=timezone.now())
    with pytest.raises(ReasonRequired):
        allow("example.com", reason="")


# --- reading --------------------------------------------------------------------------------------------------
def test_it_tells_what_an_agent_may_use():
    seed_policy(now=timezone.now())
    wire = {one.skill_id: one.to_wire() for one in queries.list_permissions(AGENT)}
    assert wire == {
        "testRunner": {
            "skillId": "testRunner", "effect": "allow", "callsPerTask": 20, "ratePerSecond": 1, "domains": [],
        },
        "workspacePatch": {
            "skillId": "workspacePatch", "effect": "ask", "callsPerTask": 50, "ratePerSecond": 1, "domains": [],
        },
    }  # fmt: skip
    fetching = queries.list_permissions(FETCHER)
    assert [(one.skill_id, one.effect, len(one.domains)) for one in fetching] == [("sourceFetch", "allow", 8)]
    assert queries.list_permissions("nobody") == []
    assert queries.count_permissions([AGENT, FETCHER, "nobody"]) == {AGENT: 2, FETCHER: 1, "nobody": 0}


def test_a_wildcard_counts_for_the_skills_that_exist_and_a_deny_takes_away():
    publish({"id": "all", "agent": "*", "skill": "*", "effect": "allow"}, rule("no", "deny"))
    skills = [one.skill_id for one in queries.list_permissions(AGENT, ["normalizer", SKILL])]
    assert skills == ["normalizer"]


def test_decisions_are_found_by_id_and_by_task():
    publish(rule("r"))
    verdicts = [judge(make_call(task_id="t")) for _ in range(3)]
    found = queries.list_decisions_of_task("t")
    assert {one.id for one in found} == {verdict.decision_id for verdict in verdicts}
    assert queries.get_decision(verdicts[0].decision_id).effect == "allow"
    assert queries.find_decision("nope") is None


# --- metrics --------------------------------------------------------------------------------------------------
def sample(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


def test_the_gate_counts_what_it_decided_with_closed_labels():
    publish(rule("r"))
    allowed = {"skill": SKILL, "agent": AGENT}
    unknown = {"skill": "unknown", "agent": "unknown", "reason": "agent_unknown"}
    before = sample("skill_access_allowed_total", **allowed), sample("skill_access_denied_total", **unknown)
    judge(make_call())
    judge(make_call(agent="mallory", skill="x y", principal={"status": "unknown"}, action={"known": False}))
    after = sample("skill_access_allowed_total", **allowed), sample("skill_access_denied_total", **unknown)
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)


def test_questions_and_answers_are_measured():
    publish(rule("r", "ask"))
    names = (
        ("permission_escalation_requests_total", {"agent": AGENT}),
        ("task_approval_requests_total", {"task_type": "build-refactor"}),
        ("approval_response_time_seconds_count", {"approval_result": "approved"}),
    )
    before = [sample(name, **labels) for name, labels in names]
    approval = ask(make_call(), task_type="build-refactor")
    queries.refresh_gauges([AGENT])
    assert sample("pending_approvals_count") == 1
    assert sample("active_permissions_granted", agent=AGENT) == 1
    decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())
    assert [sample(name, **labels) - old for (name, labels), old in zip(names, before, strict=True)] == [1, 1, 1]
