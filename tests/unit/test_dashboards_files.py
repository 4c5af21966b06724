"""The dashboards as Grafana gets them: whole, of metrics that there are, and as they are described."""

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.urls import Resolver404, resolve
from prometheus_client import REGISTRY

import orchestrator_site.metrics  # noqa: F401  (registers what is measured)
from monitoring.grafana.described import FOLDER, render_all

ROOT = Path(__file__).resolve().parents[2]
PROVISIONING = FOLDER.parent / "provisioning"
RANGES = {"agent-performance": ("1h", "30s"), "cost": ("30d", "60s"), "security-approvals": ("24h", "30s")}
UNITS = {"percentunit", "short", "s", "currencyUSD", "currencyGBP", "none"}
HTTP = "orchestrator_django_http_requests_latency_seconds_by_view_method"  # made with the first request

BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels_of(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


ALL_PANELS = [
    pytest.param(panel, id=f"{uid}: {panel['title']}") for uid, board in BOARDS.items() for panel in panels_of(board)
]


def find_metrics(expr: str) -> set[str]:
    """Return the names in an expression that are neither functions nor labels."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", "", expr)
    return set(re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b(?!\()", bare))


def emitted() -> set[str]:
    found = {HTTP + "_bucket"}
    for family in REGISTRY.collect():
        kinds = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        found |= {family.name + kind for kind in kinds}
    return found


def test_there_are_three_and_they_are_as_described() -> None:
    assert set(BOARDS) == set(RANGES)
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == render_all(), (
        "run: .venv/bin/python -m monitoring.grafana.described"
    )


@pytest.mark.parametrize("uid", RANGES)
def test_a_dashboard_has_its_range_its_refresh_and_its_name(uid: str) -> None:
    board = BOARDS[uid]
    since, refresh = RANGES[uid]
    assert board["uid"] == uid
    assert board["time"] == {"from": f"now-{since}", "to": "now"}
    assert board["refresh"] == refresh
    assert board["schemaVersion"] >= 41
    assert "id" not in board  # Grafana's own number, of one installation


@pytest.mark.parametrize("uid", RANGES)
def test_panels_have_ids_of_their_own_and_do_not_overlap(uid: str) -> None:
    panels = BOARDS[uid]["panels"]
    assert max(Counter(panel["id"] for panel in panels).values()) == 1
    assert max(Counter(panel["title"] for panel in panels).values()) == 1
    cells = Counter(
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) == 23
    for before, after in pairwise(panels):
        assert (before["gridPos"]["y"], before["gridPos"]["x"]) < (after["gridPos"]["y"], after["gridPos"]["x"])


@pytest.mark.parametrize("panel", ALL_PANELS)
def test_a_panel_says_what_it_shows_and_what_to_do(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert len(panel["description"]) > 30
    assert panel["description"].endswith(".")
    assert panel["targets"]
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends)


@pytest.mark.parametrize("panel", ALL_PANELS)
def test_a_panel_asks_the_provisioned_source_for_metrics_that_there_are(panel: dict[str, Any]) -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    known = [{"type": source["type"], "uid": source["uid"]} for source in sources]
    for target in (panel, *panel["targets"]):
        assert target["datasource"] in known
    for target in panel["targets"]:
        asked = find_metrics(target["expr"])
        assert asked, target["expr"]
        assert asked <= emitted(), target["expr"]


@pytest.mark.parametrize("uid", RANGES)
def test_a_link_leads_to_a_page_of_the_console_or_to_a_runbook(uid: str) -> None:
    for panel in panels_of(BOARDS[uid]):
        for link in (*panel["links"], *panel["fieldConfig"]["defaults"].get("links", [])):
            name, _, rest = link["url"].partition("}")
            assert name in {"${console", "${runbooks"}, link
            if name == "${console":
                path = rest.partition("?")[0].replace("${__field.labels.agent}", "content-agent")
                try:
                    resolve(path)
                except Resolver404:
                    pytest.fail(f"{panel['title']}: the console has no page {path}")
            else:
                assert rest[1:] in runbooks(), f"{panel['title']}: docs/runbooks.md has no heading {rest}"


def runbooks() -> set[str]:
    """Return the anchors of the runbooks' headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("uid", RANGES)
def test_each_variable_in_an_expression_is_grafanas_or_the_dashboards(uid: str) -> None:
    board = BOARDS[uid]
    own = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
    assert used <= own | {"__range", "__interval", "__rate_interval", "__field"}
    assert own <= used | {"console", "runbooks"}


def test_the_provider_reads_dashboards_that_nobody_changes_in_grafana() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "orchestrator.yml").read_text())["providers"]
    assert provider["allowUiUpdates"] is False
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
