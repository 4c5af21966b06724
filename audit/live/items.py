"""What the live feed shows of an event: one short row without its payload, and what a reader may narrow it to. PURE."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from audit.events import EventType

_TASK_STATES: Final = {
    EventType.TASK_SUBMITTED: "queued",
    EventType.TASK_DELAYED: "queued",
    EventType.TASK_RESUMED: "queued",
    EventType.TASK_RETRIED: "queued",
    EventType.RUN_LOST: "queued",
    EventType.RUN_RELEASED: "queued",
    EventType.RUN_STARTED: "running",
    EventType.TASK_PARKED: "awaiting_approval",
    EventType.TASK_WAITING: "running",
    EventType.TASK_SUCCEEDED: "succeeded",
    EventType.TASK_FAILED: "failed",
    EventType.TASK_CANCELLED: "cancelled",
}

_DECISIONS: Final = {"allow": "called", "ask": "asked to call", "deny": "was refused"}
_NO_SKILL: Final = "a skill"
_TURN: Final = "a turn of its model"  # a step without a skill
_REPORT: Final = "its report"  # what a review approves
_ERASED: Final = "an erased person"
_UNREADABLE: Final = "left an entry that cannot be read"
_TEXT_FIELDS: Final = ("id", "at", "type", "decision", "agentId", "skillId", "taskId")
_LONGEST: Final = 200  # characters of a field; what the ledger writes is shorter

# Each follows the subject: the agent that the event is about, else the one who acted.
_TEXTS: Final = {
    EventType.TASK_SUBMITTED: "was given a task by {actor}",
    EventType.TASK_REFUSED: "submitted a task that was refused",
    EventType.TASK_DELAYED: "waits for its rate",
    EventType.TASK_PARKED: "waits for a person",
    EventType.TASK_RESUMED: "may go on",
    EventType.TASK_WAITING: "waits for its steps",
    EventType.TASK_RETRIED: "will try again",
    EventType.TASK_SUCCEEDED: "finished",
    EventType.TASK_FAILED: "failed",
    EventType.TASK_CANCELLED: "was cancelled",
    EventType.TASK_CANCEL_REQUESTED: "was asked to stop by {actor}",
    EventType.RUN_STARTED: "started",
    EventType.RUN_LOST: "lost its worker and will run again",
    EventType.RUN_RELEASED: "was given back to the queue and will run again",
    EventType.STEP_FINISHED: "finished {skill}",
    EventType.STEP_FAILED: "failed in {skill}",
    EventType.STEP_LOST: "may or may not have finished {skill}",
    EventType.APPROVAL_ASKED: "asks a person to approve {skill}",
    EventType.APPROVAL_GRANTED: "was allowed {skill} by {actor}",
    EventType.APPROVAL_REFUSED: "was refused {skill} by {actor}",
    EventType.APPROVAL_EXPIRED: "waited too long for {skill}",
    EventType.APPROVAL_SUPERSEDED: "asked anew for {skill}",
    EventType.APPROVAL_USED: "used its approval for {skill}",
    EventType.APPROVAL_VOTED: "has one approval more for {skill}, by {actor}",
    EventType.APPROVAL_EDITED: "had its arguments for {skill} changed by {actor}",
    EventType.APPROVAL_ESCALATED: "waits too long for an answer about {skill}",
    EventType.GRANT_GIVEN: "need not ask about {skill} for a while, by {actor}",
    EventType.GRANT_REVOKED: "has to ask about {skill} again, by {actor}",
    EventType.POLICY_DRAFTED: "edited a draft of the rules; nothing is published yet",
    EventType.POLICY_DISCARDED: "threw a draft of the rules away",
    EventType.POLICY_PUBLISHED: "published new rules",
    EventType.POLICY_REPLAYED: "held rules against the recorded history",
    EventType.POLICY_COMPARED: "has what rules would have done to the recorded history",
    EventType.POLICY_EXPORTED: "exported the rules",
    EventType.AGENT_DRAFTED: "was edited by {actor}; nothing is published yet",
    EventType.AGENT_DISCARDED: "kept its configuration: {actor} threw an edit away",
    EventType.AGENT_PUBLISHED: "was given a new configuration by {actor}",
    EventType.AGENT_PAUSED: "was paused by {actor}",
    EventType.AGENT_RESUMED: "may work again, by {actor}",
    EventType.AGENT_QUARANTINED: "was quarantined by {actor}",
    EventType.AGENT_DISABLED: "was switched off by {actor}",
    EventType.AGENT_EXPORTED: "had its configuration exported by {actor}",
    EventType.SKILL_QUARANTINED: "quarantined {skill}",
    EventType.SKILL_RELEASED: "released {skill} from quarantine",
    EventType.FLEET_STOPPED: "stopped the fleet",
    EventType.FLEET_RESUMED: "resumed the fleet",
    EventType.BUDGET_RESERVED: "reserved the worst case of a model call",
    EventType.BUDGET_SETTLED: "paid for a model call",
    EventType.BUDGET_RELEASED: "gave a reservation back",
    EventType.BUDGET_RECONCILED: "was charged the worst case of a call whose usage never arrived",
    EventType.BUDGET_REFUSED: "was stopped by a cap",
    EventType.BUDGET_CROSSED: "saw the fleet cross a threshold of its cap",
    EventType.BUDGET_CAPPED: "set the cap of the fleet",
    EventType.BUDGET_ADJUSTED: "brought an account in line with its cap",
    EventType.PROVIDER_TRIPPED: "stopped asking a vendor that keeps failing",
    EventType.PROVIDER_PROBED: "asks a vendor again, to see",
    EventType.PROVIDER_RECOVERED: "may ask a vendor again",
    EventType.OUTPUT_REJECTED: "was told that its answer does not hold",
    EventType.TASK_TAINTED: "read text from outside",
    EventType.TRANSCRIPT_READ: "had a transcript read by {actor}",
    EventType.FILE_UPLOADED: "uploaded a file",
    EventType.ARTIFACT_READ: "had an artifact read by {actor}",
    EventType.PAYLOAD_READ: "read what an entry of the trail holds",
    EventType.TRAIL_VERIFIED: "verified the audit trail",
    EventType.TRAIL_EXPORTED: "exported a part of the audit trail",
    EventType.LIST_EXPORTED: "took a list out as a file",
    EventType.BULK_STARTED: "began a bulk run",
    EventType.BULK_ENDED: "ended a bulk run",
    EventType.BACKUP_MADE: "copied all state to a backup",
    EventType.BACKUP_RESTORED: "set the state back to a backup; what came after it is gone",
    EventType.TRAIL_ARCHIVED: "archived a part of the audit trail",
    EventType.SEQUENCER_BEAT: "had nothing to number",
    EventType.KEY_ROTATED: "changed the key that signs checkpoints",
    EventType.PERSON_ERASED: "erased a person's data",
    EventType.USER_CREATED: "created a user",
    EventType.USER_CHANGED: "changed a user",
    EventType.USER_DELETED: "deleted a user",
    EventType.USER_PROFILE_CHANGED: "changed their settings",
    EventType.USER_SESSIONS_ENDED: "ended the sessions of a user",
    EventType.ROLE_GRANTED: "gave a user a role",
    EventType.ROLE_REVOKED: "took a role from a user",
    EventType.USER_LOGGED_IN: "signed in",
    EventType.USER_LOGGED_OUT: "signed out",
    EventType.USER_LOGIN_FAILED: "failed to sign in",
    EventType.USER_LINKED: "linked another provider's login to an account",
    EventType.USER_UNLINKED: "unlinked another provider's login from an account",
    EventType.MFA_ADDED: "set up a second factor",
    EventType.MFA_REMOVED: "removed a second factor",
    EventType.MFA_CODE_USED: "used a recovery code",
    EventType.MFA_CODES_SHOWN: "saw new recovery codes",
    EventType.TOKEN_ISSUED: "issued a token",
    EventType.TOKEN_REVOKED: "revoked a token",
    EventType.TOKEN_REFUSED: "used a token that was refused",
    EventType.VIEW_SAVED: "saved a view of a list",
    EventType.VIEW_RENAMED: "renamed a view of a list",
    EventType.VIEW_DELETED: "deleted a view of a list",
    EventType.WEBHOOK_CREATED: "made a webhook",
    EventType.WEBHOOK_CHANGED: "changed a webhook",
    EventType.WEBHOOK_PAUSED: "paused a webhook",
    EventType.WEBHOOK_RESUMED: "resumed a webhook",
    EventType.WEBHOOK_ROTATED: "changed the secret of a webhook",
    EventType.WEBHOOK_DELETED: "deleted a webhook",
    EventType.WEBHOOK_RETRIED: "had a webhook sent again",
    EventType.WEBHOOK_ABANDONED: "gave up sending a webhook",
    EventType.ALERT_FIRED: "told of an alert",
    EventType.ALERT_RESOLVED: "told that an alert is over",
}

# The same about one agent.
_OF_AN_AGENT: Final = {
    EventType.TASK_REFUSED: "had a task by {actor} refused",
    EventType.BUDGET_CROSSED: "crossed a threshold of its cap",
    EventType.BUDGET_CAPPED: "was given a cap by {actor}",
    EventType.ALERT_FIRED: "set off an alert",
    EventType.ALERT_RESOLVED: "set off an alert, which is over",
}


def to_item(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the feed's row for an event in wire form; `subject` and `text` read as one sentence.

    Nothing of the body is in it. What was erased or tampered with is shown as short text: no document stops the feed.
    """
    item: dict[str, Any] = {"seq": event["seq"]} | {name: _as_text(event.get(name)) for name in _TEXT_FIELDS}
    actor = _name_of(_as_text(event.get("actor")))
    item["status"] = _TASK_STATES.get(item["type"])
    item["subject"] = item["agentId"] or actor
    item["text"] = _find_text(item, actor=actor, is_review=_is_review(event.get("body")))
    return item


def _as_text(value: Any) -> str | None:
    return None if value is None else str(value)[:_LONGEST]


def _name_of(actor: str | None) -> str:
    return actor.rpartition(":")[2] if actor else _ERASED


def _is_review(body: Any) -> bool:
    return isinstance(body, Mapping) and body.get("kind") == "review"


def _find_text(item: Mapping[str, Any], *, actor: str, is_review: bool) -> str:
    skill = _REPORT if is_review else _name_skill(item)
    if item["type"] == EventType.DECISION_MADE:
        return f"{_DECISIONS.get(item['decision'], 'asked the gate about')} {skill}"
    texts = _TEXTS | _OF_AN_AGENT if item["agentId"] else _TEXTS
    text = texts.get(item["type"])
    return text.format(skill=skill, actor=actor) if text else item["type"] or _UNREADABLE


def _name_skill(item: Mapping[str, Any]) -> str:
    return item["skillId"] or (_TURN if (item["type"] or "").startswith("step.") else _NO_SKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFilters:
    """What a reader wants to see; an empty part lets all through. A type that ends in "." means all that begin so.

    The trail's own heartbeat is seen only by those who ask for its type.
    """

    agents: frozenset[str] = frozenset()
    skills: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()
    decisions: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def let_through(self, item: Mapping[str, Any]) -> bool:
        """Tell whether the reader wants to see `item`."""
        return (
            (not self.agents or item["agentId"] in self.agents)
            and (not self.skills or item["skillId"] in self.skills)
            and (not self.tasks or item["taskId"] in self.tasks)
            and (not self.decisions or item["decision"] in self.decisions)
            and (self._has_type(item["type"] or "") if self.types else item["type"] != EventType.SEQUENCER_BEAT)
        )

    def _has_type(self, type_: str) -> bool:
        return type_ in self.types or f"{type_.partition('.')[0]}." in self.types


_FILTER_NAMES: Final = {
    "agentId": "agents", "skillId": "skills", "taskId": "tasks", "decision": "decisions", "type": "types",
}  # fmt: skip
_MAX_VALUES: Final = 32
_MAX_LENGTH: Final = 64


def read_filters(given: Any) -> FeedFilters:
    """Return the filters that a client sent: by name, one text or a list of texts.

    Raises: ValueError for anything else.
    """
    if not isinstance(given, dict):
        raise ValueError("filters is not an object")
    parts: dict[str, frozenset[str]] = {}
    for name, value in given.items():
        values = value if isinstance(value, list) else [value]
        if name not in _FILTER_NAMES or len(values) > _MAX_VALUES:
            raise ValueError(f"no such filter: {name!r:.80}")
        if not all(isinstance(text, str) and 0 < len(text) <= _MAX_LENGTH for text in values):
            raise ValueError(f"{name} holds something other than short texts")
        parts[_FILTER_NAMES[name]] = frozenset(values)
    return FeedFilters(**parts)
