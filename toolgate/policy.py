"""Rules as data: a closed schema, read from TOML or JSON, and the digest of a set of them. PURE.

How rules combine, in this order: a deny rule that touches the call denies it; else some allow or ask rule must
cover it, or it is denied by default; else an ask rule that touches it asks, and where neither such a one nor an
allow rule covers it, the ask rules that do; else it is allowed.

*Covers*: every host and path of the call lies inside the rule's lists, and every argument test holds.
*Touches*: some host or path lies inside them, and no argument test fails; one that cannot be evaluated (the
argument is missing, null or of another type) does not fail. So what cannot be evaluated never widens anything.
A path may be a folder's: a call that reads or writes a folder touches all that could lie in it (`toolgate.places`).

*Time*: a rule outside its validity or its window (`toolgate.clocks`) is as if it were not there, whatever it says. A
*shadow* rule decides nothing: what it would have changed is noted beside the decisions of the others.

*Taint never widens* either. A task is tainted once a skill brought text from outside into it. Only an allow rule may
hold for clean tasks alone, and only a deny or an ask rule for tainted ones alone; such an ask rule asks about what
another rule permits, and permits nothing by itself.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, time
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from toolgate.exceptions import PolicyInvalid
from toolgate.normal import is_host, is_path
from toolgate.patterns import compile_glob, compile_pattern, is_glob
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


def _check_place(text: str) -> str:
    if not is_path(text):
        raise ValueError('is no folder relative to the workspace ("" is all of it, else a/b without a leading slash)')
    if any("**" in part and part != "**" for part in text.split("/")):
        raise ValueError("in a glob, ** stands for whole folders: a/**/b, not a**b")
    if is_glob(text):
        compile_glob(text)
    return text


def _check_pattern(text: str) -> str:
    compile_pattern(text)
    return text


def _check_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # an unknown zone is a KeyError
        raise ValueError("is no time zone such as Europe/London") from None
    return text


Domain = Annotated[str, AfterValidator(_check_domain)]
Place = Annotated[str, AfterValidator(_check_place)]  # a folder and all below it, or a glob of paths
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_check_pattern)]
Zone = Annotated[str, Field(max_length=64), AfterValidator(_check_zone)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Pounds to the penny's hundredth; a text on the wire, so that no float ever holds money.
Pounds = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=4, allow_inf_nan=False)]
Scalar = bool | int | float | str
Number = int | float
RuleId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
AgentId = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,64}$")]
Subject = Annotated[str, Field(pattern=r"^(\*|[a-zA-Z0-9._-]{1,64})$")]


class ArgumentTest(_Closed):
    """What one scalar argument has to be; exactly one kind of test.

    Equal to a value, one of some, a number from `min` to `max`, a text of `minLength` to `maxLength` characters (bounds
    included), or a text that as a whole matches a `pattern` in RE2 syntax.
    """

    equals: Scalar | None = None
    one_of: tuple[Scalar, ...] | None = None
    min: Number | None = None
    max: Number | None = None
    min_length: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    max_length: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    pattern: Pattern | None = None

    @model_validator(mode="after")
    def _check_one_kind(self) -> Self:
        kinds = (
            self.equals is not None,
            self.one_of is not None,
            self.min is not None or self.max is not None,
            self.min_length is not None or self.max_length is not None,
            self.pattern is not None,
        )
        if sum(kinds) != 1:
            raise ValueError(
                "an argument test is exactly one of equals, oneOf, min and max, minLength and maxLength, or pattern"
            )
        return self


class ByteRange(_Closed):
    """How large all arguments together may be: bytes of their JSON, bounds included."""

    min: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    max: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None

    @model_validator(mode="after")
    def _check_some(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a range of bytes has a min, a max or both")
        return self


class TimeWindow(_Closed):
    """Days and hours, by the clock of a zone: from `start` (included) to `end` (not included).

    An `end` at or before `start` is on the next day; the window then belongs to the day it starts on.
    """

    zone: Zone
    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    start: time = time(0, 0)
    end: time = time(0, 0)

    @model_validator(mode="after")
    def _check_clock(self) -> Self:
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise ValueError("start and end are by the clock of zone: they have no offset of their own")
        return self


class Conditions(_Closed):
    """When a rule matches; what is left out does not restrict, an empty list is never satisfied."""

    domains: tuple[Domain, ...] | None = None
    read_paths: tuple[Place, ...] | None = None
    write_paths: tuple[Place, ...] | None = None
    arguments: dict[Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$")], ArgumentTest] | None = None
    argument_bytes: ByteRange | None = None
    time_window: TimeWindow | None = None
    tainted: bool | None = None  # true: of tainted tasks only; false: of clean tasks only


Amount = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1, le=1_000_000_000_000)]
Seconds = Annotated[int, Field(ge=1, le=31 * 86_400)]


class CallsAPeriod(_Closed):
    """At most so many calls of an agent in any stretch of so many seconds."""

    amount: Amount
    seconds: Seconds


class BytesAPeriod(_Closed):
    """At most so many bytes of arguments of an agent in any stretch of so many seconds."""

    amount: Bytes
    seconds: Seconds


class Limits(_Closed):
    """Bounds that hold for every call the rule matches, whichever rules match beside it."""

    calls_per_task: Amount | None = None
    rate_per_second: Amount | None = None
    burst: Amount | None = None  # default: one second's worth
    calls_per_period: CallsAPeriod | None = None
    bytes_per_task: Bytes | None = None  # of arguments, as JSON
    bytes_per_period: BytesAPeriod | None = None
    spend_per_task: Pounds | None = None  # no call once the task has spent or holds this much
    spend_per_day: Pounds | None = None  # … once the agent has, of this day (UTC)

    @model_validator(mode="after")
    def _check_burst(self) -> Self:
        if self.burst is not None and self.rate_per_second is None:
            raise ValueError("burst needs ratePerSecond")
        return self


Approver = Annotated[str, Field(pattern=r"^(group:)?[\w.@+-]{1,150}$")]


class ApprovalTerms(_Closed):
    """Who may answer what this rule asks, how many of them it takes, and how long they have."""

    four_eyes: bool = True  # not the one who submitted the task
    quorum: Annotated[int, Field(ge=1, le=10)] = Field(default=1, exclude_if=lambda quorum: quorum == 1)
    # User names, or "group:…" for everybody in a group; without it everybody who may decide approvals.
    approvers: Annotated[tuple[Approver, ...], Field(min_length=1)] | None = None
    expires_seconds: Annotated[int, Field(ge=10, le=30 * 86_400)] | None = None  # default: APPROVAL_EXPIRY_SECONDS
    sla_seconds: Annotated[int, Field(ge=1, le=30 * 86_400)] | None = None  # default: APPROVAL_SLA_SECONDS


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
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None  # from this moment on it is as if the rule were not there
    # A shadow rule decides nothing: what it would have changed is counted beside the decisions of the others.
    shadow: bool = Field(default=False, exclude_if=lambda shadow: shadow is False)

    @property
    def only_restricts(self) -> bool:
        """Say whether it only asks or denies where another rule permits."""
        return self.effect is Effect.DENY or self.conditions.tainted is True

    def is_valid_at(self, now: datetime) -> bool:
        """Say whether `now` is within its validity; its time window is one of its conditions."""
        begun = self.valid_from is None or self.valid_from <= now
        return begun and (self.valid_until is None or now < self.valid_until)

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
        if self.valid_from is not None and self.valid_until is not None and self.valid_from >= self.valid_until:
            raise ValueError("validFrom is not before validUntil: the rule would never hold")
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


def rule_digest(rule: Rule) -> str:
    """Return the SHA-256 of one rule; the same whether it is in the shadow or enforced."""
    wire = dump_rule(rule.model_copy(update={"shadow": False}))
    return sha256(orjson.dumps(wire, option=orjson.OPT_SORT_KEYS)).hexdigest()


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
