"""What Prometheus learns of the audit trail."""

from prometheus_client import Counter, Gauge

from audit.problems import Problem

violations = Counter(
    "audit_violations_logged_total",
    "Contradictions found between the ledger, its chain and the audit store",
    ["violation_type"],
)
ledger_lag = Gauge(
    "audit_ledger_lag_events",
    "Events that are in the ledger but not yet in the audit store",
    multiprocess_mode="mostrecent",
)
ledger_lag_seconds = Gauge(
    "audit_ledger_lag_seconds",
    "For how long the oldest of them has waited, 0 if none waits",
    multiprocess_mode="mostrecent",
)
ledger_limit = Gauge(
    "audit_ledger_limit_events",
    "AUDIT_BACKLOG_LIMIT: with more events waiting, new tasks are refused",
    multiprocess_mode="mostrecent",
)
shipped_at = Gauge(
    "audit_shipped_timestamp_seconds",
    "When the audit store last took events, in Unix time; 0 if it never has",
    multiprocess_mode="mostrecent",
)
checkpoint_size = Gauge(
    "audit_checkpoint_size_events",
    "Events under the newest signed checkpoint",
    multiprocess_mode="mostrecent",
)
checkpoint_at = Gauge(
    "audit_checkpoint_timestamp_seconds",
    "When the newest checkpoint was signed, in Unix time; 0 if none was",
    multiprocess_mode="mostrecent",
)
unfiled_since = Gauge(
    "audit_checkpoint_unfiled_timestamp_seconds",
    "When the oldest checkpoint was signed that is not in its second place yet, in Unix time; 0 if all are",
    multiprocess_mode="mostrecent",
)
upkeep_failures = Counter(
    "audit_upkeep_failures_total",
    "Times that archiving, finishing an erasure or thinning out checkpoints failed",
)

for _problem in Problem:  # a series that is there from the start lets an alert see its first increase
    violations.labels(violation_type=_problem.value)
