"""What Prometheus learns of the audit trail."""

from prometheus_client import Counter, Gauge

from audit.chain import Problem

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

for _problem in Problem:  # a series that is there from the start lets an alert see its first increase
    violations.labels(violation_type=_problem.value)
