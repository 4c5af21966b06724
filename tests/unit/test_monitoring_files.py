"""The monitoring's files against each other and against the code, without Prometheus."""

import re
from collections import Counter
from typing import Any

import pytest

from tests.monitored import ALERTMANAGER, PROMETHEUS, PROMISED, SOURCES, list_made, list_rules, names_in, read_text
from tests.running import ROOT

ALERTS = {
    "HighErrorRate": {"critical"}, "TaskDurationSpike": {"warning"}, "AgentHighActiveTaskCount": {"warning"},
    "MonthlyBudget": {"info", "warning", "critical"}, "ApprovalSLABreach": {"critical"},
    "PendingApprovalsBacklog": {"warning"}, "ApprovalAutoEscalationTriggered": {"critical"},
    "PermissionDenialSpike": {"warning"}, "AuditViolationDetected": {"critical"}, "AuditLag": {"warning", "critical"},
    "QueueBacklog": {"warning"}, "WorkerDown": {"critical"}, "SequencerDown": {"critical"},
    "DependencyDown": {"warning", "critical"}, "PrometheusScrapeFailing": {"critical"},
}  # fmt: skip
WAITS = {
    "HighErrorRate": "2m", "TaskDurationSpike": "3m", "AgentHighActiveTaskCount": "5m", "ApprovalSLABreach": "2m",
    "PendingApprovalsBacklog": "3m", "ApprovalAutoEscalationTriggered": "1m", "PermissionDenialSpike": "2m",
    "AuditViolationDetected": "1m", "PrometheusScrapeFailing": "1m",
}  # fmt: skip
RULES = [rule for _, rule in list_rules()]


def test_every_metric_is_made_once_and_moved_somewhere() -> None:
    made = list_made()
    assert {name: count for name, count in Counter(name for _, name in made).items() if count != 1} == {}
    assert {name for _, name in made} >= PROMISED
    lines = [line for path in SOURCES for line in path.read_text().splitlines()]
    moving = " ".join(line for line in lines if re.search(r"\.(inc|set|observe)\b", line))
    still = [
        name
        for word, name in made
        if not re.search(rf"\b{word}(\.labels\([^ ]*( [^ ]*)*?\))?\.(inc|set|observe)\b", moving)
    ]
    assert still == []


def test_every_alert_that_was_promised_is_there_with_its_severity_and_its_wait() -> None:
    severities: dict[str, set[str]] = {}
    for rule in RULES:
        severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert severities == ALERTS
    assert {rule["alert"]: rule["for"] for rule in RULES if rule["alert"] in WAITS} == WAITS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_a_rule_says_what_it_means_and_where_to_look(rule: dict[str, Any]) -> None:
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("docs/runbooks.md#")
    assert page.startswith("https://")
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}
    assert anchor == rule["alert"].lower()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_a_rule_asks_for_what_the_code_measures(rule: dict[str, Any]) -> None:
    named = names_in(rule["expr"])
    assert named or "up{" in rule["expr"]
    assert named - {name for _, name in list_made()} == set()


def list_cases() -> dict[tuple[str, str], set[bool]]:
    """Return for each alert and severity whether tests see it fire, and not fire."""
    cases: dict[tuple[str, str], set[bool]] = {}
    for path in (PROMETHEUS / "tests").glob("*.yml"):
        for test in read_text(path)["tests"]:
            for case in test["alert_rule_test"]:
                fired = {alert["exp_labels"]["severity"] for alert in case["exp_alerts"]}
                for severity in ALERTS[case["alertname"]]:
                    cases.setdefault((case["alertname"], severity), set()).add(severity in fired)
    return cases


def test_every_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert list_cases() == {(name, severity): {True, False} for name, all_ in ALERTS.items() for severity in all_}


@pytest.mark.parametrize("file", ["prometheus.yml", "local.yml"])
def test_the_jobs_are_those_that_the_rules_know(file: str) -> None:
    config = read_text(PROMETHEUS / file)
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert jobs == {"orchestrator-web", "orchestrator-worker", "orchestrator-sequencer"}
    assert config["global"]["scrape_interval"] == "15s"
    scrape_rule = next(rule for rule in RULES if rule["alert"] == "PrometheusScrapeFailing")
    assert all(f'absent(up{{job="{job}"}})' in scrape_rule["expr"] for job in jobs)


def test_one_process_under_three_names_is_counted_once() -> None:
    first, *others = read_text(PROMETHEUS / "local.yml")["scrape_configs"]
    assert "metric_relabel_configs" not in first
    for job in others:
        assert job["static_configs"] == first["static_configs"]
        assert job["metric_relabel_configs"] == [{"source_labels": ["__name__"], "regex": ".+", "action": "drop"}]


def test_what_mutes_and_what_is_muted_are_alerts_that_there_are() -> None:
    for rule in read_text(ALERTMANAGER)["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            label, _, value = re.fullmatch(r'(\w+) (=~?) "([^"]+)"', matcher).groups()
            known = {"alertname": set(ALERTS), "severity": {"critical", "warning", "info"}}.get(label)
            assert known is None or set(value.split("|")) <= known, matcher
