"""Every line that is logged of a run says which task and trace it belongs to."""

import logging
from typing import Any

import orjson

from orchestrator_site.logs import JsonFormatter


class Lines(logging.Handler):
    """Keeps the lines of JSON, formatted where they are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(orjson.loads(self.format(record)))


def test_a_run_and_its_skill_log_their_ids(skill, submit, worker, ended):
    skill.act = lambda name: logging.getLogger("agents.skills").warning("inside", extra={"action": "skill.test"})
    handler = Lines()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with worker():
            task = ended(submit("x"))
    finally:
        root.removeHandler(handler)
    inside = next(line for line in handler.lines if line["action"] == "skill.test")
    assert (inside["task_id"], inside["trace_id"]) == (task.id, task.trace_id)
    ends = [line for line in handler.lines if line["action"] == "run.ended"]
    assert all(line["task_id"] == task.id for line in ends)
