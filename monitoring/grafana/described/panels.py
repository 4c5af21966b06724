"""What the dashboards are made of: panels, in Grafana's JSON.

A panel says what is asked (`expr`), in which unit, and what to do about what it shows (`tell`). Colours follow the
name of a series, so an agent or a model looks the same on every panel; green, orange and red are for thresholds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

type Json = dict[str, Any]
type Steps = Sequence[tuple[float | None, str]]

WIDTH = 24
PROMETHEUS: Json = {"type": "prometheus", "uid": "prometheus"}
GOOD, WATCH, BAD, CALM = "green", "orange", "red", "blue"
PLAIN: Steps = ((None, CALM),)
RUNBOOKS = "https://example.com/orchestrator/blob/main/docs/runbooks.md"


def rising(watch: float, bad: float) -> Steps:
    """Return steps of what is worse the more there is of it."""
    return ((None, GOOD), (watch, WATCH), (bad, BAD))


def falling(bad: float, watch: float) -> Steps:
    """Return steps of what is worse the less there is of it."""
    return ((None, BAD), (bad, WATCH), (watch, GOOD))


def at_most(limit: float) -> Steps:
    """Return the step at which an alert fires."""
    return ((None, GOOD), (limit, BAD))


def runbook(alert: str) -> Json:
    """Return a link to what to do about an alert."""
    return {"title": f"Runbook: {alert}", "url": f"${{runbooks}}#{alert.lower()}", "targetBlank": True}


def console(title: str, path: str) -> Json:
    """Return a link to a page of the console."""
    return {"title": title, "url": f"${{console}}{path}", "targetBlank": True}


TO_AGENT = console("This agent in the console", "/agents/${__field.labels.agent}/")


def row(title: str) -> Json:
    """Return the heading of what follows."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (WIDTH, 1)}


def stat(
    title: str, expr: str, *, unit: str, tell: str, steps: Steps = PLAIN, size: tuple[int, int] = (4, 4), **more: Any
) -> Json:
    """Return one number; its background is the colour of its step."""
    options = {
        "colorMode": "value" if steps is PLAIN else "background_solid",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "reduceOptions": _last(),
    }
    panel = _panel("stat", title, {"": expr}, unit=unit, tell=tell, size=size, instant=True, **more)
    return _coloured(panel, steps) | {"options": options}


def gauge(title: str, expr: str, *, unit: str, tell: str, steps: Steps, width: int = 4, **more: Any) -> Json:
    """Return a share of something, from 0 to 1, as a dial."""
    options = {
        "showThresholdLabels": False,
        "showThresholdMarkers": True,
        "orientation": "auto",
        "sizing": "auto",
        "minVizHeight": 75,
        "minVizWidth": 75,
        "reduceOptions": _last(),
    }
    panel = _panel("gauge", title, {"": expr}, unit=unit, tell=tell, size=(width, 4), instant=True, **more)
    panel["fieldConfig"]["defaults"] |= {"min": 0, "max": 1}
    return _coloured(panel, steps) | {"options": options}


def bars(title: str, expr: str, legend: str, *, unit: str, tell: str, steps: Steps = PLAIN, **more: Any) -> Json:
    """Return one bar for each series, the first on top."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "namePlacement": "auto",
        "sizing": "auto",
        "minVizHeight": 16,
        "maxVizHeight": 300,
        "minVizWidth": 8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "reduceOptions": _last(),
    }
    panel = _panel("bargauge", title, {legend: expr}, unit=unit, tell=tell, instant=True, **more)
    panel["fieldConfig"]["defaults"]["min"] = 0
    return _coloured(panel, steps) | {"options": options}


def series(
    title: str,
    exprs: Mapping[str, str],
    *,
    unit: str,
    tell: str,
    stacked: bool = False,
    columns: bool = False,
    steps: Steps = PLAIN,
    totals: Sequence[str] = ("lastNotNull", "max"),
    floor: float | None = 0,
    **more: Any,
) -> Json:
    """Return lines over time, or columns; `exprs` by legend. The steps are drawn as lines where an alert fires."""
    custom = {
        "drawStyle": "bars" if columns else "line",
        "fillOpacity": 70 if columns else 25 if stacked else 0,
        "lineWidth": 0 if columns else 2,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if steps is PLAIN else "dashed"},
    }
    panel = _panel("timeseries", title, exprs, unit=unit, tell=tell, **more)
    defaults = panel["fieldConfig"]["defaults"]
    defaults |= {"color": {"mode": "palette-classic-by-name"}, "custom": custom, "thresholds": _thresholds(steps)}
    if floor is not None:
        defaults["min"] = floor
    return panel | {"options": {"legend": _legend(*totals), "tooltip": {"mode": "multi", "sort": "desc"}}}


def pie(title: str, expr: str, legend: str, *, unit: str, tell: str, **more: Any) -> Json:
    """Return shares of a whole, with their values and per cent in the legend."""
    panel = _panel("piechart", title, {legend: expr}, unit=unit, tell=tell, instant=True, **more)
    panel["fieldConfig"]["defaults"]["color"] = {"mode": "palette-classic-by-name"}
    shown = _legend() | {"values": ["value", "percent"]}
    options = {
        "pieType": "donut",
        "sort": "desc",
        "orientation": "auto",
        "displayLabels": [],
        "legend": shown,
        "reduceOptions": _last(),
    }
    return panel | {"options": options | {"tooltip": {"mode": "single", "sort": "none"}}}


def table(title: str, expr: str, columns: Mapping[str, str], *, unit: str, tell: str, **more: Any) -> Json:
    """Return a table, its largest value on top; `columns` are the names shown of labels, in order."""
    panel = _panel("table", title, {"": expr}, unit=unit, tell=tell, instant=True, **more)
    panel["targets"][0]["format"] = "table"
    organise = {
        "excludeByName": {"Time": True},
        "indexByName": {label: place for place, label in enumerate(columns)},
        "renameByName": dict(columns),
    }
    sort = {"sort": [{"field": columns["Value"], "desc": True}]}
    panel["transformations"] = [{"id": "organize", "options": organise}, {"id": "sortBy", "options": sort}]
    return panel | {"options": {"showHeader": True, "cellHeight": "sm", "frameIndex": 0}}


def colour(name: str, shade: str, **custom: Any) -> Json:
    """Return what makes the series of this name look as it means; a name in slashes is a pattern."""
    matcher = "byRegexp" if name.startswith("/") else "byName"
    properties: list[Json] = [{"id": "color", "value": {"mode": "fixed", "fixedColor": shade}}]
    properties += [{"id": f"custom.{key}", "value": value} for key, value in custom.items()]
    return {"matcher": {"id": matcher, "options": name}, "properties": properties}


def mapped(**texts: tuple[int, str, str]) -> list[Json]:
    """Return words, with their colours, in the place of numbers: `open=(2, "open", BAD)`."""
    options = {
        str(value): {"text": text, "color": shade, "index": place}
        for place, (value, text, shade) in enumerate(texts.values())
    }
    return [{"type": "value", "options": options}]


def _panel(
    kind: str,
    title: str,
    exprs: Mapping[str, str],
    *,
    unit: str,
    tell: str,
    size: tuple[int, int] = (12, 8),
    instant: bool = False,
    links: Sequence[Json] = (),
    data_links: Sequence[Json] = (),
    overrides: Sequence[Json] = (),
    none: str = "",
    interval: str = "",
    **defaults: Any,
) -> Json:
    """Return what all panels have; `none` is shown if there is nothing, `defaults` go to the field's defaults."""
    field: Json = {"unit": unit, **defaults}
    if none:
        field["noValue"] = none
    if data_links:
        field["links"] = list(data_links)
    panel: Json = {
        "type": kind,
        "title": title,
        "description": tell,
        "datasource": PROMETHEUS,
        "targets": [_target(chr(65 + place), *asked, instant=instant) for place, asked in enumerate(exprs.items())],
        "fieldConfig": {"defaults": field, "overrides": list(overrides)},
        "links": list(links),
        "size": size,
    }
    return panel | ({"interval": interval} if interval else {})


def _target(name: str, legend: str, expr: str, *, instant: bool) -> Json:
    shown = legend or "__auto"
    how = {"instant": True, "range": False} if instant else {"instant": False, "range": True}
    return {"refId": name, "datasource": PROMETHEUS, "expr": expr, "legendFormat": shown, "editorMode": "code", **how}


def _coloured(panel: Json, steps: Steps) -> Json:
    panel["fieldConfig"]["defaults"] |= {"color": {"mode": "thresholds"}, "thresholds": _thresholds(steps)}
    return panel


def _thresholds(steps: Steps) -> Json:
    return {"mode": "absolute", "steps": [{"value": value, "color": shade} for value, shade in steps]}


def _legend(*calculated: str) -> Json:
    return {"displayMode": "table", "placement": "right", "showLegend": True, "calcs": list(calculated)}


def _last() -> Json:
    return {"calcs": ["lastNotNull"], "fields": "", "values": False}
