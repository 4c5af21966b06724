"""A dashboard whole: its variables and links, and its panels laid out from left to right."""

from collections.abc import Mapping, Sequence

from monitoring.grafana.described.panels import PROMETHEUS, RUNBOOKS, WIDTH, Json

SCHEMA_VERSION = 42


def chosen_agent() -> Json:
    """Return the variable that narrows a dashboard to some agents."""
    asked = "label_values(agent_active_tasks, agent)"
    return {
        "type": "query",
        "name": "agent",
        "label": "Agent",
        "datasource": PROMETHEUS,
        "definition": asked,
        "query": {"query": asked, "refId": "agents", "qryType": 1},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def choice(name: str, label: str, options: Mapping[str, str], *, selected: str) -> Json:
    """Return a variable with some fixed values, by the words that are shown for them."""
    listed = [{"text": text, "value": value, "selected": text == selected} for text, value in options.items()]
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "query": ",".join(f"{text} : {value}" for text, value in options.items()),
        "options": listed,
        "current": {"text": selected, "value": options[selected]},
    }


def _address(name: str, label: str, value: str) -> Json:
    shown = {"text": value, "value": value, "selected": True}
    return {"type": "textbox", "name": name, "label": label, "query": value, "options": [shown], "current": shown}


def dashboard(
    uid: str, title: str, panels: Sequence[Json], *, tell: str, since: str, refresh: str, variables: Sequence[Json] = ()
) -> Json:
    """Return a dashboard: of the time from `since` to now, asked for anew every `refresh`; its days are UTC's."""
    return {
        "uid": uid,
        "title": title,
        "description": tell,
        "tags": ["orchestrator"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "time": {"from": f"now-{since}", "to": "now"},
        "refresh": refresh,
        "annotations": {"list": []},
        "links": _links(),
        "templating": {
            "list": [
                *variables,
                _address("console", "Console", "http://127.0.0.1:3000"),
                _address("runbooks", "Runbooks", RUNBOOKS),
            ]
        },
        "panels": _lay_out(panels),
    }


def _links() -> list[Json]:
    others = {"type": "dashboards", "title": "Dashboards", "tags": ["orchestrator"], "asDropdown": False, "url": ""}
    same = {"icon": "", "tooltip": "", "includeVars": False, "keepTime": False, "targetBlank": False}
    ways = {"Console": ("${console}", "dashboard"), "Runbooks": ("${runbooks}", "doc")}
    out = [
        {"type": "link", "title": title, "url": url, "tags": [], "asDropdown": False, **same}
        | {"icon": icon, "targetBlank": True}
        for title, (url, icon) in ways.items()
    ]
    return [others | same, *out]


def _lay_out(panels: Sequence[Json]) -> list[Json]:
    """Give panels ids and places: side by side until a line is full."""
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        width, tall = panel["size"]
        if x + width > WIDTH:
            x, y, height = 0, y + height, 0
        rest = {key: value for key, value in panel.items() if key != "size"}
        placed.append({"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": tall}} | rest)
        x, height = x + width, max(height, tall)
    return placed
