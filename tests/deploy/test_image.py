"""The image: what is in it, what is not, and that each role runs in it as an engine would run it."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from orchestrator_site.preflight import BASE_DIR
from tests.deploy.image_cast import NAME, USER, BuiltImage, RunningContainer, buildah, list_layers
from tests.servers import find_free_port, run_mongodb, run_postgres, run_valkey

MAX_LAYERS_BYTES: Final = 250_000_000
MAX_CONTEXT_BYTES: Final = 8_000_000
READY_SECONDS: Final = 40.0
PROBE: Final = ("python", "-I", "-S", "/app/orchestrator_site/probe.py")
PROGRAMS: Final = Path(sys.executable).parent
_FIND_UNCOMPILED: Final = """
import os, sys, django
django.setup()
import orchestrator_site.asgi, orchestrator_site.urls, agents.worker, openai, psycopg
found = [m.__spec__ for m in list(sys.modules.values()) if getattr(m, "__spec__", None)]
print(sorted(s.origin for s in found if (s.origin or "").endswith(".py") and not os.path.exists(s.cached)))
"""


# --- the file, and what goes into it --------------------------------------------------------------------------
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([PROGRAMS / "hadolint", BASE_DIR / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_trivy_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_bytes((BASE_DIR / "Dockerfile").read_bytes())
    report = trivy("config", "--skip-check-update", "--include-non-failures", str(tmp_path))
    [found] = report["Results"]
    assert found["MisconfSummary"]["Failures"] == 0, found["Misconfigurations"]
    assert found["MisconfSummary"]["Successes"] > 20


def test_the_context_holds_only_what_the_image_needs(built_image: BuiltImage, tmp_path: Path) -> None:
    (tmp_path / "Context").write_text("FROM scratch\nCOPY . /\n")
    ignored = str(BASE_DIR / ".dockerignore")
    buildah("build", "--quiet", "--file", str(tmp_path / "Context"), "--ignorefile", ignored, "--tag", "context", ".")
    container = buildah("from", "--quiet", "--pull-never", "context").strip()
    try:
        root = Path(buildah("mount", container).strip())
        files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        assert {path.parts[0] for path in files} == {
            "agents", "audit", "deploy", "examples", "manage.py", "orchestrator_site", "requirements-tracing.lock",
            "templates", "toolgate",
        }  # fmt: skip
        assert not [path for path in files if "__pycache__" in path.parts]
        assert sum((root / path).stat().st_size for path in files) < MAX_CONTEXT_BYTES
    finally:
        buildah("rm", container)
        buildah("rmi", "--force", "context")


# --- what the image is ----------------------------------------------------------------------------------------
def test_it_says_who_runs_what(built_image: BuiltImage) -> None:
    config = built_image.inspect()
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["tini", "--", "python", "/app/manage.py"]
    assert config["Cmd"] == ["serve", "--only", "web", "--host", "0.0.0.0"]
    assert list(config["Volumes"]) == ["/var/lib/orchestrator"]
    assert set(config["ExposedPorts"]) == {"3000/tcp", "9464/tcp"}
    assert config["Healthcheck"]["Test"] == ["CMD", *PROBE, "http://127.0.0.1:9464/health"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == "orchestrator"
    assert (labels["version"], labels["revision"], labels["created"]) == ("0.1.0", "test", "2026-01-01T00:00:00Z")
    assert not [line for line in config["Env"] if re.match(r"[A-Z_]*(KEY|PASSWORD|SECRET|TOKEN|_URL)=", line)]


def test_its_layers_are_small(built_image: BuiltImage) -> None:
    layers = list_layers(NAME)
    assert len(layers) > 3
    assert sum(layers[1:]) <= MAX_LAYERS_BYTES, layers  # the first is the base


def test_it_has_neither_tools_nor_what_is_only_read_here(built_image: BuiltImage, volume: Path) -> None:
    root = built_image.root
    assert sorted(path.name for path in (root / "app").iterdir()) == [
        "agents", "audit", "examples", "manage.py", "orchestrator_site", "staticfiles", "templates", "toolgate",
    ]  # fmt: skip
    script = "for name in pip pip3 gcc cc ld strip curl wget git; do command -v $name; done; python -m pip"
    done = built_image.run(["sh", "-c", script], var=volume, raw=True)
    assert (done.stdout, "No module named pip" in done.stderr) == ("", True)
    assert not list((root / "opt/venv").rglob("secantusdb*"))  # GPL-2.0-only, and not for production
    assert not [name for name in ("etc/pip.conf", "root/.cache", "root/.config", "tmp/requirements-tracing.lock")
                if (root / name).exists()]  # fmt: skip


def test_trivy_finds_no_secret_in_it(built_image: BuiltImage, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.write_text("token = 'ghp_" + "a1B2" * 9 + "'\n")
    assert trivy("rootfs", "--scanners", "secret", str(tmp_path))["Results"]  # it would find one
    for folder in ("app", "etc"):
        report = trivy("rootfs", "--scanners", "secret", str(built_image.root / folder))
        assert not report.get("Results"), report["Results"]


def test_its_static_files_are_hashed_and_packed(built_image: BuiltImage) -> None:
    static = built_image.root / "app/staticfiles"
    names = json.loads((static / "staticfiles.json").read_text())["paths"]
    assert {"console/console.css", "console/page.js"} <= set(names)
    served = [hashed for name, hashed in names.items() if not name.endswith(".map")]
    assert not [name for name in served if not (static / name).exists()]
    assert (static / f"{names['console/console.css']}.gz").exists()
    assert not (static / "console/console.css").exists()


def test_every_module_that_a_role_imports_is_compiled(built_image: BuiltImage, volume: Path) -> None:
    env = {"SECRET_KEY": "s" * 50, "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings"}
    done = built_image.run(["python", "-c", _FIND_UNCOMPILED], var=volume, env=env, raw=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


# --- how it runs ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            [],
            "serve: --only web shares its stores with other processes: set DATABASE_URL, STATE_DATABASE_URL, REDIS_URL",
        ),
        (["serve"], "serve: the embedded MongoDB is not installed"),
    ],
)
def test_alone_it_ends_with_one_line_that_says_what_it_needs(
    built_image: BuiltImage, volume: Path, arguments: list[str], line: str
) -> None:
    done = built_image.run(arguments, var=volume)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_it_is_nobody_who_can_write_nothing_but_the_volume(built_image: BuiltImage, volume: Path) -> None:
    places = "/app/x /opt/x /etc/x /x /var/tmp/x /tmp/x $ORCHESTRATOR_VAR/x"
    script = f"id -u; id -G; find /app /opt ! -readable; for f in {places}; do touch $f && echo $f; done"
    done = built_image.run(["sh", "-c", script], var=volume, raw=True)
    assert done.stdout.split() == [str(USER), str(USER), "/tmp/x", "/var/lib/orchestrator/x"]
    assert done.stderr.count("Read-only file system") == 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The four roles over real stores; `prepared` is what `prepare` ended with."""

    web: RunningContainer
    worker: RunningContainer
    sequencer: RunningContainer
    port: int
    own: dict[str, int]  # port of metrics and probes by role
    env: dict[str, str]
    var: Path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A folder as an engine makes a volume: of the image's user, for nobody else."""
    return make_volume(tmp_path)


def make_volume(folder: Path) -> Path:
    var = folder / "volume"
    var.mkdir(mode=0o700)
    os.chown(var, USER, USER)
    return var


@pytest.fixture(scope="module")
def fleet(built_image: BuiltImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Prepare the stores and start web, worker and sequencer, all from the image."""
    var, port = make_volume(tmp_path_factory.mktemp("fleet")), find_free_port()
    with ExitStack() as stack:
        env = {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "STATE_DATABASE_URL": stack.enter_context(run_postgres()),
            "DATABASE_URL": stack.enter_context(run_mongodb()).uri_file.read_text() + "&w=majority&journal=true",
            "REDIS_URL": stack.enter_context(run_valkey()),
            "PORT": str(port),
        }
        done = built_image.run(["prepare"], var=var, env=env)
        assert done.returncode == 0, done.stderr
        own = {name: find_free_port() for name in ("web", "worker", "sequencer")}
        started = {
            name: stack.enter_context(
                built_image.start([] if name == "web" else [name], var=var, env=env | {"METRICS_PORT": str(own_port)})
            )
            for name, own_port in own.items()
        }
        wait_for_ready(port, started["web"])
        yield Fleet(**started, port=port, own=own, env=env, var=var)


def test_the_web_answers_its_probes(built_image: BuiltImage, fleet: Fleet) -> None:
    url = f"http://127.0.0.1:{fleet.port}"
    assert httpx2.get(f"{url}/health").json()["status"] == "healthy"
    assert httpx2.get(f"{url}/ready").json()["ready"] is True
    for path, code in (("/health", 0), ("/ready", 0), ("/nothing", 1)):
        done = built_image.run([*PROBE, url + path], var=fleet.var, raw=True)
        assert done.returncode == code, done.stderr
    page = httpx2.get(f"{url}/accounts/login/")
    [style] = re.findall(r'href="(/static/console/console\.[0-9a-f]{12}\.css)"', page.text)
    assert httpx2.get(url + style).headers["Cache-Control"] == "max-age=315360000, public, immutable"


def test_the_worker_runs_a_task_to_its_end(built_image: BuiltImage, fleet: Fleet) -> None:
    done = built_image.run(["issue_token", "image", "--scopes", "all"], var=fleet.var, env=fleet.env)
    assert done.returncode == 0, done.stderr
    client = httpx2.Client(
        base_url=f"http://127.0.0.1:{fleet.port}/api", headers={"Authorization": f"Bearer {done.stdout.split()[-1]}"}
    )
    order = {"filePath": "examples/stock.json", "format": "json", "extractEntities": False}
    body = {"agentId": "data-extraction-agent", "skillId": "documentParser", "input": order}
    task = client.post("/tasks", json=body).json()["taskId"]
    give_up_at = time.monotonic() + 20
    while (found := client.get(f"/tasks/{task}").json())["status"] in {"queued", "running"}:
        assert time.monotonic() < give_up_at, fleet.worker.log.read_text()
        time.sleep(0.1)
    assert found["status"] == "succeeded", found


@pytest.mark.parametrize("role", ["web", "worker", "sequencer"])
def test_each_role_passes_the_images_own_health_check(built_image: BuiltImage, fleet: Fleet, role: str) -> None:
    _, *command = built_image.inspect()["Healthcheck"]["Test"]
    asked = [word.replace("9464", str(fleet.own[role])) for word in command]  # the machine's ports are shared here
    done = built_image.run(asked, var=fleet.var, raw=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_doctor_finds_nothing_broken(built_image: BuiltImage, fleet: Fleet) -> None:
    apart = {"PORT": str(find_free_port())}  # as in a container, whose ports are its own
    done = built_image.run(["doctor"], var=fleet.var, env=fleet.env | apart)
    assert done.returncode == 1, done.stderr  # warnings: no vendor has a key, and nothing serves on that port
    assert ", 0 problems, " in done.stdout.splitlines()[-1], done.stdout


def test_each_role_is_the_images_user_and_ends_when_it_is_told_to(fleet: Fleet) -> None:
    for role in (fleet.worker, fleet.sequencer, fleet.web):  # the last test: it ends them
        first = Path(f"/proc/{role.find_first()}")
        assert first.stat().st_uid == USER
        assert (first / "comm").read_text().strip() == "tini"
        assert role.stop() == 0, role.log.read_text()[-2000:]
        assert "Traceback" not in role.log.read_text()


def wait_for_ready(port: int, web: RunningContainer) -> None:
    give_up_at = time.monotonic() + READY_SECONDS
    while True:
        assert web.process.poll() is None, web.log.read_text()[-2000:]
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/ready", timeout=2).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        assert time.monotonic() < give_up_at, web.log.read_text()[-2000:]
        time.sleep(0.1)


def trivy(*arguments: str) -> dict[str, Any]:
    """Return what trivy reports; in a network of its own, so that it asks nobody."""
    quiet = ("--quiet", "--format", "json", "--skip-version-check", "--disable-telemetry")
    command = ["unshare", "--net", PROGRAMS / "trivy", arguments[0], *quiet, *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
