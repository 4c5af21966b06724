"""Commands in the documentation can be typed: each exists, and takes the arguments that it is shown with."""

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import CommandError, get_commands, load_command_class

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"manage\.py ([^;|\n]*)")
PUT_IN = re.compile(r"\$\((?!\S*python)[^()]*\)")  # by the shell
MENTION = re.compile(r"`(?:\.venv/bin/python )?manage\.py ([a-z_]+)(?: ([a-z][a-z_\\|-]*))?")


def list_typed() -> list[list[str]]:
    texts = (block for page in PAGES for block in BLOCK.findall(page.read_text()))
    lines = (PUT_IN.sub("1", line) for text in texts for line in text.replace("\\\n", " ").splitlines())
    return [shlex.split(found.replace(")", ""), comments=True) for line in lines for found in COMMAND.findall(line)]


def test_there_are_commands_to_look_at() -> None:
    assert len(list_typed()) > 25


@pytest.mark.parametrize("words", list_typed(), ids=" ".join)
def test_a_documented_command_takes_its_arguments(words: list[str]) -> None:
    name, *arguments = words
    cut = next((at for at, word in enumerate(arguments) if word.startswith((">", "<"))), len(arguments))
    app = get_commands().get(name)
    assert app is not None, f"there is no manage.py {name}"
    numbers = [re.sub(r"^\$.*", "1", word) for word in arguments[:cut]]  # what a shell puts in
    try:
        load_command_class(str(app), name).create_parser("manage.py", name).parse_args(numbers)
    except CommandError as error:
        pytest.fail(str(error))


def test_every_command_and_verb_that_is_mentioned_exists() -> None:
    for page in PAGES:
        for name, verbs in MENTION.findall(page.read_text()):
            app = get_commands().get(name)
            assert app is not None, f"{page.name}: there is no manage.py {name}"
            parser = load_command_class(str(app), name).create_parser("manage.py", name)
            choices = [
                set(action.choices) for action in parser._actions if action.choices and not action.option_strings
            ]
            if choices and verbs:
                assert set(verbs.replace("\\", "").split("|")) <= choices[0], f"{page.name}: manage.py {name} {verbs}"
