"""The pods of `overlays/dev` as processes of this machine: the rendered commands, settings, volumes and probes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx2
import redis

from tests.kustomize import KUBERNETES, Manifest, pod_of, render
from tests.running import ROOT
from tests.servers import find_free_port, run_mongodb, run_postgres, run_valkey

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
# What the script asks the cluster for, done with folders: it finds nothing, and keeps what it is given.
KUBECTL = """#!/bin/sh
case "$*" in
    *" get secret "*) exit 1 ;;
    *" create secret generic "*) cp -r "${7#--from-file=}" "$SECRETS/$6" ;;
    *) exit 2 ;;
esac
"""


class Cluster:
    """Servers in the place of the StatefulSets, and Secrets by `make-secrets.sh`, below `folder`."""

    def __init__(self, folder: Path, stores: dict[str, str]) -> None:
        self.folder = folder
        self._stores = stores  # address, by the setting that names it in the manifests
        self.secrets = folder / "secrets"
        self._make_secrets()

    def _make_secrets(self) -> None:
        self.secrets.mkdir()
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "kubectl").write_text(KUBECTL)
        (programs / "kubectl").chmod(0o755)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SECRETS": str(self.secrets)}
        subprocess.run([KUBERNETES / "make-secrets.sh", "dev"], env=environment, check=True, capture_output=True)
        mongodb = urlsplit(self._stores["DATABASE_URL"]).password or ""
        for name in ("mongo-password", "mongo-archive-password"):  # the embedded server has one user
            (self.secrets / "orchestrator-stores" / name).write_text(mongodb)
        password = (self.secrets / "orchestrator-stores" / "redis-password").read_text()
        with redis.Redis.from_url(self._stores["REDIS_URL"]) as client:
            client.config_set("requirepass", password)

    def address(self, name: str, url: str) -> str:
        """Return a store's address as the manifests write it, at the server that runs here."""
        asked = urlsplit(url)
        assert asked.password is None
        assert asked.hostname in {"postgres", "mongo", "redis"}
        here = urlsplit(self._stores[name.replace("_ARCHIVE", "")])
        user = f"{here.username}@" if here.username else ""
        path = here.path if asked.hostname == "postgres" else asked.path
        query = asked.query.replace("authSource=orchestrator", "authSource=admin")
        return urlunsplit((asked.scheme, f"{user}127.0.0.1:{here.port}", path, query, ""))


@contextmanager
def run_cluster(folder: Path) -> Iterator[Cluster]:
    """Run what the dev overlay has StatefulSets for."""
    with run_postgres() as postgres, run_valkey() as valkey, run_mongodb(auth=True) as mongodb:
        urls = {"STATE_DATABASE_URL": postgres, "REDIS_URL": valkey, "DATABASE_URL": mongodb.uri_file.read_text()}
        yield Cluster(folder, urls)


class Pod:
    """One container of a workload, as a process that sees its own volumes only."""

    def __init__(self, cluster: Cluster, workload: Manifest, container: Manifest) -> None:
        name = f"{workload['metadata']['name']}-{container['name']}"
        self._cluster = cluster
        self._folder = cluster.folder / name
        self._container = container
        self._volumes = {volume["name"]: volume for volume in pod_of(workload)["volumes"]}
        self._places = {mount["mountPath"]: self._mount(mount) for mount in container["volumeMounts"]}
        self._output = cluster.folder / f"{name}.log"
        self.ports = {port["name"]: find_free_port() for port in container.get("ports", ())}
        self.grace_seconds: int = pod_of(workload).get("terminationGracePeriodSeconds", 30)
        self.process: subprocess.Popen[bytes] | None = None

    def _mount(self, mount: Manifest) -> Path:
        """Make what a volume shows: the items of a Secret, a claim's folder, or a folder of its own."""
        volume = self._volumes[mount["name"]]
        if "persistentVolumeClaim" in volume:
            place = Path(self._cluster.folder, "claims", volume["persistentVolumeClaim"]["claimName"])
            place.mkdir(parents=True, exist_ok=True)
            return place
        place = Path(self._folder, mount["name"])
        place.mkdir(parents=True)
        for item in volume.get("secret", {}).get("items", ()):
            text = (self._cluster.secrets / volume["secret"]["secretName"] / item["key"]).read_bytes()
            (place / item["path"]).write_bytes(text)
        return place

    def _environment(self) -> dict[str, str]:
        maps = {m["metadata"]["name"]: m["data"] for m in render("dev") if m["kind"] == "ConfigMap"}
        values: dict[str, str] = {}
        for source in self._container["envFrom"]:
            values |= maps[source["configMapRef"]["name"]]
        values |= {pair["name"]: pair["value"] for pair in self._container.get("env", ())}
        values = {name: self._translate(name, value) for name, value in values.items()}
        return values | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "TMPDIR": str(self._places["/tmp"])}

    def _translate(self, name: str, value: str) -> str:
        """Return a setting as it is on this machine: addresses of stores, paths of volumes, ports."""
        if "DATABASE" in name or name == "REDIS_URL":
            return self._cluster.address(name, value)
        if name in {"PORT", "METRICS_PORT"}:
            return str(self.ports.get("http" if name == "PORT" else "metrics", value))
        if name == "SHUTDOWN_DRAIN_SECONDS":
            return "1"  # no proxy has to learn anything here
        for path, place in self._places.items():
            if value == path or value.startswith(f"{path}/"):
                return f"{place}{value.removeprefix(path)}"
        return value

    def start(self) -> "Pod":
        """Start what the container starts."""
        entry = [sys.executable, "/app/manage.py"]  # tini stands before it in the image
        command = self._container.get("command") or [*entry, *self._container["args"]]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [word.replace("/app/", f"{ROOT}/") for word in command],
                env=self._environment(),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    def wait(self, timeout_seconds: float) -> int:
        """Return the exit code."""
        assert self.process is not None
        return self.process.wait(timeout_seconds)

    def ask(self, probe: str) -> int:
        """Return the status that the kubelet would get, 0 if nobody answers."""
        asked = self._container[probe]["httpGet"]
        port = self.ports[asked["port"]]
        headers = {"Host": f"10.244.0.7:{port}"}  # the kubelet names the pod's address, unless told otherwise
        headers |= {header["name"]: header["value"] for header in asked.get("httpHeaders", ())}
        patience = self._container[probe]["timeoutSeconds"]
        try:
            return httpx2.get(f"http://127.0.0.1:{port}{asked['path']}", headers=headers, timeout=patience).status_code
        except httpx2.HTTPError:
            return 0

    def wait_until(self, probe: str, timeout_seconds: float) -> None:
        """Wait until a probe is answered well."""
        deadline = time.monotonic() + timeout_seconds
        while (status := self.ask(probe)) != 200:
            assert self.process is not None
            assert self.process.poll() is None, f"{self._output.name}: {self.log()}"
            assert time.monotonic() < deadline, f"{self._output.name}: {probe} says {status}\n{self.log()}"
            time.sleep(0.1)

    def log(self) -> str:
        """Return what it printed last."""
        return self._output.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """End it at once if it still runs, with what it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait(10)


def make_pods(cluster: Cluster, name: str) -> list[Pod]:
    """Return a workload's containers in the order in which they are started, its own last."""
    (workload,) = (m for m in render("dev") if m["metadata"]["name"] == name and pod_of(m))
    pod = pod_of(workload)
    return [Pod(cluster, workload, each) for each in (*pod.get("initContainers", ()), *pod["containers"])]
