"""What Prometheus learns of webhooks."""

from enum import StrEnum

from prometheus_client import Counter, Gauge


class Outcome(StrEnum):
    """What came of one attempt."""

    DELIVERED = "delivered"
    RETRIED = "retried"  # not taken; it is tried again
    FAILED = "failed"  # given up


deliveries = Counter("webhook_deliveries_total", "Attempts to deliver a webhook, by what came of them", ["outcome"])
pending = Gauge("webhook_pending_deliveries", "Webhooks that are not delivered yet", multiprocess_mode="mostrecent")

for _outcome in Outcome:  # a series that is there from the start lets an alert see its first increase
    deliveries.labels(outcome=_outcome.value)
