"""What a terminal is shown: aligned, coloured only on wish, and never able to act."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, get_commands, load_command_class
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.exceptions import SkillUnknown
from orchestrator_site.terminal.printing import Table, Toned, draw
from orchestrator_site.terminal.reading import read_object
from orchestrator_site.terminal.refusals import refusals
from orchestrator_site.terminal.verbs import AnswerCommand, VerbCommand


def lines(*items: Any, coloured: bool = False) -> list[str]:
    return list(draw(items, coloured=coloured))


@settings(max_examples=40)
@given(st.text(), st.booleans())
def test_no_text_acts_or_begins_a_line(text: str, coloured: bool) -> None:
    [line] = lines(text, coloured=coloured)
    assert line.isprintable()
    [row] = lines(Table((), [(text, "x")]), coloured=coloured)
    assert row.isprintable()


def test_columns_stand_below_each_other_whatever_they_hold() -> None:
    table = Table(("A", "B"), [("資料", "one"), (Toned("e\u0301x", "bad"), "two"), ("\x1b[1m", "three")])
    assert lines(table) == ["A          B", "資料       one", "e\u0301x         two", "\\u001b[1m  three"]


def test_a_tone_is_a_colour_only_where_it_is_wanted_and_never_the_words() -> None:
    cell = Toned("failed", "bad")
    assert lines(cell) == ["failed"]
    assert lines(cell, coloured=True) == ["\x1b[31mfailed\x1b[0m"]
    assert lines(Toned("\x1b[0m", "bad"), coloured=True) == ["\x1b[31m\\u001b[0m\x1b[0m"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("where", "environment", "options", "coloured"),
    [
        (Terminal, "", {}, True),
        (io.StringIO, "", {}, False),
        (Terminal, "1", {}, False),
        (Terminal, "", {"no_color": True}, False),
        (io.StringIO, "1", {"force_color": True}, True),
    ],
)
def test_colours_are_for_a_terminal_that_wants_them(
    where: type[io.StringIO], environment: str, options: dict[str, bool], coloured: bool, monkeypatch: Any
) -> None:
    monkeypatch.setenv("NO_COLOR", environment)
    out = where()
    AnswerCommand(stdout=out).say([Toned("ok", "good")], {"no_color": False, "force_color": False} | options)
    assert ("\x1b" in out.getvalue()) is coloured


def test_what_nobody_foresaw_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), refusals():
        raise ZeroDivisionError
    with pytest.raises(CommandError, match=r"`manage\.py skills list` shows them"), refusals():
        raise SkillUnknown


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": "\\u0000"}', "{" * 2_000])
def test_an_input_is_read_as_strictly_as_a_body_of_the_api(text: str) -> None:
    with pytest.raises(CommandError, match="Nothing was done"):
        read_object(text)


def test_each_verb_speaks_json_and_names_who_acts() -> None:
    for name, app in get_commands().items():
        command = load_command_class(app, name) if app == "orchestrator_site" else None
        if not isinstance(command, VerbCommand):
            continue
        verbs = command.create_parser("manage.py", name)._subparsers._group_actions[0].choices
        assert set(verbs) == {verb for verb in verbs if callable(getattr(command, f"_{verb}".replace("-", "_")))}
        for verb in verbs.values():
            assert "--json" in verb._option_string_actions
