"""What a process tells Prometheus and the platform that runs it, on a port of its own (METRICS_PORT).

| module | holds |
|---|---|
| `gauges` | what is read from the stores once a scrape, within a time |
| `requests` | what is counted of HTTP requests, with labels of closed sets |
| `standing` | what each role says of itself: is it alive, is it ready |
| `port` | the small HTTP server that answers `/metrics`, `/health` and `/ready` |
"""
