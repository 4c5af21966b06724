"""How states and events look: a word, a tint, a glyph. Colour never says anything alone. PURE."""

Look = tuple[str, str, str]  # word, tint, glyph
TASK_LOOKS: dict[str, Look] = {
    "queued": ("Queued", "quiet", "queued"),
    "running": ("Running", "run", "running"),
    "awaiting_approval": ("Waiting for a person", "ask", "waiting"),
    "succeeded": ("Succeeded", "allow", "succeeded"),
    "failed": ("Failed", "deny", "failed"),
    "cancelled": ("Cancelled", "quiet", "cancelled"),
}
DECISION_LOOKS: dict[str, Look] = {
    "allow": ("Allow", "allow", "tick"),
    "ask": ("Ask", "ask", "ask"),
    "deny": ("Deny", "deny", "barred"),
    "": ("Default deny", "quiet", "dash"),
    "unset": ("Default deny", "quiet", "dash"),
}
APPROVAL_LOOKS: dict[str, Look] = {
    "pending": ("Waiting", "ask", "waiting"),
    "approved": ("Approved", "allow", "tick"),
    "refused": ("Refused", "deny", "barred"),
    "expired": ("Expired", "quiet", "clock"),
    "superseded": ("Superseded", "quiet", "retry"),
    "used": ("Approved and used", "allow", "succeeded"),
}
AGENT_LOOKS: dict[str, Look] = {
    "enabled": ("Enabled", "allow", "tick"),
    "paused": ("Paused", "quiet", "pause"),
    "quarantined": ("Quarantined", "deny", "barred"),
    "disabled": ("Disabled", "quiet", "cancelled"),
}
FLEET_LOOKS: dict[str, Look] = {
    "running": ("Running", "allow", "play"),
    "resuming": ("Resumed in part", "ask", "clock"),
    "stopped": ("Stopped", "deny", "stopped"),
}
STEP_LOOKS: dict[str, Look] = {
    "intent": ("Running", "run", "running"),
    "done": ("Done", "allow", "tick"),
    "failed": ("Failed", "deny", "failed"),
    "refused": ("Refused", "deny", "barred"),
    "unknown": ("Outcome unknown", "ask", "alert"),
}
WORKER_LOOKS: dict[str, Look] = {
    "living": ("Living", "allow", "tick"),
    "silent": ("Silent", "ask", "clock"),
    "dead": ("Dead", "deny", "failed"),
}
CIRCUIT_LOOKS: dict[str, Look] = {  # whether a vendor is asked
    "closed": ("Asked", "allow", "tick"),
    "half_open": ("Tried once", "ask", "clock"),
    "open": ("Left alone", "deny", "barred"),
}
ROLE_LOOKS: dict[str, Look] = {  # what a rule had to do with a decision
    "decides": ("Decides", "run", "next"),
    "overruled": ("Overruled", "quiet", "barred"),
    "idle": ("Nothing to ask about", "quiet", "dash"),
    "misses": ("Does not match", "quiet", "dash"),
    "not_now": ("Not valid now", "quiet", "clock"),
    "shadow": ("Shadow", "quiet", "info"),
    "unasked": ("Not asked", "quiet", "dash"),
}
CONDITION_LOOKS: dict[str, Look] = {
    "met": ("Met", "allow", "tick"),
    "not_met": ("Not met", "quiet", "failed"),
    "unclear": ("Cannot be evaluated", "ask", "alert"),
}
DELIVERY_LOOKS: dict[str, Look] = {
    "pending": ("Waiting", "quiet", "clock"),
    "sending": ("Sending", "run", "running"),
    "delivered": ("Delivered", "allow", "tick"),
    "failed": ("Given up", "deny", "failed"),
}
WEBHOOK_LOOKS: dict[str, Look] = {
    "active": ("Active", "allow", "tick"),
    "paused": ("Paused", "quiet", "pause"),
}
ALERT_LOOKS: dict[str, Look] = {
    "critical": ("Critical", "deny", "failed"),
    "warning": ("Warning", "ask", "alert"),
    "info": ("Information", "quiet", "info"),
    "": ("Not said", "quiet", "dash"),
}
LOOKS: dict[str, dict[str, Look]] = {
    "alert": ALERT_LOOKS,
    "task": TASK_LOOKS,
    "decision": DECISION_LOOKS,
    "approval": APPROVAL_LOOKS,
    "agent": AGENT_LOOKS,
    "step": STEP_LOOKS,
    "role": ROLE_LOOKS,
    "condition": CONDITION_LOOKS,
    "fleet": FLEET_LOOKS,
    "delivery": DELIVERY_LOOKS,
    "webhook": WEBHOOK_LOOKS,
    "worker": WORKER_LOOKS,
    "circuit": CIRCUIT_LOOKS,
}
# Ends of event names, most telling first: an event without a decision is shown by what it says happened.
EVENT_LOOKS: tuple[tuple[str, str, str], ...] = (
    ("task.succeeded", "allow", "succeeded"),
    ("task.failed", "deny", "failed"),
    ("task.cancelled", "quiet", "cancelled"),
    ("task.submitted", "quiet", "queued"),
    ("run.started", "run", "running"),
    ("approval.asked", "ask", "ask"),
    ("task.parked", "ask", "waiting"),
    ("approval.granted", "allow", "tick"),
    ("approval.voted", "allow", "tick"),
    ("approval.edited", "block", "edit"),
    ("approval.escalated", "deny", "alert"),
    ("grant.given", "allow", "key"),
    ("grant.revoked", "quiet", "key"),
    ("-failed", "deny", "failed"),
    (".failed", "deny", "failed"),
    (".refused", "deny", "barred"),
    (".lost", "ask", "alert"),
    (".published", "block", "edit"),
    (".drafted", "block", "edit"),
    (".paused", "quiet", "pause"),
    ("agent.resumed", "allow", "play"),
    ("fleet.resumed", "allow", "play"),
    ("fleet.stopped", "deny", "stopped"),
    ("skill.released", "allow", "play"),
    (".quarantined", "deny", "barred"),
    (".disabled", "quiet", "cancelled"),
    (".finished", "allow", "tick"),
    ("budget.capped", "block", "coin"),
    ("budget.crossed", "ask", "coin"),
    ("budget.", "quiet", "coin"),
    ("token.", "block", "key"),
    ("alert.fired", "deny", "alert"),
    ("alert.resolved", "allow", "tick"),
    ("webhook.abandoned", "ask", "alert"),
    ("webhook.", "block", "out"),
    ("user.", "quiet", "key"),
    ("mfa.", "block", "key"),
    ("file.", "quiet", "file"),
    ("artifact.", "quiet", "file"),
)


def find_event_look(event_type: str, decision: str) -> tuple[str, str]:
    """Return tint and glyph of an audit event."""
    if decision:
        _, tint_, glyph_ = DECISION_LOOKS.get(decision, ("", "quiet", "info"))
        return tint_, glyph_
    for part, tint_, glyph_ in EVENT_LOOKS:
        if part in event_type:
            return tint_, glyph_
    return "quiet", "info"
