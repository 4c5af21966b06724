"""Rules as data: a closed schema, read from TOML or JSON, and the digest of a set of them. PURE.

How rules combine, in this order: a deny rule that touches the call denies it; else some allow or ask rule must
cover it, or it is denied by default; else an ask rule that touches it asks; else it is allowed.

*Covers*: every host and path of the call lies inside the rule's lists, and every argument test holds.
*Touches*: some host or path lies inside them, and no argument test fails; one that cannot be evaluated (the
argument is missing, null or of another type) does not fail. So what cannot be evaluated never widens anything.

*Taint never widens* either. A task is tainted once a skill brought text from outside into it. Only an allow rule may
hold for clean tasks alone, and only a deny or an ask rule for tainted ones alone; such an ask rule asks about what
another rule permits, and permits nothing by itself.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Annotated, Any, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from toolgate.exceptions import PolicyInvalid
from toolgate.normal import is_host, is_path
from toolgate.types import Effect

ANY = "*"


class _Closed(BaseModel):
    """Immutable, camelCase on the wire, unknown fields and loose types refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
    )


def _check_domain(text: str) -> str:
    # "*.org" would be a third of the internet: a wildcard stands below two labels or more.
    if not is_host(text.removeprefix("*.")):
        raise ValueError("is neither a host in lower case (docs.example.org) nor a wildcard (*.example.org)")
    return text


def _check_folder(text: str) -> str:
    if not is_path(text):
        raise ValueError('is no folder relative to the workspace ("" is all of it, else a/b without a leading slash)')
    return text


Domain = Annotated[str, AfterValidator(_check_domain)]
Folder = Annotated[str, AfterValidator(_check_folder)]
Scalar = bool | int | float | str
Number = int | float
RuleId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
AgentId = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,64}$")]
Subject = Annotated[str, Field(pattern=r"^(\*|[a-zA-Z0-9._-]{1,64})$")]


class ArgumentTest(_Closed):
    """What one scalar argument has to be: equal to, one of, or a number from `min` to `max` (both included)."""

    equals: Scalar | None = None
    one_of: tuple[Scalar, ...] | None = None
    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _check_one_kind(self) -> Self:
        kinds = (self.equals is not None) + (self.one_of is not None) + (self.min is not None or self.max is not None)
        if kinds != 1:
            raise ValueError("an argument test is exactly one of equals, oneOf, or min and max")
        return self


class Conditions(_Closed):
    """When a rule matches; what is left out does not restrict, an empty list is never satisfied."""

    domains: tuple[Domain, ...] | None = None
    read_paths: tuple[Folder, ...] | None = None
    write_paths: tuple[Folder, ...] | None = None
    arguments: dict[Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$")], ArgumentTest] | None = None
    tainted: bool | None = None  # true: of tainted tasks only; false: of clean tasks only


class Limits(_Closed):
    """Bounds that hold for every call the rule matches, whichever rules match beside it."""

    calls_per_task: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    rate_per_second: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None  # default: one second's worth

    @model_validator(mode="after")
    def _check_burst(self) -> Self:
        if self.burst is not None and self.rate_per_second is None:
            raise ValueError("burst needs ratePerSecond")
        return self


class ApprovalTerms(_Closed):
    """Who may answer what this rule asks."""

    four_eyes: bool = True  # not the one who submitted the task


class Rule(_Closed):
    """One line of the policy: agent (or `*`) and skill (or `*`), under conditions, to an effect and limits."""

    id: RuleId
    agent: Subject
    except_agents: Annotated[tuple[AgentId, ...], Field(min_length=1)] | None = None  # beside the agent `*`
    skill: Subject
    effect: Effect
    description: Annotated[str, Field(max_length=500)] = ""
    conditions: Conditions = Conditions()
    limits: Limits = Limits()
    approval: ApprovalTerms = ApprovalTerms()

    @property
    def only_restricts(self) -> bool:
        """Say whether it only asks or denies where another rule permits."""
        return self.effect is Effect.DENY or self.conditions.tainted is True

    def names(self, agent_id: str) -> bool:
        """Say whether it is about an agent."""
        return self.agent == agent_id or (self.agent == ANY and agent_id not in (self.except_agents or ()))

    @model_validator(mode="after")
    def _check_taint(self) -> Self:
        if self.conditions.tainted is (self.effect is Effect.ALLOW):
            kind, state = (
                ("an allow rule", "tainted") if self.effect is Effect.ALLOW else ("a deny or ask rule", "clean")
            )
            raise ValueError(f"{kind} cannot hold for {state} tasks only: text from outside would give a task rights")
        return self

    @model_validator(mode="after")
    def _check_sense(self) -> Self:
        if self.except_agents is not None and self.agent != ANY:
            raise ValueError("exceptAgents goes with the agent * only")
        if self.effect is Effect.DENY and self.limits != Limits():
            raise ValueError("a deny rule cannot have limits")
        if self.effect is not Effect.ASK and self.approval != ApprovalTerms():
            raise ValueError("only an ask rule has approval terms")
        lists = (self.conditions.domains, self.conditions.read_paths, self.conditions.write_paths)
        if self.effect is not Effect.ALLOW and () in lists:
            raise ValueError("an empty list in a deny or ask rule would never match: leave it out, or the rule")
        return self


class Policy(_Closed):
    """A set of rules; their order means nothing."""

    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        counts = Counter(rule.id for rule in self.rules)
        twice = sorted(rule_id for rule_id, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"rule ids used twice: {', '.join(twice[:5])}")
        return self


def load_policy(toml: bytes) -> Policy:
    """Return the policy in `toml`: one `[[rules]]` table a rule.

    Raises: PolicyInvalid.
    """
    try:
        return _validate(tomllib.loads(toml.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyInvalid([f"not TOML: {error}"]) from error


def read_policy(rules: Iterable[Rule | Mapping[str, Any]]) -> Policy:
    """Return the policy of `rules`, each a `Rule` or its wire form.

    Raises: PolicyInvalid.
    """
    return _validate({"rules": [dump_rule(rule) if isinstance(rule, Rule) else rule for rule in rules]})


def dump_rule(rule: Rule) -> dict[str, Any]:
    """Return the wire form of `rule`: camelCase, what is not set left out."""
    wire = rule.model_dump(mode="json", by_alias=True, exclude_none=True)
    if rule.effect is not Effect.ASK:
        del wire["approval"]
    return wire


def dump_policy(policy: Policy) -> list[dict[str, Any]]:
    """Return the wire form of all rules, ordered by id."""
    return [dump_rule(rule) for rule in sorted(policy.rules, key=lambda rule: rule.id)]


def policy_digest(policy: Policy) -> str:
    """Return the SHA-256 of the rules; the same for the same rules in any order."""
    return sha256(orjson.dumps(dump_policy(policy), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _validate(wire: Mapping[str, Any]) -> Policy:
    try:
        return Policy.model_validate_json(orjson.dumps(wire))
    except ValidationError as error:
        raise PolicyInvalid([_describe(finding) for finding in error.errors(include_url=False)]) from error
    except TypeError as error:  # what JSON cannot hold: a set, an integer past 64 bits
        raise PolicyInvalid([str(error)]) from error


def _describe(finding: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in finding["loc"])
    return f"{place or 'policy'}: {finding['msg']}"
