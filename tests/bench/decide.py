"""CPU of one decision, evidence included, at 11, 1,000 and 10,000 rules: `python -m tests.bench.decide`.

Two shapes of the same rules: *wide* has as many agents as it takes for about two rules a cell (agent and skill),
*deep* piles all rules on eleven agents and five skills. Three kinds of call: allowed, asked, denied.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import mean
from typing import Any

from toolgate.engine import CompiledPolicy, compile_policy, decide
from toolgate.policy import read_policy
from toolgate.types import Action, Principal, Request, Resource

BATCH = 1_000
BATCHES = 20
SIZES = (11, 1_000, 10_000)
SKILLS = ("sourceFetch", "documentParser", "normalizer", "workspacePatch", "testRunner")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run() -> list[dict[str, Any]]:
    """Return one row a shape and size: microseconds of CPU a decision by kind of call, and growth from 11 rules."""
    rows: list[dict[str, Any]] = []
    for shape, agents_for in (("wide", _many_agents), ("deep", _eleven_agents)):
        first: float | None = None
        for size in SIZES:
            policy = compile_policy(read_policy(make_rules(size, agents_for(size))), 1)
            row: dict[str, Any] = {"shape": shape, "rules": size}
            row |= {kind: _measure(policy, request) for kind, request in make_requests().items()}
            average = mean(row[kind] for kind in make_requests())
            first = first or average
            rows.append(row | {"average": average, "growth": average / first})
    return rows


def make_rules(size: int, agents: int) -> list[dict[str, Any]]:
    """Return `size` rules over `agents` agents and five skills: allows and asks, with one deny in fifty."""
    return [_make_rule(number, f"agent-{number % agents}", SKILLS[number // agents % 5]) for number in range(size)]


def make_requests() -> dict[str, Request]:
    """Return one call that the first rule of agent-0 allows, one that agent-3 is asked about, one refused."""
    principal = Principal(agent_id="agent-0", version=1)
    action = Action(skill_id="sourceFetch", version="1")
    return {
        "allow": Request(principal=principal, action=action, resource=_touch("host-0.example.org")),
        "ask": Request(
            principal=Principal(agent_id="agent-3", version=1), action=action, resource=_touch("host-3.example.org")
        ),
        "deny": Request(principal=principal, action=action, resource=_touch("elsewhere.example.net")),
    }


def _make_rule(number: int, agent: str, skill: str) -> dict[str, Any]:
    effect = "deny" if number % 50 == 49 else "ask" if number % 8 == 3 else "allow"
    conditions = {
        "domains": [f"host-{number}.example.org", f"*.pages-{number}.example.org"],
        "readPaths": [f"folder-{number}", "shared"],
        "arguments": {"timeoutMs": {"max": 30_000}},
    }
    rule = {"id": f"rule-{number:05}", "agent": agent, "skill": skill, "effect": effect, "conditions": conditions}
    return rule if effect == "deny" else rule | {"limits": {"callsPerTask": 20, "ratePerSecond": 2}}


def _touch(host: str) -> Resource:
    return Resource(hosts=(host,), read_paths=("shared/a.csv",), arguments={"timeoutMs": 10_000, "stripScripts": True})


def _many_agents(size: int) -> int:
    return max(11, size // 10)


def _eleven_agents(size: int) -> int:
    return 11


def _measure(policy: CompiledPolicy, request: Request) -> float:
    decide(policy, request, now=NOW)
    return min(_time_batch(lambda: decide(policy, request, now=NOW)) for _ in range(BATCHES))


def _time_batch(call: Callable[[], object]) -> float:
    started = time.process_time()
    for _ in range(BATCH):
        call()
    return (time.process_time() - started) / BATCH * 1_000_000


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table."""
    print(f"{'decide(), CPU µs':<18}{'rules':>8}{'allow':>8}{'ask':>8}{'deny':>8}{'mean':>8}{'growth':>8}")
    for row in rows:
        kinds = "".join(f"{row[kind]:>8.2f}" for kind in ("allow", "ask", "deny", "average"))
        print(f"{row['shape']:<18}{row['rules']:>8}{kinds}{row['growth']:>7.2f}x")


if __name__ == "__main__":
    print_rows(run())
