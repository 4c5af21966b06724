"""The dashboards, described. `python -m monitoring.grafana.described` writes them as the JSON that Grafana reads.

| module | holds |
|---|---|
| `performance`, `cost`, `security` | what each dashboard shows, and what each panel tells the reader to do |
| `panels` | the kinds of panels, in Grafana's JSON |
| `queries` | how they ask Prometheus |
| `layout` | a dashboard whole: variables, links, places |
"""

import json
from pathlib import Path

from monitoring.grafana.described.cost import cost
from monitoring.grafana.described.panels import Json
from monitoring.grafana.described.performance import agent_performance
from monitoring.grafana.described.security import security_approvals

FOLDER = Path(__file__).parent.parent / "dashboards"


def render_all() -> dict[str, str]:
    """Return the text of each dashboard's file, by the file's name."""
    boards: list[Json] = [agent_performance(), cost(), security_approvals()]
    return {f"{board['uid']}.json": json.dumps(board, indent=2, ensure_ascii=False) + "\n" for board in boards}
