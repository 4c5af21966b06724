"""Submits the demo's tasks, one after the other, and has the stand-in say its lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, override

import orjson
from django.conf import settings
from django.utils import timezone

from agents.models import Step, StepState, Task
from agents.orders import Order
from agents.queue import submit_task
from agents.registry import get_agent
from agents.states import TERMINAL, TaskState
from orchestrator_site.demo.stand_in import get_server
from orchestrator_site.parts import Part

SCRIPT = Path(__file__).with_name("script.json")
POLL_SECONDS = 0.2
AS = "admin"  # who submits: so the other login, approver, may answer


class DemoPart(Part):
    """Plays the script once; a demo that is begun again goes on where its tasks stand."""

    def __init__(self) -> None:
        super().__init__("demo")

    @override
    def work(self) -> None:
        for scene in orjson.loads(SCRIPT.read_bytes()):
            task = self._submit(scene)
            if task.state not in TERMINAL:
                _cue(scene, task)
                self._follow(task)
        self.stopping.wait()

    def _submit(self, scene: Mapping[str, Any]) -> Task:
        order = Order(
            agent_id=scene["agentId"],
            skill_id="",
            input=scene["input"],
            submitted_by=AS,
            idempotency_key=f"demo-{scene['name']}",
        )
        return submit_task(order, now=timezone.now()).task

    def _follow(self, task: Task) -> None:
        """Wait until the task is over or waits for a person: its lines are its own model's from then on."""
        while not self.stopping.wait(POLL_SECONDS):
            task.refresh_from_db()
            if task.state in TERMINAL or task.state == TaskState.AWAITING_APPROVAL:
                return


def _cue(scene: Mapping[str, Any], task: Task) -> None:
    """Queue what the model still has to say in this task."""
    from llmock.scenarios import Match, Reply, ToolCall

    spoken = Step.objects.filter(task_id=task.id, kind="model", state=StepState.DONE).count()
    model = settings.MODEL_TIERS[get_agent(scene["agentId"]).config.tier].partition(":")[2]
    for line in scene["lines"][spoken:]:
        calls = tuple(ToolCall(call["name"], call["arguments"]) for call in line.get("calls", ()))
        text = orjson.dumps(line["answer"]).decode() if "answer" in line else line.get("text")
        get_server().state.scenarios.add(Reply(text=text, tool_calls=calls, match=Match(model=model)))
