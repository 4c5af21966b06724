"""The commands of `deploy/kubernetes/README.md` parse, and name files, workloads and commands that there are."""

import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from tests.kustomize import KUBERNETES, OVERLAYS, pod_of, render

ROOT = Path(__file__).resolve().parents[2]
PAGE = (KUBERNETES / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()] + re.findall(r"`(kubectl [^`]+)`", PAGE)
VERBS = {"apply", "create", "delete", "diff", "exec", "get", "logs", "port-forward", "rollout", "wait"}


def test_a_shell_takes_each_block() -> None:
    assert len(BLOCKS) >= 4
    for block in BLOCKS:
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)


@pytest.mark.parametrize("line", LINES)
def test_a_line_names_what_there_is(line: str) -> None:
    words = shlex.split(line)
    for word in words:
        assert not word.startswith("deploy/") or (ROOT / word).exists(), word
    if words[0] != "kubectl":
        return
    rest = words[3:] if words[1] == "-n" else words[1:]
    assert rest[0] in VERBS
    assert words[1] != "-n" or words[2] in {"orchestrator", "orchestrator-dev"}
    there = {
        (manifest["kind"], manifest["metadata"]["name"]) for overlay in OVERLAYS for manifest in render(overlay)
    } | {("Service", "orchestrator")}
    for kind, name in re.findall(r"\b(deployment|job|service)/([a-z]+)", line):
        assert (kind.capitalize(), name) in there


@pytest.mark.parametrize("line", [line for line in LINES if "manage.py" in line])
def test_a_command_takes_its_arguments(line: str) -> None:
    words = shlex.split(line)
    name, *arguments = words[words.index("/app/manage.py") + 1 :]
    load_command_class(str(get_commands()[name]), name).create_parser("manage.py", name).parse_args(arguments)


def test_what_is_tried_is_the_dev_overlay_and_what_is_kept_the_other() -> None:
    used = {after for line in LINES for before, after in pairwise(shlex.split(line)) if before == "-k"}
    assert used == {f"deploy/kubernetes/overlays/{overlay}" for overlay in OVERLAYS}
    assert {manifest["metadata"]["name"] for manifest in render("production") if pod_of(manifest)} <= set(
        re.findall(r"`(\w+)`", PAGE)
    )


def test_an_update_changes_the_tag_of_the_image() -> None:
    (pattern,) = re.findall(r"sed -i 's/(newTag: .*?)/", PAGE)
    text = (KUBERNETES / "overlays" / "production" / "kustomization.yaml").read_text()
    assert len(re.findall(pattern, text)) == 1
