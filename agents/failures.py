"""What becomes of a run that went wrong: another attempt, or the end."""

from collections.abc import Callable
from datetime import datetime

from agents.orders import Ending, Failed, Lease, Retried, TaskError
from agents.providers.base import ProviderError
from agents.retry import Failure, decide_retry
from agents.skills.base import SkillError


def end_error(
    lease: Lease,
    error: SkillError | ProviderError,
    *,
    step_id: str,
    repeatable: bool,
    now: datetime,
    draw: Callable[[], float],
) -> Ending:
    """Return the ending; `repeatable` says whether the step in flight may be made again."""
    failure = Failure(retryable=error.retryable and repeatable, retry_after_seconds=error.retry_after_seconds)
    run_at = decide_retry(failure, attempt=lease.attempt, max_attempts=lease.max_attempts, now=now, draw=draw)
    cause = TaskError(code=error.code, message=error.message)
    if run_at is not None:
        return Retried(error=cause, run_at=run_at, step_id=step_id)
    if failure.retryable:
        message = f"All {lease.max_attempts} attempts failed; the last one: {error.message}"
        cause = TaskError(code="attempts_exhausted", reason=error.code, message=message)
    return Failed(error=cause, step_id=step_id)


def run_timeout(lease: Lease) -> SkillError:
    """Return the error of a run that took too long."""
    message = f"The run took longer than its {lease.timeout_seconds:g} s and was stopped."
    return SkillError("timeout", message, retryable=True)


def crash() -> TaskError:
    """Return what people are told of a defect of ours."""
    return TaskError(
        code="internal_error",
        message="The orchestrator itself failed in this run; nothing more is tried. The log has the details under "
        "this task's id. Retry the task once the cause is mended.",
    )
