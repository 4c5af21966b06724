"""docker-compose.yml in real containers: the order it comes up in, the guide's commands, how little each may do.

Not run here, for want of a registry and an engine: MongoDB's own image and `mongosh`, Grafana, limits of processor and
memory, Docker's networks (Podman's take their place), `docker stack deploy`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator_site.preflight import BASE_DIR
from tests.deploy.compose_cast import Installation, read_env
from tests.deploy.image_cast import BuiltImage, buildah
from tests.deploy.podman_cast import run_podman, wait_until

OURS = ("orchestrator", "worker", "sequencer")
RUNNING = (*OURS, "postgres", "mongo", "redis", "prometheus", "alertmanager")
ORDER = {
    "agentId": "data-extraction-agent", "skillId": "documentParser",
    "input": {"filePath": "examples/stock.json", "format": "json", "extractEntities": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def own_image(built_image: BuiltImage) -> Iterator[BuiltImage]:
    """Give the image's files, mounted for this module alone."""
    name = f"orchestrator-compose-{os.getpid()}"
    buildah("from", "--quiet", "--pull-never", "--name", name, built_image.name)
    yield replace(built_image, root=Path(buildah("mount", name).strip()))
    with suppress(RuntimeError):
        buildah("rm", name)


@pytest.fixture(scope="module")
def installed(own_image: BuiltImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Bring everything up, in the order that the file gives."""
    folder = tmp_path_factory.mktemp("compose")
    with run_podman(folder) as podman:
        installation = Installation(podman, own_image, folder)
        installation.up()
        yield installation


@pytest.fixture(scope="module")
def token(installed: Installation) -> str:
    """Make a token as the guide does, in the container."""
    scopes = "agents:read,tasks:read,tasks:write,audit:read"
    words = ["python", "/app/manage.py", "issue_token", "guide", "--scopes", scopes]
    return installed.execute("orchestrator-1", *words).split()[-1]


def curl(installed: Installation, path: str, *options: str, token: str = "") -> Any:
    """Ask the published port, as somebody at this machine would."""
    login = ["-H", f"Authorization: Bearer {token}"] if token else []
    return json.loads(
        installed.podman.inside("curl", "-sS", "-m", "20", *login, *options, f"http://127.0.0.1:3000{path}")
    )


def test_the_guides_own_commands_work(installed: Installation, token: str) -> None:
    assert curl(installed, "/health")["status"] == "healthy"
    wait_until("ready", lambda: curl(installed, "/ready").get("ready"))
    assert len(curl(installed, "/api/agents", token=token)["results"]) == 11
    body = ["-H", "Content-Type: application/json", "-d", json.dumps(ORDER)]
    task = curl(installed, "/api/tasks", *body, token=token)["taskId"]
    ended = ("succeeded", "failed")
    wait_until("the task ends", lambda: curl(installed, f"/api/tasks/{task}", token=token)["status"] in ended)
    assert curl(installed, f"/api/tasks/{task}", token=token)["status"] == "succeeded"
    trail = f"/api/audit?limit=20&taskId={task}"
    wait_until("the trail has it", lambda: len(curl(installed, trail, token=token)["results"]) >= 4)
    verified = installed.execute("orchestrator-1", "python", "/app/manage.py", "verify_audit")
    assert "OK: the log holds" in verified


def test_prometheus_finds_every_replica_by_its_name(installed: Installation) -> None:
    installed.start("worker", number=2)  # docker compose up --scale worker=2
    installed.wait_healthy("worker", number=2)
    query = "http://127.0.0.1:9090/api/v1/query?query=count%20by%20(job)(up==1)"

    def count() -> dict[str, str]:
        found = json.loads(installed.podman.inside("curl", "-sS", query))["data"]["result"]
        return {row["metric"]["job"]: row["value"][1] for row in found}

    wanted = {"orchestrator-web": "1", "orchestrator-worker": "2", "orchestrator-sequencer": "1"}
    wait_until("three jobs are scraped", lambda: count() == wanted, seconds=50)


@pytest.mark.parametrize("name", RUNNING)
def test_no_container_has_rights_or_a_root_that_it_could_write(installed: Installation, name: str) -> None:
    status = installed.execute(f"{name}-1", "cat", "/proc/1/status")
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(found["CapBnd"], 16) == int(found["CapEff"], 16) == 0
    assert found["NoNewPrivs"] == "1"
    assert found["Uid"].split()[0] != "0"
    assert not installed.podman.succeeds(f"{name}-1", "touch", "/etc/x")
    assert not installed.podman.succeeds(f"{name}-1", "touch", "/x")


@pytest.mark.parametrize("name", RUNNING)
def test_only_who_calls_vendors_has_a_way_out(installed: Installation, name: str) -> None:
    routes = installed.execute(f"{name}-1", "cat", "/proc/net/route")
    leaves = any(line.split()[1] == "00000000" for line in routes.splitlines()[1:])
    # Podman has no switch for masquerading: what `published` is for is left to Docker.
    assert leaves == (name in {"orchestrator", "worker", "prometheus"})


def test_no_port_is_open_but_those_of_people(installed: Installation) -> None:
    def is_open(port: int) -> bool:
        connect = 'curl -s -m 2 -o /dev/null "http://127.0.0.1:$1/"; echo $?'
        return installed.podman.inside("sh", "-c", connect, "sh", str(port)) != "7\n"  # refused

    assert {port for port in (3000, 9090, 5432, 27017, 6379, 9093, 9464) if is_open(port)} == {3000, 9090}


@pytest.mark.parametrize("name", [*OURS, "migrate", "postgres", "redis"])
def test_no_secret_is_in_what_the_engine_knows_of_a_container(installed: Installation, name: str) -> None:
    known = installed.podman.podman("inspect", f"{name}-1")
    secrets = [path.read_text().strip() for path in installed.secrets.iterdir()]
    assert not [secret for secret in secrets if secret and secret in known]


def test_redis_refuses_to_forget_and_to_be_changed(installed: Installation) -> None:
    ask = 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" redis-cli "$@"'
    assert "maxmemory_policy:noeviction" in installed.execute("redis-1", "sh", "-c", ask, "sh", "info", "memory")
    assert "aof_enabled:1" in installed.execute("redis-1", "sh", "-c", ask, "sh", "info", "persistence")
    for words in (["config", "get", "*"], ["flushall"], ["shutdown"], ["acl", "list"]):
        assert "NOPERM" in installed.execute("redis-1", "sh", "-c", ask, "sh", *words)
    assert "NOAUTH" in installed.execute("redis-1", "redis-cli", "ping")


def test_postgres_gives_the_application_a_role_that_owns_its_database_only(installed: Installation) -> None:
    query = "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    url = f"postgres://orchestrator:{installed.secret('postgres_password')}@{installed.address('postgres-1')}/orchestrator"
    assert installed.podman.inside("psql", "-Atc", query, url) == "f|f|f|f\n"
    wrong = url.replace(installed.secret("postgres_password"), "wrong")
    assert installed.podman.inside("psql", "-Atc", "SELECT 1", wrong, check=False) == ""


def test_mongodb_gives_each_login_its_own_rights(installed: Installation) -> None:
    program = [sys.executable, str(BASE_DIR / "tests/deploy/stand_ins/mongo_rights.py")]
    said = installed.podman.inside(*program, installed.address("mongo-1"), str(installed.secrets))
    assert json.loads(said) == {
        "orchestrator": [True, False],
        "orchestrator_archive": [True, True],
        "nobody": [False, False],
    }


def test_what_is_told_to_end_ends_well_and_in_time(installed: Installation) -> None:
    installed.start("worker", number=3)
    installed.wait_healthy("worker", number=3)
    installed.podman.podman("stop", "--time=30", "worker-3")
    assert installed.podman.podman("inspect", "--format={{.State.ExitCode}}", "worker-3").strip() == "0"


def test_with_the_code_mounted_a_change_starts_the_process_anew(installed: Installation, tmp_path: Path) -> None:
    for name in ("agents", "audit", "orchestrator_site", "templates", "toolgate"):
        shutil.copytree(BASE_DIR / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "static"))
    subprocess.run(["chmod", "-R", "go=rX", str(tmp_path)], check=True)
    installed.override(BASE_DIR / "deploy/compose/dev.yml", code=tmp_path)
    container = installed.start("sequencer", number=2)
    installed.wait_healthy("sequencer", number=2)
    with (tmp_path / "audit" / "sequencer.py").open("a") as file:
        file.write("# changed\n")
    wait_until(
        "it starts anew", lambda: "change detected" in installed.log(container), say=lambda: installed.log(container)
    )
    installed.wait_healthy("sequencer", number=2)


def test_compose_files_fit_the_specification() -> None:
    program = [str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    files = ["docker-compose.yml", "deploy/compose/dev.yml", "deploy/swarm/stack.yml"]
    subprocess.run([*program, *files], cwd=BASE_DIR, check=True, stdout=subprocess.DEVNULL)


def test_another_compose_reads_the_file_and_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("docker-compose.yml", ".env.example", "Dockerfile"):
        (tmp_path / name).write_text((BASE_DIR / name).read_text())
    command = ["podman-compose", "--dry-run", "-f", "docker-compose.yml", "up", "--no-start"]
    plain = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    done = subprocess.run(command, cwd=tmp_path, env=plain, check=False, capture_output=True, text=True)
    assert done.returncode
    assert "copy .env.example to .env" in done.stderr
    (tmp_path / ".env").write_text((tmp_path / ".env.example").read_text())
    done = subprocess.run(command, cwd=tmp_path, env=plain, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_env(tmp_path / ".env")["ORCHESTRATOR_IMAGE"] in done.stderr + done.stdout
