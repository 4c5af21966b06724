"""Rules, routes and the way of an alert, with Debian's Prometheus and Alertmanager."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.monitored import ALERTMANAGER, PROMETHEUS, PROMISED, list_rules, read_text
from tests.running import RunningServer, free_port

PATIENCE_SECONDS = 60  # of a machine that does other things too; by itself it takes a few


def find_tool(name: str, package: str) -> str:
    """Return the path of a program, or skip the test."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


# --- Prometheus -----------------------------------------------------------------------------------------------
def test_promtool_takes_the_configuration_and_its_rules() -> None:
    promtool = find_tool("promtool", "prometheus")
    done = run(promtool, "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 rule files found" in done.stdout


@pytest.mark.parametrize("test", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_each_rule_fires_when_it_should_and_only_then(test: Path) -> None:
    done = run(find_tool("promtool", "prometheus"), "test", "rules", str(test))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("agents", "> 0.05", "> 0.5"),
        ("approvals", "max(pending_approvals_count)", "sum(pending_approvals_count)"),
        ("budget", "== 80", ">= 80"),
        ("audit", "> 60", "> 6000"),
        ("platform", "max by (dependency)", "min by (dependency)"),
    ],
)
def test_a_rule_that_is_wrong_is_found(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    copy = shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    rules = copy / "rules" / f"{file}.yml"
    assert right in rules.read_text()
    rules.write_text(rules.read_text().replace(right, wrong, 1))
    done = run(find_tool("promtool", "prometheus"), "test", "rules", str(copy / "tests" / f"{file}_test.yml"))
    assert done.returncode == 1


# --- Alertmanager ---------------------------------------------------------------------------------------------
def test_amtool_takes_the_configuration() -> None:
    done = run(find_tool("amtool", "prometheus-alertmanager"), "check-config", str(ALERTMANAGER))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
def test_every_alert_has_its_route(severity: str) -> None:
    amtool = find_tool("amtool", "prometheus-alertmanager")
    routes = (amtool, "config", "routes", "test", f"--config.file={ALERTMANAGER}", "--verify.receivers=orchestrator")
    done = run(*routes, "--tree", f"severity={severity}", "alertname=MonthlyBudget")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ('severity="critical"' in done.stdout, 'severity="info"' in done.stdout) == (
        severity == "critical",
        severity == "info",
    )


# --- the way of an alert --------------------------------------------------------------------------------------
@contextmanager
def run_program(*command: str, log: Path, cwd: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=cwd)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(20)


def wait_for[T](find: Callable[[], T | None], what: str) -> T:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not (found := find()):
        assert time.monotonic() < give_up_at, f"waited {PATIENCE_SECONDS} s for {what}"
        time.sleep(0.1)
    return found


def write_alertmanager(folder: Path, *, url: str, token: str) -> Path:
    """Write the shipped configuration with another address and short waits, and nothing else changed."""
    (folder / "token").write_text(token)
    config = read_text(ALERTMANAGER)
    hook = config["receivers"][0]["webhook_configs"][0]
    hook["url"] = f"{url}/api/alerts"
    hook["http_config"]["authorization"]["credentials_file"] = str(folder / "token")
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def write_prometheus(folder: Path, *, target: int, alertmanager: int) -> Path:
    """Write a configuration that scrapes one process each second, with the shipped rules at short waits."""
    rules = [rule | ({"for": "1s"} if "for" in rule else {}) for _, rule in list_rules()]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
        "scrape_configs": [
            {"job_name": f"orchestrator-{role}", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
            for role in ("web", "worker", "sequencer")
        ],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def ask_for_six_people(client: httpx2.Client, server: RunningServer) -> list[str]:
    """Submit six calls that a person is asked about."""
    order: dict[str, Any] = {"changes": [{"type": "append", "newText": "as asked\n"}], "dryRun": False}
    return [
        server.submit(
            client,
            agentId="build-refactor-agent",
            skillId="workspacePatch",
            input=order | {"filePath": f"note-{number}.txt"},
        )
        for number in range(6)
    ]


def keep_busy(client: httpx2.Client, server: RunningServer) -> None:
    """Have a task succeed, one fail and one refused."""
    data = {"data": {"n": "7"}, "schema": {"n": {"type": "number"}}}
    server.submit(client, agentId="normalization-agent", skillId="normalizer", input=data)
    server.submit(client, agentId="content-agent", skillId="normalizer", input=data)
    missing = {"filePath": "there-is-no-such-file.csv", "format": "csv"}
    server.submit(client, agentId="security-agent", skillId="documentParser", input=missing)


def list_missing(port: int) -> set[str]:
    """Return which of the promised metrics a scrape shows without a sample."""
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    shown = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    plain = {re.sub(r"_bucket$", "", name) for name in shown}
    return PROMISED - plain


def find_alerts(client: httpx2.Client, status: str) -> dict[str, dict[str, Any]]:
    answer = client.get("/api/alerts")
    assert answer.status_code == 200, answer.text
    return {one["name"]: one for one in answer.json()["results"] if one["status"] == status}


def test_an_alert_comes_from_the_gauge_to_the_console_and_goes_again(tmp_path: Path) -> None:
    prometheus = find_tool("prometheus", "prometheus")
    alertmanager = find_tool("prometheus-alertmanager", "prometheus-alertmanager")
    metrics, port = free_port(), free_port()
    server = RunningServer(tmp_path / "var", METRICS_PORT=str(metrics), LOG_LEVEL="WARNING").start()
    try:
        token = server.manage("issue_token", "alertmanager", "--scopes", "alerts:write").split()[-1]
        am_config = write_alertmanager(tmp_path, url=server.url, token=token)
        prom_config = write_prometheus(tmp_path, target=metrics, alertmanager=port)
        with (
            run_program(
                alertmanager,
                f"--config.file={am_config}",
                f"--storage.path={tmp_path / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
                log=tmp_path / "alertmanager.log",
                cwd=tmp_path,
            ),
            run_program(
                prometheus,
                f"--config.file={prom_config}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{free_port()}",
                log=tmp_path / "prometheus.log",
                cwd=tmp_path,
            ),
            server.client() as client,
        ):
            keep_busy(client, server)
            tasks = ask_for_six_people(client, server)
            wait_for(lambda: not list_missing(metrics), "each metric to have a sample")
            fired = wait_for(lambda: find_alerts(client, "firing").get("PendingApprovalsBacklog"), "the alert to fire")
            assert (fired["severity"], fired["summary"]) == ("warning", "Approvals pile up")
            assert fired["description"].startswith("6 wait for a person")
            assert set(find_alerts(client, "firing")) <= {"PendingApprovalsBacklog", "HighErrorRate"}
            for task_id in tasks:
                client.post(f"/api/tasks/{task_id}/cancel")
            wait_for(lambda: find_alerts(client, "resolved").get("PendingApprovalsBacklog"), "the alert to be over")
            events = client.get("/api/audit", params={"type": "alert.fired"}).json()["results"]
            assert "PendingApprovalsBacklog" in {one["body"]["name"] for one in events}
    finally:
        server.stop()
