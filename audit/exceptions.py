"""What the audit trail may refuse or fail with.

AuditError
├── BadQuery           a question that cannot be put: 400 `query_invalid`
├── EventUnknown       no event has that number: 404 `event_unknown`
│   └── EventArchived  it was moved out of the store, with its proofs: 404 `event_archived`
├── ArchiveFailed      a segment could not be archived; it stays where it is
├── ErasureRefused     nothing of the person was erased
│   └── EventsUnderWay  events that name them are not in the store yet: a moment later they are
├── NotSignedYet       no signed checkpoint covers it yet: 409 `not_signed_yet`
├── AgentNotGranted    the token is limited to other agents: 403 `agent_not_granted`
├── RunUnknown         no such verification or export, or none that can still be fetched: 404 `run_unknown`
├── TrailBehind        too many events wait to take a new task: 503 `audit_unavailable`; nothing was done
└── StoreUnavailable   the audit store does not answer: 503 `audit_unavailable`; events wait in the ledger
    └── StoreDiverged  the store holds another event under a number of the ledger: a person must look
"""

from http import HTTPStatus

from audit.problems import Problem


class AuditError(Exception):
    """Base of all; `status` and `code` are for the problem document."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "internal_error"


class BadQuery(AuditError):
    """The question is malformed: an unknown parameter, a limit out of bounds, a cursor that is none."""

    status = HTTPStatus.BAD_REQUEST
    code = "query_invalid"


class EventUnknown(AuditError):
    """The audit store holds no event under that number."""

    status = HTTPStatus.NOT_FOUND
    code = "event_unknown"


class EventArchived(EventUnknown):
    """The event is in the archive `file`, with its proofs, and no longer in the store."""

    code = "event_archived"

    def __init__(self, seq: int, *, file: str) -> None:
        super().__init__(f"event {seq} is archived in {file}, with its proofs")
        self.file = file


class AgentNotGranted(AuditError):
    """A token that is limited to some agents was used for `agent_id`; empty: for what tells of the whole fleet."""

    status = HTTPStatus.FORBIDDEN
    code = "agent_not_granted"

    def __init__(self, agent_id: str = "") -> None:
        what = f"{ascii(agent_id)[1:-1][:64]} is none of them" if agent_id else "this address is about the whole fleet"
        super().__init__(f"The token is limited to some agents, and {what}. Nothing was done.")
        self.agent_id = agent_id


class ArchiveFailed(AuditError):
    """An archive cannot be written, or is not what it should be. Nothing was removed."""


class ErasureRefused(AuditError):
    """Nothing was erased; the message says why and what to do."""


class EventsUnderWay(ErasureRefused):
    """Events that name the person are still on their way to the store; try again in a moment."""


class NotSignedYet(AuditError):
    """What is to be proven is not under a signed checkpoint yet; within a second or so it is."""

    status = HTTPStatus.CONFLICT
    code = "not_signed_yet"


class RunUnknown(AuditError):
    """There is no such verification or export, or it cannot be fetched any more."""

    status = HTTPStatus.NOT_FOUND
    code = "run_unknown"


class TrailBehind(AuditError):
    """More events wait in the ledger than AUDIT_BACKLOG_LIMIT. Nothing was done; send it again when they are fewer."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "audit_unavailable"
    retry_after_seconds = 10.0

    def __init__(self, *, waiting: int, limit: int) -> None:
        super().__init__(
            f"The audit trail is too far behind to take a new task: {waiting:,} events wait for the audit store, and "
            f"AUDIT_BACKLOG_LIMIT is {limit:,}. Nothing was done. Tasks that were taken go on; send this again later."
        )


class StoreUnavailable(AuditError):
    """The audit store does not answer. Nothing is lost; reading comes back by itself, so callers may retry."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "audit_unavailable"


class StoreDiverged(StoreUnavailable):
    """The store contradicts the ledger at `seq`; shipping stops until `manage.py rebuild_audit` has mended it."""

    def __init__(self, message: str, *, seq: int, problem: Problem) -> None:
        super().__init__(message)
        self.seq = seq
        self.problem = problem
