"""An agent's answer: read strictly, held to its schema, and to what really happened in its run.

1  read     one JSON object, plain or in one fence
2  schema   the agent's output schema
3  derive   what code can compute it sets, whatever the model gave
4  claims   what the answer says against what the run did; a claim that cannot be checked is not accepted
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from agents.answers import checkups, extraction, findings, patches, records, research, texts, verdicts
from agents.answers.facts import Answer, Facts, Hopeless, Output, SkillFact
from agents.answers.reading import AnswerUnreadable, read_object
from agents.schemas import MAX_PROBLEMS, list_problems
from agents.types import AgentConfig, Constraints

__all__ = ["Answer", "Facts", "SkillFact", "check_answer"]

_log = logging.getLogger(__name__)


def _keep(output: Output, facts: Facts) -> Output:
    return output


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What code does with the answers of one type of task."""

    check: Callable[[Output, Facts, Constraints], Iterable[str]]
    derive: Callable[[Output, Facts], Output] = _keep


# A workflow's answer is written by code, so there is nothing to hold it against.
CLAIMS = {
    "market-research": Claims(derive=research.set_times, check=research.check),
    "data-extraction": Claims(derive=extraction.set_counts, check=extraction.check),
    "qa-verification": Claims(derive=verdicts.set_report_counts, check=verdicts.check_report),
    "summarize-content": Claims(derive=texts.set_summary_metrics, check=texts.check_summary),
    "build-refactor": Claims(derive=patches.set_summary, check=patches.check),
    "security-audit": Claims(derive=findings.set_places, check=findings.check),
    "normalize-data": Claims(derive=records.set_records, check=records.check),
    "content-generate": Claims(derive=texts.set_content_metrics, check=texts.check_content),
    "skill-audit": Claims(derive=verdicts.set_passed, check=verdicts.check_audit),
    "system-monitor": Claims(derive=checkups.set_health, check=checkups.check),
}


def check_answer(config: AgentConfig, text: str, facts: Facts) -> Answer:
    """Return the answer's output with its figures computed, or what is wrong with it, at most 20 sentences."""
    try:
        output = read_object(text)
    except AnswerUnreadable as error:
        return Answer(problems=(str(error),))
    if problems := list_problems(config.output_schema, output):
        return Answer(problems=problems)
    claims = CLAIMS.get(config.task_type)
    return Answer(output=output) if claims is None else _hold_to_run(config, claims, output, facts)


def _hold_to_run(config: AgentConfig, claims: Claims, output: Output, facts: Facts) -> Answer:
    try:
        derived = claims.derive(output, facts)
        problems = tuple(islice(claims.check(derived, facts, config.constraints), MAX_PROBLEMS))
    except Hopeless as error:
        return Answer(problems=(str(error),), is_final=True)
    except (AttributeError, KeyError, TypeError) as error:  # its schema was edited away from what is checked here
        _log.exception("an answer of %s could not be checked", config.id, extra={"action": "answer.unchecked"})
        why = f"The answer's claims could not be checked ({type(error).__name__}: {error}), so it is not accepted."
        return Answer(
            problems=(f"{why} The agent's output schema has to keep the fields of its task type.",), is_final=True
        )
    return Answer(problems=problems) if problems else Answer(output=derived)
