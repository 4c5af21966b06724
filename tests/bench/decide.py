"""CPU of one decision, evidence included, beside Cedar (sliced) and Microsoft's agent-governance-toolkit.

Two shapes of the same rules: *wide* has as many agents as it takes for about two rules a cell (agent and skill),
*deep* piles all rules on eleven agents and five skills. Three kinds of call: allowed, asked, denied. `growth` is
against the same engine at 11 rules, `slower` against ours beside it; each figure is the best of twenty batches.

Cedar gets only the policies of the call's agent and skill, parsed before, and the request's JSON made before; no
schema. The toolkit's evaluator takes all rules, each with one comparison. An ask is Cedar's forbid with an annotation,
and the toolkit's block.
"""

import json
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import mean
from typing import Any

import cedarpy

from tests.bench.rivals import FOLDER, RivalMissing, install
from tests.running import ROOT
from toolgate.engine import compile_policy, decide
from toolgate.policy import read_policy
from toolgate.types import Action, Principal, Request, Resource

BATCH = 1_000
BATCHES = 20
SIZES = (11, 1_000, 10_000)
SKILLS = ("sourceFetch", "documentParser", "normalizer", "workspacePatch", "testRunner")
KINDS = {"allow": ("agent-0", "host-0.example.org"), "ask": ("agent-3", "host-3.example.org"),
         "deny": ("agent-0", "elsewhere.example.net")}  # fmt: skip
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOOLKIT = ("agent-governance-toolkit[core]==4.1.0", "agent-os-kernel==3.7.0")
_PROBE = (
    "import importlib.metadata as m, agent_os.policies as p; "
    "print(next(d.metadata['Name'] + ' ' + d.version for d in m.distributions() "
    "if d.metadata['Name'] in ('agent-governance-toolkit-core', 'agent-os-kernel')))"
)

Rules = list[dict[str, Any]]
Figures = dict[str, float]


def run() -> list[dict[str, Any]]:
    """Return one row an engine, shape and size: microseconds of CPU a decision by kind of call."""
    cases = [(shape, size, make_rules(size, max(11, size // 10) if shape == "wide" else 11))
             for shape in ("wide", "deep") for size in SIZES]  # fmt: skip
    measured = {"toolgate": [_time_ours(rules) for _, _, rules in cases]}
    measured[f"cedarpy {version('cedarpy')}, sliced"] = [_time_cedar(rules) for _, _, rules in cases]
    try:
        name = install(TOOLKIT, probe=_PROBE)
        measured[name] = _time_toolkit([rules for _, _, rules in cases])
    except RivalMissing as missing:
        print(f"  (without a comparison: {missing})")
    rows = []
    for engine, figures in measured.items():
        for place, (shape, size, _) in enumerate(cases):
            average, first = (mean(figures[at].values()) for at in (place, place - place % len(SIZES)))
            ours = mean(measured["toolgate"][place].values())
            row = {"engine": engine, "shape": shape, "rules": size, **figures[place], "average": average}
            rows.append(row | {"growth": average / first, "slower": average / ours})
    return rows


def make_rules(size: int, agents: int) -> Rules:
    """Return `size` rules over `agents` agents and five skills: allows and asks, with one deny in fifty."""
    return [_make_rule(number, f"agent-{number % agents}", SKILLS[number // agents % 5]) for number in range(size)]


def _make_rule(number: int, agent: str, skill: str) -> dict[str, Any]:
    effect = "deny" if number % 50 == 49 else "ask" if number % 8 == 3 else "allow"
    conditions = {
        "domains": [f"host-{number}.example.org", f"*.pages-{number}.example.org"],
        "readPaths": [f"folder-{number}", "shared"],
        "arguments": {"timeoutMs": {"max": 30_000}},
    }
    rule = {"id": f"rule-{number:05}", "agent": agent, "skill": skill, "effect": effect, "conditions": conditions}
    return rule if effect == "deny" else rule | {"limits": {"callsPerTask": 20, "ratePerSecond": 2}}


def _measure(kind: str, judge: Callable[[], object]) -> float:
    effect = judge()
    assert effect == kind, (kind, effect)
    return min(_time_batch(judge) for _ in range(BATCHES))


def _time_batch(call: Callable[[], object]) -> float:
    started = time.process_time()
    for _ in range(BATCH):
        call()
    return (time.process_time() - started) / BATCH * 1_000_000


# --- ours -----------------------------------------------------------------------------------------------------
def _time_ours(rules: Rules) -> Figures:
    policy = compile_policy(read_policy(rules), 1)

    def time_kind(kind: str, request: Request) -> float:
        return _measure(kind, lambda: decide(policy, request, now=NOW).effect)

    return {kind: time_kind(kind, _make_request(agent, host)) for kind, (agent, host) in KINDS.items()}


def _make_request(agent: str, host: str) -> Request:
    return Request(
        principal=Principal(agent_id=agent, version=1),
        action=Action(skill_id="sourceFetch", version="1"),
        resource=Resource(
            hosts=(host,), read_paths=("shared/a.csv",), arguments={"timeoutMs": 10_000, "stripScripts": True}
        ),
    )


# --- Cedar ----------------------------------------------------------------------------------------------------
def _time_cedar(rules: Rules) -> Figures:
    slices: dict[tuple[str, str], list[str]] = {}
    for rule in rules:
        slices.setdefault((rule["agent"], rule["skill"]), []).extend(_write_policies(rule))
    parsed = {pair: cedarpy.PolicySet.from_str("\n".join(texts)) for pair, texts in slices.items()}
    entities = cedarpy.Entities.from_json_str("[]")
    asking = {rule["id"] for rule in rules if rule["effect"] == "ask"}

    def time_kind(kind: str, agent: str, host: str) -> float:
        request = _write_request(agent, host)

        def judge() -> str:
            result = cedarpy.is_authorized(request, parsed[agent, "sourceFetch"], entities)
            if result.allowed:
                return "allow"
            ids = result.diagnostics.id_annotations_by_reason.values()
            return "ask" if ids and asking.issuperset(ids) else "deny"

        return _measure(kind, judge)

    return {kind: time_kind(kind, agent, host) for kind, (agent, host) in KINDS.items()}


def _write_policies(rule: dict[str, Any]) -> list[str]:
    (host, wildcard), (folder, shared) = rule["conditions"]["domains"], rule["conditions"]["readPaths"]
    when = (
        f'(context.host == "{host}" || context.host like "{wildcard}") && '
        f'(context.path == "{folder}" || context.path like "{folder}/*" || context.path like "{shared}/*") && '
        f"context.timeoutMs <= {rule['conditions']['arguments']['timeoutMs']['max']}"
    )
    scope = f'(principal == Agent::"{rule["agent"]}", action == Action::"{rule["skill"]}", resource)'
    head = f'@id("{rule["id"]}") @effect("{rule["effect"]}")'
    permit, forbid = (f"{head} {word} {scope} when {{ {when} }};" for word in ("permit", "forbid"))
    return {"allow": [permit], "ask": [permit, forbid], "deny": [forbid]}[rule["effect"]]


def _write_request(agent: str, host: str) -> dict[str, str]:
    context = {"host": host, "path": "shared/a.csv", "timeoutMs": 10_000, "stripScripts": True}
    return {
        "principal": f'Agent::"{agent}"', "action": 'Action::"sourceFetch"', "resource": 'Workspace::"all"',
        "context": json.dumps(context),
    }  # fmt: skip


# --- Microsoft's toolkit --------------------------------------------------------------------------------------
def _time_toolkit(many: list[Rules]) -> list[Figures]:
    actions = {"allow": "allow", "ask": "block", "deny": "deny"}
    cases = [
        {
            "rules": [
                [rule["id"], _name_call(rule["agent"], rule["skill"], rule["conditions"]["domains"][0]),
                 actions[rule["effect"]]] for rule in rules
            ],
            "calls": {kind: _name_call(agent, "sourceFetch", host) for kind, (agent, host) in KINDS.items()},
        }
        for rules in many
    ]  # fmt: skip
    order = json.dumps({"batch": BATCH, "batches": BATCHES, "cases": cases})
    command = [str(FOLDER / "bin" / "python"), str(ROOT / "tests" / "bench" / "toolkit.py")]
    done = subprocess.run(command, input=order, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    figures: list[Figures] = json.loads(done.stdout)
    return figures


def _name_call(agent: str, skill: str, host: str) -> str:
    return f"{agent}/{skill}/{host}"


if __name__ == "__main__":
    from tests.bench.__main__ import print_table

    print_table(run())
