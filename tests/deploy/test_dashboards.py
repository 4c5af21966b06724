"""What each panel asks a real Prometheus is answered, and rightly, once it has watched the parts at work."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monitoring.grafana.described import FOLDER
from tests.deploy.boards_cast import Done, Prometheus, find_program, run_prometheus, run_town, work
from tests.running import ROOT

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
PANELS = [
    pytest.param(board, panel, id=f"{uid}: {panel['title']}")
    for uid, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What was done, and the Prometheus that watched it until `at`."""

    done: Done
    prometheus: Prometheus
    at: float

    def ask(self, board: dict[str, Any], panel: dict[str, Any], target: dict[str, Any]) -> list[dict[str, Any]]:
        """Ask as Grafana does when it draws this panel."""
        expr = substitute(target["expr"], board, panel)
        if target["instant"]:
            return self.prometheus.ask(expr, at=self.at)
        since, step = seconds(board["time"]["from"].removeprefix("now-")), seconds(interval_of(panel))
        end = self.at // step * step if step == SECONDS["d"] else self.at  # Grafana's days begin at midnight
        return self.prometheus.ask_range(expr, start=end - since, end=end, step=max(step, since // 960))

    def values(self, uid: str, title: str) -> dict[tuple[str, ...], float]:
        """Return the values of an instant panel, by their labels' values."""
        board = BOARDS[uid]
        [panel] = [panel for panel in board["panels"] if panel["title"] == title]
        [target] = panel["targets"]
        found = self.ask(board, panel, target)
        return {tuple(value for _, value in sorted(one["metric"].items())): float(one["value"][1]) for one in found}


def seconds(text: str) -> int:
    return int(text[:-1]) * SECONDS[text[-1]]


def interval_of(panel: dict[str, Any]) -> str:
    return str(panel.get("interval", "15s"))


def substitute(expr: str, board: dict[str, Any], panel: dict[str, Any]) -> str:
    """Return an expression with Grafana's variables and the dashboard's in place."""
    values = {"__range": board["time"]["from"].removeprefix("now-"), "__interval": interval_of(panel)}
    for variable in board["templating"]["list"]:
        current = variable["current"]["value"]
        values[variable["name"]] = variable["allValue"] if current == "$__all" else current
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder: Path = tmp_path_factory.mktemp("boards")
    with run_town(folder) as town, run_prometheus(folder, scrape=town.scrape_configs()) as prometheus:
        prometheus.wait_for_scrapes(time.time())
        done = work(town)
        prometheus.wait_for_scrapes(time.time() + 1)
        yield Watched(done=done, prometheus=prometheus, at=time.time())


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_is_answered(watched: Watched, board: dict[str, Any], panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert watched.ask(board, panel, target), substitute(target["expr"], board, panel)


def test_tasks_are_counted_as_they_ended(watched: Watched) -> None:
    succeeded, failed = watched.done.count("succeeded"), watched.done.count("failed")
    assert succeeded == {"build-refactor-agent": 1, "normalization-agent": 6, "summarization-agent": 3}
    assert failed == {"build-refactor-agent": 1, "content-agent": 3, "security-agent": 2}
    values = watched.values
    assert values("agent-performance", "Completed") == {(): 10}
    assert values("agent-performance", "Failed") == {(): 6}
    assert values("agent-performance", "Completion rate") == {(): 10 / 16}
    assert values("agent-performance", "Completion rate by agent") == {
        ("build-refactor-agent",): 0.5,
        ("content-agent",): 0,
        ("normalization-agent",): 1,
        ("security-agent",): 0,
        ("summarization-agent",): 1,
    }


def test_money_is_what_the_tasks_cost(watched: Watched) -> None:
    cost = watched.done.cost_usd()
    assert cost > 0
    assert watched.values("cost", "Today") == {(): pytest.approx(cost)}
    assert list(watched.values("cost", "Share by model, 30 days").values()) == [pytest.approx(cost)]
    assert list(watched.values("cost", "Ten dearest, 30 days").values()) == [pytest.approx(cost)]


def test_approvals_and_denials_are_what_the_gate_and_people_decided(watched: Watched) -> None:
    assert watched.values("security-approvals", "Decided within the SLA") == {(): 1}
    assert watched.values("security-approvals", "Pending") == {(): watched.done.pending}
    assert watched.values("security-approvals", "Asked of a person") == {(): 3}
    assert watched.values("security-approvals", "Violations of the trail") == {(): 0}
    denied = watched.values("security-approvals", "Denials by skill, agent and reason")
    assert denied["content-agent", "skill_not_allowed", "normalizer"] == 3


def test_the_prometheus_of_the_readme_is_valid() -> None:
    command = re.search(r"--config\.file=(\S+)", (FOLDER.parents[1] / "README.md").read_text())
    assert command is not None
    check = [find_program("promtool"), "check", "config", str(ROOT / command[1])]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
