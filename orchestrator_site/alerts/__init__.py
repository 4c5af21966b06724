"""What Prometheus fires, as Alertmanager tells it: kept, shown to people, written into the trail.

| module | holds |
|---|---|
| `models` | one row an alert |
| `wire` | Alertmanager's webhook, version 4, and what the API shows |
| `keeping` | what a notice changes, and what is forgotten |
| `api` | `POST /api/alerts` and `GET /api/alerts` |
"""
