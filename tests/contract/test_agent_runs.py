"""An agent's own run: each call through the gate, each turn through the budget, and nothing done twice."""

import threading

import pytest
from django.utils import timezone

from agents import leases, registry
from agents.models import Reservation, Step, Task
from agents.providers.base import (
    ModelMessage,
    ModelReply,
    ProviderInterrupted,
    ProviderRejected,
    ProviderUnavailable,
    StopReason,
)
from agents.skills.base import SkillError
from audit.models import TranscriptEntry
from tests.contract.agent_cast import accounts, change_agent, events_of, settled_for, told
from tests.contract.conftest import AGENT
from tests.contract.models import CALL, DONE, HAIKU, LUNA, SOME, Models, answers, calls, says
from tests.contract.scripted import publish_rules
from toolgate.approvals import decide_approval
from toolgate.models import Approval, DecisionRecord

pytestmark = pytest.mark.usefixtures("plain_agent")


def test_it_calls_what_the_model_wants_and_ends_with_its_answer(skill, think, worker, ended):
    models = Models(calls(CALL), DONE)
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.result, skill.calls) == ("succeeded", {"done": "yes"}, ["x"])
    (result,) = told(models)
    assert (result.call_id, result.is_error) == ("call-1", False)
    assert '"call":1' in result.content
    assert [tool.name for tool in models.requests[0][1].tools] == ["documentParser", "normalizer", "scripted"]
    kinds = list(Step.objects.filter(task=task).order_by("ordinal").values_list("kind", "state"))
    assert kinds == [("model", "done"), ("skill", "done"), ("model", "done")]


def test_it_pays_for_each_turn_and_holds_nothing_afterwards(skill, think, worker, ended):
    with worker(models=Models(calls(CALL), DONE)):
        task = ended(think())
    # luna: 60 tokens at 0.10, 40 of a cache at 0.01, 20 written at 0.50 USD a million: 16.4, rounded up each turn
    assert task.cost_micro == settled_for(task) == 2 * 17
    assert {key: (a.spent_micro, a.held_micro) for key, a in accounts().items()}["fleet"] == (task.cost_micro, 0)
    assert events_of(task, "budget.reserved", "budget.settled") == ["budget.reserved", "budget.settled"] * 2


def test_a_refusal_is_told_to_the_model_which_goes_on(skill, think, worker, ended):
    models = Models(
        calls(("c1", "workspacePatch", {"filePath": "a.py", "changes": []}), ("c2", "nothingLikeIt", {})), DONE
    )
    with worker(models=models):
        task = ended(think())
    assert task.state == "succeeded"
    assert all(result.is_error for result in told(models))
    assert "input_invalid" in told(models)[0].content
    assert "skill_unknown" in told(models)[1].content
    reasons = list(DecisionRecord.objects.filter(task_id=task.id).order_by("at").values_list("effect", "reason"))
    assert reasons == [("deny", "input_invalid"), ("deny", "skill_unknown")]
    assert set(Step.objects.filter(task=task, kind="skill").values_list("state", flat=True)) == {"refused"}


def test_arguments_that_are_no_object_are_refused_and_told(skill, think, worker, ended):
    models = Models(calls(("c1", "scripted", None)), DONE)
    with worker(models=models):
        assert ended(think()).state == "succeeded"
    assert "no JSON object" in told(models)[0].content
    assert skill.calls == []


def test_a_skills_error_is_told_and_is_not_the_tasks(skill, think, worker, ended):
    def fail(name):
        raise SkillError("upstream_busy", "The other side is busy.", retryable=True, retry_after_seconds=3)

    skill.act = fail
    models = Models(calls(CALL), DONE)
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.attempt) == ("succeeded", 1)
    assert "upstream_busy" in told(models)[0].content
    assert '"retryAfterSeconds":3' in told(models)[0].content


def test_an_answer_that_does_not_fit_goes_back_once(skill, think, worker, ended):
    models = Models(says("I am done."), answers({"done": "now it fits"}))
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.result) == ("succeeded", {"done": "now it fits"})
    assert len(models.requests) == 2
    assert "JSON" in models.requests[1][1].messages[-1].text
    assert events_of(task, "output.rejected") == ["output.rejected"]


def test_a_second_answer_that_does_not_fit_fails_the_task(skill, think, worker, ended):
    models = Models(says("no"), answers({"undone": 1}), DONE)
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.error_code, len(models.requests)) == ("failed", "output_invalid", 2)


def test_an_answer_that_was_cut_off_goes_back(skill, think, worker, ended):
    cut = ModelReply(message=ModelMessage(text='{"done": "y'), stop=StopReason.MAX_TOKENS, usage=None)
    models = Models(cut, DONE)
    with worker(models=models):
        task = ended(think())
    assert task.state == "succeeded"
    assert "cut off" in models.requests[1][1].messages[-1].text


def test_a_model_that_refuses_ends_the_task_and_nobody_else_is_asked(skill, think, worker, ended):
    refusal = ModelReply(message=ModelMessage(text="I will not."), stop=StopReason.REFUSED, usage=SOME)
    models = Models(refusal)
    models.refs = [LUNA, HAIKU]
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.error_code, len(models.requests)) == ("failed", "model_refused", 1)


def test_an_outage_is_taken_over_by_the_other_vendor_each_reserved_by_itself(skill, think, worker, ended):
    models = Models(ProviderUnavailable("down"), DONE)
    models.refs = [LUNA, HAIKU]
    with worker(models=models):
        task = ended(think())
    assert [ref for ref, _ in models.requests] == [LUNA, HAIKU]
    assert (task.state, task.attempt) == ("succeeded", 1)
    states = dict(Reservation.objects.filter(task_id=task.id).values_list("model", "state"))
    assert states == {LUNA: "released", HAIKU: "settled"}


def test_a_rejected_request_is_not_taken_elsewhere(skill, think, worker, ended):
    models = Models(ProviderRejected("no such model"))
    models.refs = [LUNA, HAIKU]
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.error_code, len(models.requests)) == ("failed", "provider_rejected", 1)


def test_a_cut_stream_is_charged_at_its_bound_and_tried_again(skill, think, worker, ended):
    models = Models(ProviderInterrupted("cut"), DONE)
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.attempt) == ("succeeded", 2)
    first, second = Reservation.objects.filter(task_id=task.id).order_by("opened_at")
    assert (first.actual_micro, first.is_estimate) == (first.worst_micro, True)
    assert (second.actual_micro, second.is_estimate) == (17, False)
    assert accounts()["fleet"].held_micro == 0


def test_a_later_attempt_repeats_no_turn_and_no_call(skill, think, worker, ended):
    models = Models(calls(CALL), ProviderUnavailable("down"), DONE)
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.attempt, skill.calls) == ("succeeded", 2, ["x"])
    assert len(models.requests) == 3
    assert models.requests[1][1].messages == models.requests[2][1].messages


def test_a_run_that_asks_a_person_goes_on_where_it_was(skill, think, worker, ended, until):
    publish_rules([{"id": "ask-first", "agent": AGENT, "skill": "scripted", "effect": "ask"}])
    models = Models(calls(CALL), DONE)
    with worker(models=models):
        task = think()
        until(lambda: Task.objects.get(id=task.id).state == "awaiting_approval", "the task to park")
    assert accounts()["fleet"].held_micro == 0
    approval = Approval.objects.get(task_id=task.id)
    decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())
    with worker(models=models):
        ended(task)
    assert (task.state, task.attempt, skill.calls, len(models.requests)) == ("succeeded", 1, ["x"], 2)


def test_an_approved_call_that_is_over_its_rate_waits_for_it(skill, think, worker, ended, until):
    rule = {"agent": AGENT, "skill": "scripted"}
    ask = {"id": "ask-b", **rule, "effect": "ask", "conditions": {"arguments": {"name": {"equals": "b"}}}}
    publish_rules([{"id": "slow", **rule, "effect": "allow", "limits": {"ratePerSecond": 1}}, ask])
    models = Models(calls(("c1", "scripted", {"name": "a"})), calls(("c2", "scripted", {"name": "b"})), DONE)
    with worker(models=models):
        task = think()
        until(lambda: Task.objects.get(id=task.id).state == "awaiting_approval", "the task to park")
        approval = Approval.objects.get(task_id=task.id)
        decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())
        ended(task)
    assert (task.state, skill.calls, len(models.requests)) == ("succeeded", ["a", "b"], 3)
    assert not any(result.is_error for result in told(models))
    assert "task.delayed" in events_of(task)


def test_a_cancelled_run_stops_its_call_to_the_model_within_a_second(skill, think, worker, ended, until):
    from agents.control import cancel_task

    models = Models(DONE)
    models.hold = threading.Event()
    with worker(models=models):
        task = think()
        until(lambda: models.requests, "the model to be asked")
        asked_at = timezone.now()
        cancel_task(task.id, actor="user:olga", now=asked_at)
        ended(task)
    assert (task.state, models.cancelled) == ("cancelled", 1)
    assert (task.ended_at - asked_at).total_seconds() < 1
    reservation = Reservation.objects.get(task_id=task.id)
    assert (reservation.state, reservation.is_estimate) == ("settled", True)
    assert accounts()["fleet"].held_micro == 0


def test_a_cap_stops_the_run_before_the_model_is_asked(skill, think, worker, ended, settings):
    from decimal import Decimal

    config = registry._configs[AGENT, 1]
    change_agent(limits=config.limits.model_copy(update={"max_cost_gbp": Decimal("0.0001")}))
    models = Models(DONE)
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.error_code, models.requests) == ("failed", "budget_exhausted", [])
    assert events_of(task, "budget.refused") == ["budget.refused"]
    assert task.cost_micro == 0


def test_a_model_without_a_price_is_never_asked(skill, think, worker, ended):
    models = Models(DONE)
    models.refs = ["openai:nobody-knows-this-one"]
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.error_code, models.requests) == ("failed", "price_unknown", [])


def test_turns_are_bounded(skill, think, worker, ended):
    config = registry._configs[AGENT, 1]
    change_agent(limits=config.limits.model_copy(update={"max_steps": 2}))
    models = Models(*[calls((f"c{n}", "scripted", {"name": str(n)})) for n in range(5)])
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.error_code, skill.calls) == ("failed", "max_steps", ["0", "1"])


def test_calls_are_bounded(skill, think, worker, ended):
    config = registry._configs[AGENT, 1]
    change_agent(limits=config.limits.model_copy(update={"max_calls": 1}))
    models = Models(calls(("a", "scripted", {"name": "1"}), ("b", "scripted", {"name": "2"})), DONE)
    with worker(models=models):
        task = ended(think())
    assert (task.state, skill.calls) == ("succeeded", ["1"])
    assert "call_ceiling" in told(models)[1].content
    assert DecisionRecord.objects.filter(task_id=task.id, reason="call_ceiling").count() == 1


def test_a_stopped_agent_asks_no_model(skill, think, worker, ended):
    from agents.models import Agent

    task = think()
    Agent.objects.filter(id=AGENT).update(status="quarantined")
    registry.forget_fleet()
    plain = Models(DONE)
    with worker(models=plain):
        ended(task)
    assert (task.state, task.error_code, plain.requests) == ("failed", "agent_quarantined", [])


def test_a_dead_workers_turn_is_charged_and_asked_again(skill, think, worker, ended, until):
    models = Models(DONE)
    models.hold = threading.Event()
    task = think()
    with worker(models=models) as first:
        until(lambda: models.requests, "the model to be asked")
        Task.objects.filter(id=task.id).update(worker_id="dead")  # as if its process had vanished
        leases.reap(own=first.worker_id, now=timezone.now())
        models.lines, models.hold = [DONE], None
        ended(task)
    assert (task.state, task.losses) == ("succeeded", 1)
    lost, won = Reservation.objects.filter(task_id=task.id).order_by("opened_at")
    assert (lost.state, lost.is_estimate, won.state) == ("settled", True, "settled")
    assert task.cost_micro == settled_for(task)
    assert accounts()["fleet"].held_micro == 0


def test_a_step_of_unknown_outcome_is_asked_about_unless_it_may_be_repeated(skill, think, worker, ended, until):
    skill.idempotent = False
    task = think()
    models = Models(calls(CALL), DONE)
    release = threading.Event()
    skill.act = lambda name: release.wait(5) if len(skill.calls) == 1 else None
    with worker(models=models) as first:
        until(lambda: skill.calls, "the skill to run")
        Task.objects.filter(id=task.id).update(worker_id="dead")
        leases.reap(own=first.worker_id, now=timezone.now())
        until(lambda: Approval.objects.filter(task_id=task.id, state="pending").exists(), "the question")
        approval = Approval.objects.get(task_id=task.id)
        assert (approval.kind, skill.calls) == ("step_unknown", ["x"])
        release.set()
        decide_approval(approval.id, approve=True, user="ana", note="it did not happen", now=timezone.now())
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["x", "x"])


def test_a_report_that_needs_a_review_counts_once_a_person_has_read_it(skill, think, worker, ended, until):
    config = registry._configs[AGENT, 1]
    change_agent(constraints=config.constraints.model_copy(update={"review_required": True}))
    models = Models(DONE)
    with worker(models=models):
        task = think()
        until(lambda: Task.objects.get(id=task.id).state == "awaiting_approval", "the task to park")
        approval = Approval.objects.get(task_id=task.id)
        assert (approval.kind, approval.arguments) == ("review", {"done": "yes"})
        decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())
        ended(task)
    assert (task.state, task.result, len(models.requests)) == ("succeeded", {"done": "yes"}, 1)


def test_a_retry_goes_on_with_what_was_said(skill, think, worker, ended):
    from agents.control import retry_task

    models = Models(calls(CALL), says("no"), says("no again"), DONE)
    with worker(models=models):
        task = ended(think())
        assert task.error_code == "output_invalid"
        retry_task(task.id, actor="user:olga", now=timezone.now())
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["x"])


def test_without_a_model_the_task_fails_at_once_with_what_to_set(skill, think, worker, ended, settings):
    settings.OPENAI_API_KEY = settings.ANTHROPIC_API_KEY = settings.OPENAI_BASE_URL = settings.ANTHROPIC_BASE_URL = ""
    with worker():
        task = ended(think())
    assert (task.state, task.error_code, task.attempt) == ("failed", "provider_missing", 1)
    assert "OPENAI_API_KEY" in task.error_message


def test_the_transcript_tells_it_all_in_order(skill, think, worker, ended):
    models = Models(calls(CALL), says("no"), DONE)
    with worker(models=models):
        task = ended(think())
    kinds = list(TranscriptEntry.objects.filter(task_id=task.id).order_by("id").values_list("kind", flat=True))
    assert kinds == ["prompt", "reply", "call", "result", "reply", "verdict", "reply"]


def test_two_hundred_runs_wait_for_a_slow_model_at_once_and_none_is_lost(
    skill, think, worker, ended, until, settings, monkeypatch
):
    settings.MAX_AGENTS, settings.RESERVED_SLOTS = 200, 0
    monkeypatch.setattr(registry, "slots_of", lambda agent_id: 200)
    models = Models(*[DONE] * 200)
    models.hold = threading.Event()
    tasks = [think() for _ in range(200)]
    with worker(models=models, slots=200):
        until(lambda: len(models.requests) == 200, "all of them to ask")
        models.hold.set()
        assert {ended(task).state for task in tasks} == {"succeeded"}
    assert accounts()["fleet"].held_micro == 0
    assert accounts()["fleet"].spent_micro == sum(settled_for(task) for task in tasks)
