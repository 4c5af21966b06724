"""`deploy/kubernetes` held against kustomize, the API's schemas, trivy, promtool and the processes that it starts."""

import json
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.kubernetes_cast import PROBES, make_pods, run_cluster
from tests.kustomize import KUBERNETES, OVERLAYS, Manifest, find, pod_of, render
from tests.servers import find_free_port

# The package is of the extra `deploy`, which type checking does without.
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="make test-deploy installs kubernetes-validate")
overlays = pytest.mark.parametrize("overlay", OVERLAYS)
API_VERSIONS = ("1.28", "1.37")
START_SECONDS = 60
ROLES = ("orchestrator", "worker", "sequencer")


def find_kustomize() -> list[str]:
    """Return the command that builds a folder."""
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]):
            return command
    pytest.skip("Not run here: no Debian package has a kustomize that is new enough; take kubectl of your cluster")


def order(manifests: list[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda manifest: (manifest["kind"], manifest["metadata"]["name"]))


@overlays
def test_kustomize_builds_what_the_rules_look_at(overlay: str) -> None:
    folder = KUBERNETES / "overlays" / overlay
    built = subprocess.run([*find_kustomize(), folder], capture_output=True, text=True, check=True)
    assert built.stderr == ""
    assert order(list(yaml.safe_load_all(built.stdout))) == order(render(overlay))


@overlays
@pytest.mark.parametrize("version", API_VERSIONS)
def test_every_document_is_one_that_the_api_takes(overlay: str, version: str) -> None:
    for manifest in render(overlay):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_field_that_the_api_does_not_know_is_found() -> None:
    manifest = {**render("dev")[0], "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, API_VERSIONS[-1], strict=True)


def scan(folder: Path) -> dict[str, set[str]]:
    """Return what trivy finds in each file, but for what it was told to let be."""
    trivy = Path(sys.executable).with_name("trivy")
    options = ["--quiet", "--skip-check-update", "--format=json", f"--ignorefile={KUBERNETES / '.trivyignore'}"]
    done = subprocess.run([trivy, "config", *options, folder], capture_output=True, text=True, check=True)
    results: list[dict[str, Any]] = json.loads(done.stdout)["Results"]
    return {
        result["Target"]: {f"{one['ID']} {one['Message']}" for one in result.get("Misconfigurations", ())}
        for result in results
    }


def test_trivy_finds_nothing_but_what_was_made_wrong(tmp_path: Path) -> None:
    for overlay in OVERLAYS:
        (tmp_path / f"{overlay}.yaml").write_text(yaml.safe_dump_all(render(overlay)))
    wrong = yaml.safe_dump_all(render("production")).replace("readOnlyRootFilesystem: true", "privileged: true")
    (tmp_path / "wrong.yaml").write_text(wrong)
    found = scan(tmp_path)
    assert any("privileged" in finding for finding in found.pop("wrong.yaml"))
    assert found == {f"{overlay}.yaml": set() for overlay in OVERLAYS}


def test_prometheus_takes_the_job(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not there: apt-get install prometheus")
    text = (KUBERNETES / "monitoring" / "scrape.yml").read_text()
    config = yaml.safe_load(text)
    assert config["scrape_configs"][0].pop("kubernetes_sd_configs")  # Debian builds Prometheus without it
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = ["promtool", "check", "config", tmp_path / "prometheus.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_rendered_roles_start_answer_their_probes_and_end_in_time(tmp_path: Path) -> None:
    with run_cluster(tmp_path) as cluster, ExitStack() as ending:
        (migrate,) = make_pods(cluster, "migrate")
        roles = {name: make_pods(cluster, name) for name in ROLES}
        for pod in (migrate, *(pod for pods in roles.values() for pod in pods)):
            ending.callback(pod.kill)

        waiting = roles["worker"][0].start()
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(3)
        assert migrate.start().wait(START_SECONDS) == 0, migrate.log()

        running = [roles[name][-1].start() for name in ROLES]
        assert waiting.wait(START_SECONDS) == 0, waiting.log()
        for pod in running:
            for probe in PROBES:
                pod.wait_until(probe, START_SECONDS)
        for pod in running:
            assert pod.process is not None
            pod.process.terminate()
        for pod in running:
            assert pod.wait(pod.grace_seconds) == 0, pod.log()


def test_redis_of_the_dev_overlay_wants_its_password_and_forgets_nothing(tmp_path: Path) -> None:
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not there: apt-get install redis-server")
    (container,) = pod_of(find("dev", "StatefulSet")["redis"])["containers"]
    port = str(find_free_port())
    (tmp_path / "redis-password").write_text("a-password")
    moved = {
        "/run/secrets/stores": str(tmp_path),
        "/tmp/password.conf": f"{tmp_path}/password.conf",
        "--dir /data": f"--dir {tmp_path} --port {port}",
        "redis-cli": f"redis-cli -p {port}",
    }

    def here(words: list[str]) -> list[str]:
        return [reduce(lambda word, pair: word.replace(*pair), moved.items(), word) for word in words]

    def say(*words: str) -> str:
        return subprocess.run(["redis-cli", "-p", port, *words], capture_output=True, text=True, check=False).stdout

    server = subprocess.Popen(here([*container["command"], *container["args"]]), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(here(container["readinessProbe"]["exec"]["command"]), check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "NOAUTH" in say("ping")
        login = ("--no-auth-warning", "-a", "a-password", "config", "get")
        assert say(*login, "maxmemory-policy").split() == ["maxmemory-policy", "noeviction"]
        assert say(*login, "appendonly").split() == ["appendonly", "yes"]
        assert "a-password" not in Path(f"/proc/{server.pid}/cmdline").read_text()
    finally:
        server.terminate()
        assert server.wait(10) == 0
