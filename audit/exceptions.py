"""What the audit trail may refuse or fail with.

AuditError
├── BadQuery           a question that cannot be put: 400 `query_invalid`
├── EventUnknown       no event has that number: 404 `event_unknown`
└── StoreUnavailable   the audit store does not answer: 503 `audit_unavailable`; events wait in the ledger
    └── StoreDiverged  the store holds another event under a number of the ledger: a person must look
"""

from http import HTTPStatus

from audit.chain import Problem


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
