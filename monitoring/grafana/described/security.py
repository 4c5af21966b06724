"""Security & Approvals: what the gate decided, what people were asked, and whether the trail is whole."""

from monitoring.grafana.described.layout import choice, chosen_agent, dashboard
from monitoring.grafana.described.panels import (
    BAD,
    CALM,
    GOOD,
    TO_AGENT,
    WATCH,
    Json,
    at_most,
    bars,
    colour,
    console,
    falling,
    mapped,
    rising,
    row,
    runbook,
    series,
    stat,
)
from monitoring.grafana.described.queries import AGENT, counted, quantile

ANSWERED = 'approval_result!="superseded"'
INBOX = [console("Approvals", "/approvals/")]
ALLOWED, DENIED = "skill_access_allowed_total", "skill_access_denied_total"
RESPONSE = "approval_response_time_seconds"
IN_TIME = counted(f"{RESPONSE}_bucket", f'le="$sla", {ANSWERED}')


def security_approvals() -> Json:
    """Return the dashboard of what the gate decided, what people were asked, and whether the trail is whole."""
    return dashboard(
        "security-approvals",
        "Security & Approvals",
        [*_approvals(), *_gate(), *_trail()],
        tell="What the gate decided, what people were asked, and whether the audit trail is whole.",
        since="24h",
        refresh="30s",
        variables=[chosen_agent(), _sla()],
    )


def _approvals() -> list[Json]:
    """Return what people were asked, and how soon they answered."""
    return [
        row("Approvals"),
        stat(
            "Decided within the SLA",
            f"{IN_TIME} / ({counted(f'{RESPONSE}_count', ANSWERED)} > 0)",
            unit="percentunit",
            steps=falling(0.9, 0.95),
            none="none decided",
            tell="Of the questions that were answered or ran out, how many were answered in time. "
            "SLA above is APPROVAL_SLA_SECONDS; choose what you have set.",
            links=[runbook("ApprovalSLABreach"), *INBOX],
        ),
        stat(
            "Pending",
            "max(pending_approvals_count)",
            unit="short",
            steps=((None, GOOD), (1, WATCH), (6, BAD)),
            tell="Calls that wait for a person now. More than 5 for 3 minutes is PendingApprovalsBacklog: answer them, "
            "the first to expire first.",
            links=[runbook("PendingApprovalsBacklog"), *INBOX],
        ),
        stat(
            "Escalated",
            f"{counted('approval_auto_escalated_total')} or vector(0)",
            unit="short",
            decimals=0,
            steps=((None, GOOD), (1, BAD)),
            tell="Questions that waited longer than the SLA. Each told the approvers once more.",
            links=[runbook("ApprovalAutoEscalationTriggered"), *INBOX],
        ),
        stat(
            "Violations of the trail",
            f"{counted('audit_violations_logged_total')} or vector(0)",
            unit="short",
            decimals=0,
            steps=at_most(1),
            tell="Anything but 0 is an incident: keep the stores as they are, and verify the trail.",
            links=[runbook("AuditViolationDetected"), console("Verify", "/audit/verify/")],
        ),
        stat(
            "Denied of all calls",
            f"({counted(DENIED, AGENT)} or vector(0)) / "
            f"((({counted(DENIED, AGENT)} or vector(0)) + ({counted(ALLOWED, AGENT)} or vector(0))) > 0)",
            unit="percentunit",
            steps=rising(0.1, 0.3),
            none="no calls",
            tell="Share of skill calls that the gate refused. A new policy or a new prompt shows here first.",
            links=[runbook("PermissionDenialSpike"), console("Permissions", "/permissions/")],
        ),
        stat(
            "Asked of a person",
            f"{counted('permission_escalation_requests_total', AGENT)} or vector(0)",
            unit="short",
            decimals=0,
            tell="Calls that a rule put before a person. Many equal ones: a standing grant saves them.",
            links=[console("Grants", "/approvals/grants/")],
        ),
        series(
            "Time to an answer",
            {
                "p50": quantile(0.5, RESPONSE, ANSWERED, within="1h"),
                "p95": quantile(0.95, RESPONSE, ANSWERED, within="1h"),
                "SLA": "max(approval_sla_seconds)",
            },
            unit="s",
            tell="From the question to its answer, over the last hour. p95 above the SLA is ApprovalSLABreach: "
            "more people must answer, or fewer calls be asked about.",
            links=[runbook("ApprovalSLABreach")],
            overrides=[colour("p50", CALM), colour("p95", WATCH), colour("SLA", BAD)],
        ),
        series(
            "Answers",
            {"{{approval_result}}": counted(f"{RESPONSE}_count", by="approval_result", within="$__interval")},
            unit="short",
            decimals=0,
            columns=True,
            stacked=True,
            interval="5m",
            totals=("sum",),
            tell="What became of questions. Many expired: too few approvers. Many superseded: patches went stale.",
            links=INBOX,
            overrides=[
                colour("approved", GOOD),
                colour("refused", BAD),
                colour("expired", WATCH),
                colour("superseded", "text"),
            ],
        ),
        series(
            "Pending over time",
            {"pending": "max(pending_approvals_count)"},
            unit="short",
            steps=at_most(6),
            tell="Above the line for 3 minutes is PendingApprovalsBacklog.",
            links=[runbook("PendingApprovalsBacklog")],
            overrides=[colour("pending", CALM)],
        ),
        bars(
            "Questions by task type",
            f"sort_desc({counted('task_approval_requests_total', by='task_type')} > 0)",
            "{{task_type}}",
            unit="short",
            decimals=0,
            none="none asked",
            tell="Which work asks most. If nearly all is approved, narrow the rule that asks.",
            links=[console("Permissions", "/permissions/")],
        ),
    ]


def _gate() -> list[Json]:
    """Return what the gate let through and what it refused."""
    return [
        row("The gate"),
        series(
            "Allowed and denied by skill",
            {
                "{{skill}} allowed": counted(ALLOWED, AGENT, by="skill", within="$__interval"),
                "{{skill}} denied": counted(DENIED, AGENT, by="skill", within="$__interval"),
            },
            unit="short",
            decimals=0,
            columns=True,
            stacked=True,
            interval="5m",
            totals=("sum",),
            none="no calls",
            floor=None,
            size=(24, 8),
            tell="Allowed calls above zero, denied ones below. Denials that grow with no new policy: somebody probes.",
            links=[runbook("PermissionDenialSpike")],
            overrides=[colour("/ denied$/", BAD, transform="negative-Y")],
        ),
        bars(
            "Denials by skill, agent and reason",
            f"topk(10, {counted(DENIED, AGENT, by='skill, agent, reason')} > 0)",
            "{{agent}}, {{skill}}: {{reason}}",
            unit="short",
            decimals=0,
            steps=((None, WATCH),),
            none="none denied",
            tell="The ten commonest. Is the rule wrong, or the agent? The console explains which rule decided.",
            links=[console("Explain", "/permissions/explain/")],
            data_links=[TO_AGENT],
        ),
        bars(
            "Skills that agents may use",
            f"sort_desc(max by (agent) (active_permissions_granted{{{AGENT}}}))",
            "{{agent}}",
            unit="short",
            tell="How many skills the policy in force lets each agent use. A rise nobody published is an incident.",
            links=[console("History of the policy", "/permissions/history/")],
            data_links=[TO_AGENT],
        ),
    ]


def _trail() -> list[Json]:
    """Return whether the audit trail is whole and up to date."""
    return [
        row("The audit trail"),
        bars(
            "Violations by type",
            f"sort_desc({counted('audit_violations_logged_total', by='violation_type')})",
            "{{violation_type}}",
            unit="short",
            decimals=0,
            steps=at_most(1),
            tell="What a verification found: edited, missing, forked, … What each means is in docs/audit.md.",
            links=[runbook("AuditViolationDetected"), console("Events", "/audit/")],
        ),
        series(
            "Events not yet in the audit store",
            {"waiting": "max(audit_ledger_lag_events)", "limit": "max(audit_ledger_limit_events)"},
            unit="short",
            tell="At the limit no new task is accepted. It grows: the sequencer or MongoDB is away.",
            links=[runbook("AuditLag")],
            overrides=[colour("waiting", CALM, fillOpacity=25), colour("limit", BAD)],
        ),
        stat(
            "Sequencer",
            "max(sequencer_leads)",
            unit="none",
            mappings=mapped(leads=(1, "leads", GOOD), away=(0, "away", BAD)),
            steps=((None, BAD), (1, GOOD)),
            size=(6, 4),
            tell="Whether one gives events their numbers and ships them. Away: start one, or see why two stand by.",
            links=[runbook("SequencerDown")],
        ),
        stat(
            "Oldest event waits since",
            "max(audit_ledger_lag_seconds)",
            unit="s",
            size=(6, 4),
            steps=rising(10, 60),
            tell="How long the audit store is behind. Minutes: see the sequencer.",
            links=[runbook("AuditLag")],
        ),
        stat(
            "Signed up to event",
            "max(audit_checkpoint_size_events)",
            unit="short",
            size=(6, 4),
            tell="Events under the newest signed checkpoint: up to here the trail is provable to others.",
            links=[console("Verify", "/audit/verify/")],
        ),
        stat(
            "Last signed",
            "(time() - (max(audit_checkpoint_timestamp_seconds) > 0)) or vector(0)",
            unit="s",
            size=(6, 4),
            steps=rising(7200, 86400),
            tell="Age of the newest checkpoint, 0 if there is none. Old while events come: the signing key is missing.",
            links=[console("System", "/system/")],
        ),
    ]


def _sla() -> Json:
    options = {"1 min": "60.0", "5 min": "300.0", "15 min": "900.0", "1 h": "3600.0", "4 h": "14400.0"}
    return choice("sla", "SLA", options, selected="15 min")
