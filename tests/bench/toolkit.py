"""Time Microsoft's agent-governance-toolkit; a program of its own, run by the Python of `.venv-bench`.

In: {"batch": …, "batches": …, "cases": [{"rules": [[name, call, action], …], "calls": {kind: call, …}}, …]} as JSON.
Out: for each case the microseconds of CPU a decision by kind. A rule of its evaluator has one condition, so a call is
one text of agent, skill and host, and no rule has to look at more. Its audit entry is part of the decision.
"""

import json
import sys
import time
import warnings
from typing import Any

warnings.simplefilter("ignore", DeprecationWarning)  # its old name is on its way out

from agent_os.policies import PolicyEvaluator  # noqa: E402
from agent_os.policies.schema import (  # noqa: E402
    PolicyAction,
    PolicyCondition,
    PolicyDefaults,
    PolicyDocument,
    PolicyRule,
)

ENOUGH_SECONDS = 4  # of CPU for one figure; at least one batch


def main() -> None:
    """Read the cases, time them, write the figures."""
    order = json.load(sys.stdin)
    json.dump([_time_case(case, order["batch"], order["batches"]) for case in order["cases"]], sys.stdout)


def _time_case(case: dict[str, Any], batch: int, batches: int) -> dict[str, float]:
    evaluator = PolicyEvaluator(policies=[_make_document(case["rules"])])
    figures = {}
    for kind, call in case["calls"].items():
        action = evaluator.evaluate({"call": call}).action
        assert (action == "allow") is (kind == "allow"), (kind, action)
        best, left = float("inf"), float(ENOUGH_SECONDS)
        for _ in range(batches):
            taken = _time_batch(evaluator, {"call": call}, batch)
            best, left = min(best, taken), left - taken
            if left < 0:
                break
        figures[kind] = best / batch * 1_000_000
    return figures


def _time_batch(evaluator: Any, context: dict[str, str], batch: int) -> float:
    started = time.process_time()
    for _ in range(batch):
        evaluator.evaluate(context)
    return time.process_time() - started


def _make_document(rules: list[list[str]]) -> Any:
    priorities = {"deny": 2, "block": 1, "allow": 0}
    return PolicyDocument(
        name="bench",
        defaults=PolicyDefaults(action=PolicyAction.DENY),
        rules=[
            PolicyRule(
                name=name,
                condition=PolicyCondition(field="call", operator="eq", value=call),
                action=PolicyAction(action),
                priority=priorities[action],
            )
            for name, call, action in rules
        ],
    )


if __name__ == "__main__":
    main()
