"""What a vendor does wrong in the middle of a task: who takes over, what it costs, and that nothing done is done again.

The model has called a skill; the fault comes with the turn after that. Both wire formats, over real connections.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from llmock.pytest_plugin import LLMock
from llmock.scenarios import Match, Reply, StreamFault, ToolCall

from agents import registry
from agents.models import DailyCost, Step
from audit.models import LedgerEvent
from tests.agents.conftest import MODELS, OTHER, list_reservations
from tests.contract.scripted import ScriptedSkill, make_plain, publish_rules
from toolgate.models import DecisionRecord

AGENT = "normalization-agent"
VENDORS = ["openai", "anthropic"]
DONE = '{"done": "yes"}'
TURN_SECONDS = 4  # of a run in which a vendor falls silent
STALL_SECONDS = 8.0

vendors = pytest.mark.parametrize("vendor", VENDORS)
fallbacks = pytest.mark.parametrize("fallback", [True, False], ids=["fallback", "alone"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call to a model, by what became of its reservation."""

    vendor: str
    state: str = "settled"
    is_estimate: bool = False


@pytest.fixture
def skill(fleet, monkeypatch):
    """Give the agent a skill that remembers its calls, and let an error be tried again once, at once."""
    monkeypatch.setattr("agents.retry.BASE_SECONDS", 0.05)
    scripted = ScriptedSkill()
    monkeypatch.setitem(registry.SKILLS, "scripted", scripted)
    publish_rules([{"id": "scripted", "agent": AGENT, "skill": "scripted", "effect": "allow"}])
    make_plain(AGENT)
    return scripted


@pytest.fixture
def run(skill, use, think, worker, ended):
    """Run a task whose second turn goes wrong, as `break_` arranges it once the skill is called."""

    def _run(vendor, break_, *, fallback):
        llmock = use(vendor, fallback=fallback)
        llmock.add(Reply(tool_calls=(ToolCall("scripted", {"name": "x"}),)), Reply(text=DONE, times=None))
        skill.act = lambda name: break_(llmock)
        with worker():
            task = ended(think(AGENT, {}))
        assert skill.calls == ["x"]
        assert DecisionRecord.objects.filter(task_id=task.id).count() == 1
        return task, llmock

    return _run


def assert_asked(task: Any, *asks: Ask) -> None:
    """See which models were asked, and that each was paid for as its fate wants it: by usage, by the bound, not at all.

    The ledger of steps, the reservations and the costs of the day must say the same.
    """
    model = {vendor: MODELS["cheap"][vendor] for vendor in VENDORS}
    found = list_reservations(task)
    assert [(one.model, one.state, one.is_estimate) for one in found] == [
        (model[ask.vendor], ask.state, ask.is_estimate) for ask in asks
    ]
    for one in found:
        bounds = {"released": (0, 0), "settled": (one.worst_micro if one.is_estimate else 1, one.worst_micro)}
        least, most = bounds[one.state]
        assert least <= (one.actual_micro or 0) <= most
        assert one.is_estimate or (one.actual_micro or 0) < one.worst_micro
        assert Step.objects.get(id=one.step_id).cost_micro == one.actual_micro
    assert sum(DailyCost.objects.values_list("spent_micro", flat=True)) == task.cost_micro


def count_models(task: Any, state: str) -> int:
    return Step.objects.filter(task=task, kind="model", state=state).count()


def assert_carried_on(task: Any, asks: tuple[Ask, ...], *, attempts: int) -> None:
    assert (task.state, task.result, task.attempt) == ("succeeded", {"done": "yes"}, attempts)
    assert_asked(task, *asks)
    assert (count_models(task, "done"), count_models(task, "failed")) == (2, 1)
    assert LedgerEvent.objects.filter(task_id=task.id, type="task.retried").count() == attempts - 1


# --- it is away -----------------------------------------------------------------------------------------------
@fallbacks
@vendors
@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_a_vendor_that_is_away_costs_nothing_and_another_or_a_later_attempt_does_the_work(
    run, vendor, status, fallback
):
    wait = 0.5 if status == 429 else None
    task, llmock = run(vendor, lambda mock: mock.fail(status, retry_after=wait, provider=vendor), fallback=fallback)
    asks = Ask(vendor=vendor), Ask(vendor=vendor, state="released"), Ask(vendor=OTHER[vendor] if fallback else vendor)
    assert_carried_on(task, asks, attempts=1 if fallback else 2)
    assert [request.status for request in llmock.requests] == [200, status, 200]
    llmock.assert_resilient(strict=not fallback)  # it minds that the vendor itself is not asked again


@vendors
def test_an_outage_of_both_ends_the_task_after_its_attempts(run, vendor):
    task, llmock = run(vendor, lambda mock: mock.fail(503, times=None), fallback=True)
    assert (task.state, task.error_code, task.error_reason, task.attempt) == (
        "failed", "attempts_exhausted", "provider_overloaded", 2
    )  # fmt: skip
    lost = [Ask(vendor=name, state="released") for name in (vendor, OTHER[vendor])] * 2
    assert_asked(task, Ask(vendor=vendor), *lost)
    llmock.assert_resilient()


# --- it breaks off --------------------------------------------------------------------------------------------
def break_stream(kind: str, vendor: str, llmock: LLMock) -> None:
    match = Match(provider=vendor, stream=True)
    llmock.add(StreamFault(kind, after_chunks=1, stall_seconds=STALL_SECONDS, match=match))


@fallbacks
@vendors
@pytest.mark.parametrize("kind", ["disconnect", "truncate"])
def test_an_answer_that_breaks_off_is_charged_at_its_bound(run, vendor, kind, fallback):
    task, llmock = run(vendor, lambda mock: break_stream(kind, vendor, mock), fallback=fallback)
    asks = Ask(vendor=vendor), Ask(vendor=vendor, is_estimate=True), Ask(vendor=OTHER[vendor] if fallback else vendor)
    assert_carried_on(task, asks, attempts=1 if fallback else 2)
    if not fallback:  # llmock looks for the retry at the same vendor
        llmock.assert_resilient(strict=True)


@vendors
def test_an_answer_that_cannot_be_read_is_charged_and_asked_for_again_there(run, vendor):
    """Another vendor would not help against what looks like a defect, and would be paid as well."""
    task, llmock = run(vendor, lambda mock: break_stream("malformed", vendor, mock), fallback=True)
    asks = Ask(vendor=vendor), Ask(vendor=vendor, is_estimate=True), Ask(vendor=vendor)
    assert_carried_on(task, asks, attempts=2)
    llmock.assert_resilient()  # its own answer was whole, so it does not see what comes next as a retry


@vendors
def test_a_vendor_that_falls_silent_is_left_at_the_runs_deadline_and_charged(run, vendor):
    make_plain(AGENT, timeout_seconds=TURN_SECONDS)
    task, llmock = run(vendor, lambda mock: break_stream("stall", vendor, mock), fallback=True)
    asks = Ask(vendor=vendor), Ask(vendor=vendor, is_estimate=True), Ask(vendor=vendor)
    assert_carried_on(task, asks, attempts=2)
    assert Step.objects.get(task=task, state="failed").error_code == "provider_timeout"
    llmock.assert_resilient(strict=True)


# --- it talks nonsense ----------------------------------------------------------------------------------------
@vendors
@pytest.mark.parametrize(
    ("kind", "reason"), [("malformed_arguments", "input_invalid"), ("unknown_tool", "skill_unknown")]
)
def test_a_call_that_makes_no_sense_is_refused_and_told_to_the_model(
    skill, use, think, worker, ended, vendor, kind, reason
):
    llmock = use(vendor).break_tool_call(kind)
    call = Reply(tool_calls=(ToolCall("scripted", {"name": "a longer name"}),))
    llmock.add(call, call, Reply(text=DONE))
    with worker():
        task = ended(think(AGENT, {}))
    assert (task.state, task.attempt, skill.calls) == ("succeeded", 1, ["a longer name"])
    decided = DecisionRecord.objects.filter(task_id=task.id).order_by("at", "id").values_list("effect", "reason")
    assert list(decided) == [("deny", reason), ("allow", "allowed")]
    assert_asked(task, *[Ask(vendor=vendor)] * 3)
    assert reason in str(llmock.requests[1].body)
    llmock.assert_resilient(strict=True)


# --- it says no -----------------------------------------------------------------------------------------------
@vendors
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_request_that_will_never_work_is_made_once_and_nowhere_else(run, vendor, status):
    task, llmock = run(vendor, lambda mock: mock.fail(status, provider=vendor), fallback=True)
    assert (task.state, task.error_code, task.attempt) == ("failed", "provider_rejected", 1)
    assert_asked(task, Ask(vendor=vendor), Ask(vendor=vendor, state="released"))
    assert [request.status for request in llmock.requests] == [200, status]
    llmock.assert_resilient(strict=True)


def refuse(vendor: str, llmock: LLMock) -> None:
    """Have a vendor refuse in its own way: the model at Anthropic, the filter before it at OpenAI."""
    if vendor == "anthropic":
        llmock._server.state.scenarios.clear()
        llmock.add(Reply(text="I will not.", finish_reason="content_filter"))
    else:
        llmock.fail(400, code="content_policy_violation", provider=vendor)


@vendors
def test_a_refusal_is_final_and_no_other_model_is_talked_round(run, vendor):
    task, llmock = run(vendor, lambda mock: refuse(vendor, mock), fallback=True)
    assert (task.state, task.error_code, task.attempt) == ("failed", "model_refused", 1)
    assert {request.provider for request in llmock.requests} == {vendor}
    first, second = list_reservations(task)
    assert (first.state, second.state, second.is_estimate) == ("settled", "settled", False)
    assert (second.actual_micro == 0) is (vendor == "openai")  # the filter did no work
    llmock.assert_resilient(strict=True)
