"""Commands for Docker, swarm and Kubernetes in the documentation: no engine runs here, but what they name exists."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`((?:docker|kubectl) [^`]+)`")
NAMED = re.compile(r"\b(docker|kubectl)\b|\.sh\b")  # the rest is another test's
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
SERVICES = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
STACK = set(yaml.safe_load((ROOT / "deploy" / "swarm" / "stack.yml").read_text())["services"])
VALUED = {"-f", "--file", "--tail", "--scale", "--entrypoint", "-C", "--timeout"}  # options that take the next word
# Verbs of Compose, with what stands behind their options: services, or one service and what is run in it.
ALL_SERVICES = {"up", "logs", "ps", "restart", "build", "create", "stop", "start", "config", "down", "pull"}
ONE_SERVICE = {"exec", "run"}
OBJECTS = {"deployment", "job", "service", "pods,hpa,pdb,job", "pods", "secret", "configmap", "namespace"}


def list_blocks() -> list[tuple[str, str]]:
    return [(page.name, text) for page in PAGES for text in BLOCK.findall(page.read_text())]


def split_lines(text: str) -> Iterator[list[str]]:
    """Give the simple commands of a text as words, without what the shell redirects."""
    for line in filter(NAMED.search, text.replace("\\\n", " ").splitlines()):
        words = re.split(r"\s(?:[|;]|&&|\|\|)\s", line)
        for part in words:
            typed = re.split(r"\s[<>]+\s", part)[0]
            yield shlex.split(re.sub(r"^[A-Z_]+=\S+ ", "", typed.strip()), comments=True)


def list_typed(*program: str) -> list[list[str]]:
    texts = [text for _, text in list_blocks()]
    texts += [text for page in PAGES for text in INLINE.findall(page.read_text())]
    commands = [words for text in texts for words in split_lines(text)]
    size = len(program)
    return [words[size:] for words in commands if tuple(words[:size]) == program and words[size:]]


def drop_options(words: list[str]) -> list[str]:
    """Return the words that are neither options nor their values."""
    kept, skip = [], False
    for word in words:
        if not skip and not word.startswith("-"):
            kept.append(word)
        skip = not skip and word in VALUED
    return kept


@pytest.mark.parametrize(("page", "text"), list_blocks(), ids=lambda value: value[:40])
def test_a_block_is_shell(page: str, text: str) -> None:
    done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page}: {done.stderr}"


def test_there_are_commands_to_look_at() -> None:
    assert len(list_typed("docker", "compose")) > 30
    assert len(list_typed("kubectl")) > 15
    assert len(list_typed("docker", "stack")) >= 3


@pytest.mark.parametrize("words", list_typed("docker", "compose"), ids=" ".join)
def test_compose_is_asked_for_files_and_services_that_exist(words: list[str]) -> None:
    for option, file in pairwise(words):
        assert option not in {"-f", "--file"} or (ROOT / file).is_file(), file
        assert option != "--scale" or file.partition("=")[0] in SERVICES, file
    verb, *rest = drop_options(words)
    if verb in ONE_SERVICE:
        assert rest[0] in SERVICES, rest
        is_ours = verb == "run" and "--entrypoint" not in words and rest[1:]
        assert not is_ours or rest[1] in get_commands(), f"there is no manage.py {rest[1:]}"
    else:
        assert verb in ALL_SERVICES, verb
        assert set(rest) <= SERVICES


@pytest.mark.parametrize("words", list_typed("docker", "stack"), ids=" ".join)
def test_a_stack_is_deployed_from_a_file_that_exists(words: list[str]) -> None:
    if words[0] == "deploy":
        assert (ROOT / words[words.index("-c") + 1]).is_file()
    assert words[0] in {"deploy", "services", "ps", "rm"}


def test_what_the_stack_asks_for_is_set_where_it_is_first_deployed() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", (ROOT / "deploy" / "swarm" / "stack.yml").read_text()))
    first = [text for _, text in list_blocks() if "create-secrets.sh" in text]
    assert len(first) == 2
    assert [wanted - set(re.findall(r"\b([A-Z_]+)=", text)) for text in first] == [set(), set()]


@pytest.mark.parametrize("words", list_typed("docker", "service"), ids=" ".join)
def test_a_service_of_the_stack_exists(words: list[str]) -> None:
    assert words[0] in {"update", "rollback", "ps", "logs", "scale"}
    assert words[-1].removeprefix("orchestrator_") in STACK


@pytest.mark.parametrize("words", list_typed("kubectl"), ids=" ".join)
def test_kubectl_is_given_folders_files_and_names_that_exist(words: list[str]) -> None:
    for option, value in pairwise(words):
        assert option != "-k" or (ROOT / value / "kustomization.yaml").is_file(), value
        assert option != "-f" or (ROOT / value).is_file(), value
    manifests = "".join(path.read_text() for path in (ROOT / "deploy" / "kubernetes").rglob("*.yaml"))
    for word in words:
        kind, slash, name = word.partition("/")
        if slash and kind in OBJECTS:
            assert re.search(rf"^  name: {re.escape(name)}$", manifests, re.MULTILINE), word


def test_the_image_of_the_dev_overlay_is_built_where_it_is_tried() -> None:
    overlay = yaml.safe_load((ROOT / "deploy/kubernetes/overlays/dev/kustomization.yaml").read_text())
    name = "{newName}:{newTag}".format_map(overlay["images"][0])
    tried = [text for _, text in list_blocks() if "apply -k deploy/kubernetes/overlays/dev" in text]
    assert len(tried) == 3
    for text in tried:
        assert f"docker build --tag {name} ." in text
        assert f"kind load docker-image {name}" in text


def test_scripts_that_are_called_exist() -> None:
    called = {
        word for _, text in list_blocks() for words in split_lines(text) for word in words if word.endswith(".sh")
    }
    assert len(called) >= 3
    assert {script for script in called if not (ROOT / script).is_file()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_to_what_is_there(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, link
