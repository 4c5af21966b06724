"""Write down a decision with all it was made from: its row, and its event in the ledger."""

from collections.abc import Mapping
from typing import Any

import orjson
from django.db import connection

from audit.events import Event, EventType
from audit.ledger import record
from toolgate.normal import is_plain_id
from toolgate.types import Call, Decision, Effect, Reason, Resource

INVALID_ID = "invalid"  # stands in the record for an id that is none

_INSERT = """
    INSERT INTO toolgate_decisionrecord
        (id, at, agent_id, agent_version, skill_id, skill_version, arguments, arguments_digest, resource, counters,
         effect, reason, detail, deciding_rules, policy_version, task_id, trace_id)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def record_decision(
    decision_id: str,
    call: Call,
    *,
    decision: Decision,
    effect: Effect,
    reason: Reason,
    detail: str,
    arguments: bytes,
    arguments_digest: str,
    counters: dict[str, dict[str, Any]],
) -> None:
    """Insert the record and the event of the same id, in the caller's transaction.

    `effect` is what the decision came to after approvals.
    """
    principal, action = call.request.principal, call.request.action
    agent_id, skill_id = recordable_id(principal.agent_id), recordable_id(action.skill_id)
    resource = describe_resource(call.request.resource) | {"tainted": call.request.tainted}
    row = (
        decision_id, connection.ops.adapt_datetimefield_value(call.now), agent_id, principal.version,
        skill_id, str(action.version)[:16], arguments.decode(), arguments_digest,
        _dump(resource), _dump(counters), effect.value, reason.value, detail,
        _dump(decision.deciding_rules), decision.policy_version, call.task_id, call.trace_id,
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, row)
    body = _describe_decision(decision_id, call, decision) | {
        "argumentsDigest": arguments_digest,
        "counters": counters,
        "detail": detail,
    }
    record(
        Event(
            type=EventType.DECISION_MADE,
            at=call.now,
            actor=f"agent:{agent_id}",
            task_id=call.task_id,
            agent_id=agent_id,
            skill_id=skill_id,
            decision=effect.value,
            reason=reason.value,
            trace_id=call.trace_id,
            cause_id=call.cause_id,
            body=body,
            id=decision_id,
        )
    )


def _describe_decision(decision_id: str, call: Call, decision: Decision) -> dict[str, Any]:
    """Return what the event tells of the rules' own decision, of shadow rules only where they would have turned it."""
    told: dict[str, Any] = {
        "decisionId": decision_id,
        "decidingRules": list(decision.deciding_rules),
        "policyVersion": decision.policy_version,
        "agentVersion": call.request.principal.version,
        "skillVersion": str(call.request.action.version)[:16],
    }
    if decision.flips:
        told["shadow"] = [
            {"ruleId": flip.rule_id, "effect": flip.effect.value, "reason": flip.reason.value}
            for flip in decision.flips
        ]
    return told


def recordable_id(text: object) -> str:
    """Return `text` if it is an id, else a word that says it is none: columns are narrow and logs are read."""
    return str(text) if is_plain_id(text) else INVALID_ID


def describe_resource(resource: Resource) -> dict[str, Any]:
    """Return what a call touched, so that the decision can be made again: `restore_resource` is its other half."""
    return {
        "hosts": resource.hosts,
        "readPaths": resource.read_paths,
        "writePaths": resource.write_paths,
        "arguments": dict(resource.arguments),
        "argumentBytes": resource.argument_bytes,
        **({"filesOnly": True} if resource.files_only else {}),
    }


def restore_resource(described: Mapping[str, Any]) -> Resource:
    """Return the resource of a recorded decision; what older records lack is unknown, as rules understand it.

    Raises: KeyError, TypeError for one that could not be recorded.
    """
    return Resource(
        hosts=tuple(described["hosts"]),
        read_paths=tuple(described["readPaths"]),
        write_paths=tuple(described["writePaths"]),
        arguments=described["arguments"],
        argument_bytes=described.get("argumentBytes", 0),
        files_only=described.get("filesOnly", False),
    )


def _dump(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a refused call may hold what JSON cannot; it is recorded all the same
        return orjson.dumps({"unrecordable": ascii(value)[:500]}).decode()
