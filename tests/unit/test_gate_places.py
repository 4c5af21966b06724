"""Globs of paths and patterns of texts: what they are, what they touch, and how far a call may go on under them."""

from typing import Any

import pytest

from tests.unit.gate_cast import judge, rule
from toolgate.exceptions import PolicyInvalid
from toolgate.patterns import base_of, compile_glob
from toolgate.policy import read_policy
from toolgate.types import Reason, Resource


@pytest.mark.parametrize(
    ("glob", "path", "is_match"),
    [
        ("a/*.csv", "a/b.csv", True),
        ("a/*.csv", "a/.csv", True),
        ("a/*.csv", "a/b/c.csv", False),
        ("a/*.csv", "a/b.csv/c", False),
        ("a/*.csv", "a/bxcsv", False),
        ("a/*", "a", False),
        ("a/*", "a/ü b", True),
        ("a/?", "a/é", True),
        ("a/?", "a/bb", False),
        ("a/**", "a", True),
        ("a/**", "a/b/c", True),
        ("a/**", "ab", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "a/x/b/c", False),
        ("**/*.key", "x.key", True),
        ("**/*.key", "a/b/x.key", True),
        ("**/*.key", "a/b/xkey", False),
        ("**", "", True),
        ("**", "a/b", True),
        ("*", "", False),
        ("*", "a", True),
        ("*", "a/b", False),
        ("a.[b]+/*", "a.[b]+/c", True),
        ("a.[b]+/*", "aab/c", False),
        ("*a*a*a*a*a*a*a*b", "a" * 4000, False),
    ],
)
def test_a_glob_is_read_by_whole_names(glob: str, path: str, is_match: bool) -> None:
    assert compile_glob(glob).matches(path) is is_match
    assert judge([rule(readPaths=[glob])], Resource(read_paths=(path,))).effect == ("allow" if is_match else "deny")


@pytest.mark.parametrize(("place", "base"), [("", ""), ("a/b", "a/b"), ("a/*/c", "a"), ("*", ""), ("a/b/c?", "a/b")])
def test_all_that_a_place_can_name_lies_in_its_base(place: str, base: str) -> None:
    assert base_of(place) == base


@pytest.mark.parametrize("effect", ["deny", "ask"])
@pytest.mark.parametrize(
    ("glob", "path", "as_folder", "as_file"),
    [
        ("d/*.key", "d/x.key", True, True),
        ("d/*.key", "d/x.csv", False, False),
        ("d/*.key", "d", True, False),
        ("d/*.key", "", True, True),  # the workspace is no file
        ("d/*.key", "e", False, False),
        ("d/*.key", "d/x.key/y", True, True),  # x.key may be a folder
        ("d/*/s/*", "d/e", True, False),
        ("d/*/s/*", "d/e/t", False, False),
        ("**/*.key", "d/x.csv", True, False),  # x.csv, were it a folder, could hold one
        ("**/*.key", "d/x.key", True, True),
        ("d/**/s", "d/e/f", True, False),
        ("d/**/s", "e", False, False),
        ("d/**", "d", True, True),
    ],
)
def test_what_may_be_in_a_folder_is_touched_by_reading_it(
    effect: str, glob: str, path: str, as_folder: bool, as_file: bool
) -> None:
    for files_only, is_touched in ((False, as_folder), (True, as_file)):
        for kind in ("read", "write"):
            rules = [rule("a"), rule("b", effect, **{f"{kind}Paths": [glob]})]
            decision = judge(rules, Resource(**{f"{kind}_paths": (path,)}, files_only=files_only))
            assert decision.effect == (effect if is_touched else "allow")


def test_folders_and_globs_stand_in_one_list() -> None:
    rules = [rule(readPaths=["d", "e/*.csv"])]
    assert judge(rules, Resource(read_paths=("d/x/y", "e/1.csv"))).effect == "allow"
    refused = judge(rules, Resource(read_paths=("d/x/y", "e/1.txt")))
    assert (refused.reason, refused.detail) == (Reason.READ_PATH, "the path 'e/1.txt' may not be read by the rule r")


def test_a_glob_is_never_handed_on_to_the_skill() -> None:
    decision = judge(
        [rule(readPaths=["d/*", "e"], writePaths=["**"])], Resource(read_paths=("d/1",), write_paths=("x",))
    )
    assert (decision.read_scopes, decision.write_scopes) == (("d/1", "e"), ("x",))
    within_e = judge([rule(readPaths=["d/*", "e"])], Resource(read_paths=("e/2",)))
    assert within_e.read_scopes == ("e", "e/2")


@pytest.mark.parametrize(
    ("glob", "scopes"),
    [("d/*.key", ("d/1", "e")), ("**/*.key", ("d/1",)), ("d/s/*", ("d/1", "e")), ("f/*", ("d", "e"))],
)
@pytest.mark.parametrize("effect", ["deny", "ask"])
def test_a_folder_in_which_a_stricter_glob_could_match_is_not_handed_on(
    effect: str, glob: str, scopes: tuple[str, ...]
) -> None:
    rules = [rule("a", readPaths=["d", "e"]), rule("b", effect, readPaths=[glob])]
    assert judge(rules, Resource(read_paths=("d/1",), files_only=True)).read_scopes == scopes


@pytest.mark.parametrize("place", ["a**", "a/**b", "***", "/*", "*/", "a//*", "../*", "a\n*"])
def test_it_refuses_what_is_no_glob(place: str) -> None:
    with pytest.raises(PolicyInvalid, match="readPaths"):
        read_policy([rule(readPaths=[place])])


# --- texts and sizes ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("test", "value", "covers", "touches"),
    [
        ({"maxLength": 3}, "abc", True, True),
        ({"maxLength": 3}, "äöü", True, True),
        ({"maxLength": 3}, "abcd", False, False),
        ({"minLength": 2}, "a", False, False),
        ({"minLength": 2}, "", False, False),
        ({"maxLength": 0}, "", True, True),
        ({"maxLength": 3}, 12, False, True),
        ({"maxLength": 3}, None, False, True),
        ({"maxLength": 3}, ..., False, True),
        ({"pattern": "[a-z]+"}, "abc", True, True),
        ({"pattern": "[a-z]+"}, "abc1", False, False),
        ({"pattern": "[a-z]+"}, "abc\n", False, False),
        ({"pattern": "a|ab"}, "ab", True, True),
        ({"pattern": "^a$"}, "b\na", False, False),
        ({"pattern": ".*secret.*"}, "x\nsecret\n", False, True),  # a line break must dodge no rule that restricts
        ({"pattern": "ü.?"}, "üé", True, True),
        ({"pattern": ".*"}, 5, False, True),
        ({"pattern": ".*"}, ..., False, True),
        ({"pattern": ".*"}, "\ud800", False, True),
        ({"pattern": "(a*)*b"}, "a" * 100_000, False, False),
    ],
)
def test_texts_are_tested_whole(test: dict[str, Any], value: Any, covers: bool, touches: bool) -> None:
    resource = Resource(arguments={} if value is ... else {"n": value})
    conditional = {"arguments": {"n": test}}
    decision = judge([rule(**conditional)], resource)
    assert decision.reason is (Reason.ALLOWED if covers else Reason.ARGUMENT_NOT_ALLOWED)
    assert judge([rule("a"), rule("b", "deny", **conditional)], resource).effect == ("deny" if touches else "allow")
    assert judge([rule("a"), rule("b", "ask", **conditional)], resource).effect == ("ask" if touches else "allow")


@pytest.mark.parametrize(
    ("bounds", "size", "covers", "touches"),
    [
        ({"max": 100}, 100, True, True),
        ({"max": 100}, 101, False, False),
        ({"min": 100}, 99, False, False),
        ({"min": 2, "max": 2}, 2, True, True),
        ({"max": 100}, 0, False, True),  # nobody has measured them
        ({"min": 0}, 0, False, True),
    ],
)
def test_the_size_of_all_arguments_is_tested(bounds: dict[str, int], size: int, covers: bool, touches: bool) -> None:
    resource = Resource(argument_bytes=size)
    decision = judge([rule(argumentBytes=bounds)], resource)
    assert decision.reason is (Reason.ALLOWED if covers else Reason.ARGUMENT_NOT_ALLOWED)
    denied = judge([rule("a"), rule("b", "deny", argumentBytes=bounds)], resource)
    assert denied.effect == ("deny" if touches else "allow")


def test_what_is_too_long_is_told_in_characters() -> None:
    decision = judge([rule(arguments={"n": {"maxLength": 3}})], Resource(arguments={"n": "x" * 5000}))
    assert decision.detail == "the argument n is 5,000 characters long, which is not allowed by the rule r"
