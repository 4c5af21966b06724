"""Conditions that no call can meet, or that say nothing, seen from the rule alone. PURE."""

from collections.abc import Iterator

from toolgate.explaining.subsets import is_length, is_range
from toolgate.fleet import SkillFacts
from toolgate.policy import ANY, ArgumentTest, Rule
from toolgate.types import Effect

FILES = {
    "read": frozenset({"read_workspace", "write_workspace", "run_command"}),
    "write": frozenset({"write_workspace", "run_command"}),
}


def find_impossible(rule: Rule, skills: list[SkillFacts]) -> Iterator[tuple[str, str]]:
    """Return the code and sentence of each condition that `rule` can never meet, or that says nothing.

    `skills` are those that the rule is about.
    """
    yield from _find_empty_lists(rule)
    yield from _find_hosts_of_nobody(rule, skills)
    yield from _find_paths_of_nobody(rule, skills)
    bounds = rule.conditions.argument_bytes
    if bounds and bounds.min is not None and bounds.max is not None and bounds.min > bounds.max:
        yield "never_matches", "Its smallest size of the arguments is above its largest: it never matches."
    if rule.effect is Effect.ALLOW:
        for name, test in (rule.conditions.arguments or {}).items():
            why = _why_blind(rule, name, test, skills)
            if why:
                yield "never_matches", f"{why}: it never matches."


def find_blind_tests(rule: Rule, skills: list[SkillFacts]) -> Iterator[str]:
    """Return a sentence for each argument test of a deny or ask rule that no value can pass.

    What cannot be evaluated does not fail, so such a rule restricts just where its writer did not look.
    """
    verb = "denies" if rule.effect is Effect.DENY else "asks about"
    for name, test in (rule.conditions.arguments or {}).items():
        why = _why_blind(rule, name, test, skills)
        if why:
            yield f"{why}: it {verb} calls on which that test cannot be evaluated, and no others."


def _find_empty_lists(rule: Rule) -> Iterator[tuple[str, str]]:
    conditions = rule.conditions
    lists = (("hosts", conditions.domains), ("read", conditions.read_paths), ("write", conditions.write_paths))
    for name, given in lists:
        if given == ():
            what = "Its list of hosts" if name == "hosts" else f"Its list of folders to {name}"
            yield "empty_list", f"{what} is empty: an empty list allows nothing, so it never matches."


def _find_hosts_of_nobody(rule: Rule, skills: list[SkillFacts]) -> Iterator[tuple[str, str]]:
    # A rule about hosts says nothing of a call that names none.
    if rule.conditions.domains and skills and not any("network" in facts.capabilities for facts in skills):
        yield "never_matches", f"It names hosts, but {_tell_skill(rule)} names no host: it never matches."


def _find_paths_of_nobody(rule: Rule, skills: list[SkillFacts]) -> Iterator[tuple[str, str]]:
    for verb, places in (("read", rule.conditions.read_paths), ("write", rule.conditions.write_paths)):
        if not places or not skills or any(FILES[verb] & facts.capabilities for facts in skills):
            continue
        named = f"It names folders to {verb}, but {_tell_skill(rule)} names no file to {verb}"
        if rule.effect is Effect.ALLOW:
            # Where results are kept is bounded by folders to write, whatever a call names.
            if verb == "read" and "" not in places:
                yield "idle_condition", f"{named}: this keeps no call out."
        elif rule.effect is Effect.DENY or rule.only_restricts:
            yield "never_matches", f"{named}: it never matches."
        elif "" not in places:
            yield "idle_condition", f"{named}: it asks about every call."


def _tell_skill(rule: Rule) -> str:
    return "no skill that it is about" if rule.skill == ANY else f"the skill {rule.skill}"


def _why_blind(rule: Rule, name: str, test: ArgumentTest, skills: list[SkillFacts]) -> str:
    """Say why no value of an argument can pass a test, empty if one can."""
    if skills and not any(name in facts.arguments for facts in skills):
        whose = "No skill has" if rule.skill == ANY else f"The skill {rule.skill} has not"
        return f"{whose} the argument {name}"
    if test.one_of == ():
        return f"Its list of values for the argument {name} is empty"
    if is_range(test) and test.min is not None and test.max is not None and test.min > test.max:
        return f"Its smallest {name} is above its largest"
    if is_length(test) and None not in (test.min_length, test.max_length):
        low, high = test.min_length or 0, test.max_length or 0
        return f"Its shortest {name} is longer than its longest" if low > high else ""
    return ""
