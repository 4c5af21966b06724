"""A workflow: tasks of other agents as steps, what must be true of them, and which of them comes next. PURE.

A step depends on the steps that it names in `dependsOn`, and on those whose output it takes: anywhere in its
input `{"$from": "fetch", "path": "/content"}` stands for that part of that step's output. A reference is replaced
once, when the step starts; what comes out of a step is never read for references again. A step may itself be a
workflow, whose steps may also take the outputs of the steps around it; so every name is used once in the whole.

One step that fails and is not optional stops the workflow: what runs is cancelled, what waits is not started. An
optional failure holds up nobody, but whoever needs its output is skipped.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from agents.states import TERMINAL, TaskState

MAX_STEPS: Final = 50  # those of inner workflows counted
MAX_DEPTH: Final = 3  # a workflow in a workflow in a workflow
REFERENCE: Final = "$from"
SKIPPED: Final = "skipped"  # it needs an output that will never come; beside a task's states

Location = tuple[int | str, ...]
Names = frozenset[str]
States = Mapping[str, str]  # of the steps that have one, by name: a task's, or SKIPPED
_POINTER: Final = re.compile(r"(/([^~/]|~[01])*)*")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_OVER: Final = frozenset({*TERMINAL, SKIPPED})
_WITHOUT_OUTPUT: Final = _OVER - {TaskState.SUCCEEDED}


class _Wire(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


class WorkflowStep(_Wire):
    """One task of another agent: with `skillId` a single call of that skill, without it the agent's own run."""

    name: str = Field(pattern=r"^[a-zA-Z0-9._-]{1,64}$", description="Unique in the workflow and those around it.")
    agent_id: str
    skill_id: str | None = None
    input: dict[str, Any] = Field(
        description='{"$from": "step", "path": "/json/pointer"} anywhere in it stands for that output.'
    )
    optional: bool = Field(default=False, description="Its failure does not stop the workflow.")
    depends_on: list[str] = Field(default=[], max_length=MAX_STEPS)


class Workflow(_Wire):
    """The input of a workflow's task."""

    steps: list[WorkflowStep] = Field(min_length=1, max_length=MAX_STEPS)


# --- references -------------------------------------------------------------------------------------------------
class ReferenceBroken(LookupError):
    """A reference names a place that the step's output has not; the step that wanted it cannot start."""


def find_references(value: Any, at: Location = ()) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    """Give every reference in a JSON value with its place, well formed or not."""
    if isinstance(value, Mapping):
        if REFERENCE in value:
            yield at, value
            return
        for key, inner in value.items():
            yield from find_references(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from find_references(inner, (*at, index))


def resolve_input(value: Any, read_output: Callable[[str], Any]) -> Any:
    """Return `value` with each reference replaced by what it stands for; what is put in is taken as it is.

    Raises: ReferenceBroken.
    """
    if isinstance(value, Mapping):
        if REFERENCE in value:
            return _follow(read_output(value[REFERENCE]), value.get("path", ""), step=value[REFERENCE])
        return {key: resolve_input(inner, read_output) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolve_input(inner, read_output) for inner in value]
    return value


def _follow(value: Any, path: str, *, step: str) -> Any:
    for part in path.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise ReferenceBroken(f"the output of step {step} has nothing at {path}")
    return value


# --- what comes next --------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A workflow's steps in an order that respects what they depend on."""

    steps: Sequence[WorkflowStep]  # each after those it depends on
    needs: Mapping[str, Names]  # whose output a step takes
    after: Mapping[str, Names]  # what a step depends on, its needs among it


def make_plan(steps: Sequence[WorkflowStep]) -> Plan:
    """Put steps in order.

    Raises: graphlib.CycleError, whose second argument is the cycle.
    """
    by_name = {step.name: step for step in steps}
    needs = {step.name: frozenset(_names_in(step.input)) & by_name.keys() for step in steps}
    after = {step.name: needs[step.name] | (by_name.keys() & step.depends_on) for step in steps}
    order = TopologicalSorter(after).static_order()
    return Plan(steps=[by_name[name] for name in order], needs=needs, after=after)


def _names_in(value: Any) -> Iterator[str]:
    for _, reference in find_references(value):
        if isinstance(reference[REFERENCE], str):
            yield reference[REFERENCE]


def skip_steps(plan: Plan, states: States) -> States:
    """Return the states with `skipped` for every step that needs an output which will never come."""
    settled = dict(states)
    for step in plan.steps:
        if step.name not in settled and any(settled.get(name) in _WITHOUT_OUTPUT for name in plan.needs[step.name]):
            settled[step.name] = SKIPPED
    return settled


def find_failure(plan: Plan, states: States) -> WorkflowStep | None:
    """Return the first step whose failure stops the workflow, or None."""
    failed = {TaskState.FAILED, TaskState.CANCELLED}
    return next((step for step in plan.steps if not step.optional and states.get(step.name) in failed), None)


def find_ready(plan: Plan, states: States) -> list[WorkflowStep]:
    """Return the steps that have not started and wait for nobody; `states` holds the skipped ones too."""
    return [
        step
        for step in plan.steps
        if step.name not in states and all(states.get(name) in _OVER for name in plan.after[step.name])
    ]


def is_over(plan: Plan, states: States) -> bool:
    """Say whether every step has ended or was skipped."""
    return all(states.get(step.name) in _OVER for step in plan.steps)


def find_restarts(plan: Plan, states: States) -> list[WorkflowStep]:
    """Return the steps that a person's retry runs again: what failed or was cancelled, and nothing that depends on it.

    An optional failure that a later step was started after has been lived with: it stays, for the order's sake.
    """
    lived_with = {name for step in plan.steps if step.name in states for name in plan.after[step.name]}
    over = {TaskState.FAILED, TaskState.CANCELLED}
    return [step for step in plan.steps if states.get(step.name) in over and step.name not in lived_with]


# --- what must be true ------------------------------------------------------------------------------------------
Placed = tuple[Location, WorkflowStep]


def list_steps(value: Any, *, workflow_agents: Collection[str]) -> list[Placed]:
    """Return every step of a workflow's input, inner ones too, each with its place.

    Raises: pydantic.ValidationError that names every fault at its place.
    """
    reader = _Reader(workflow_agents)
    reader.read(value, at=(), around=())
    reader.count()
    if reader.faults:
        raise ValidationError.from_exception_data("workflow", reader.faults, hide_input=True)
    return reader.placed


@dataclass(slots=True)
class _Reader:
    """Walk a workflow and those inside it, and collect what is wrong."""

    workflow_agents: Collection[str]
    placed: list[Placed] = field(default_factory=list)
    faults: list[InitErrorDetails] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def read(self, value: Any, *, at: Location, around: tuple[Names, ...]) -> None:
        """Read one workflow; `around` are the names of the workflows it is in, outermost first."""
        if len(around) == MAX_DEPTH:
            self._add(at, "too_deep", f"Workflows are nested at most {MAX_DEPTH} deep; put these steps one level up.")
            return
        try:
            steps = Workflow.model_validate(value).steps
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False, include_context=False):
                self._add((*at, *fault["loc"]), fault["type"], fault["msg"])
            return
        names = frozenset(step.name for step in steps)
        for index, step in enumerate(steps):
            self._check(step, at=(*at, "steps", index), names=names, around=around)
        try:
            make_plan(steps)
        except CycleError as error:
            circle = " → ".join(reversed(error.args[1]))
            self._add((*at, "steps"), "cycle", f"These steps wait for each other: {circle}. Take a link away.")

    def count(self) -> None:
        """See that the whole is no larger than it may be."""
        if len(self.placed) > MAX_STEPS:
            detail = f"There are {len(self.placed)} steps, inner ones counted, and at most {MAX_STEPS} are taken."
            self._add(("steps",), "too_long", detail)

    def _check(self, step: WorkflowStep, *, at: Location, names: Names, around: tuple[Names, ...]) -> None:
        self.placed.append((at, step))
        if step.name in self._names:
            detail = "This name is used before; a name is used once, inner workflows included."
            self._add((*at, "name"), "name_taken", detail)
        self._names.add(step.name)
        for index, name in enumerate(step.depends_on):
            if name not in names:
                self._add((*at, "dependsOn", index), "step_unknown", "There is no step of this name beside this one.")
        if is_inner(step, self.workflow_agents):
            self.read(step.input, at=(*at, "input"), around=(*around, names))
            return
        known = names.union(*around)
        for place, reference in find_references(step.input):
            self._check_reference(reference, at=(*at, "input", *place), known=known)

    def _check_reference(self, reference: Mapping[str, Any], *, at: Location, known: Names) -> None:
        name, path = reference[REFERENCE], reference.get("path", "")
        if not isinstance(name, str) or not isinstance(path, str) or reference.keys() - {REFERENCE, "path"}:
            self._add(at, "reference_malformed", 'A reference is {"$from": "step"} with, or without, "path": "/…".')
        elif name not in known:
            self._add((*at, REFERENCE), "step_unknown", "There is no step of this name to take an output from.")
        elif not _POINTER.fullmatch(path):
            self._add((*at, "path"), "pointer_malformed", "This is no JSON pointer, such as /tables/0/rows.")

    def _add(self, at: Location, code: str, detail: str) -> None:
        error = PydanticCustomError(code, detail)
        self.faults.append(InitErrorDetails(type=error, loc=at, input=None))


def is_inner(step: WorkflowStep, workflow_agents: Collection[str]) -> bool:
    """Say whether a step is a workflow itself."""
    return not step.skill_id and step.agent_id in workflow_agents
