"""docker-compose.yml brought up service by service in real containers, with the images that this machine can have.

What the file says of a service is handed to podman: command, user, environment, secrets, networks, ports, rights.
Ours is the built image. PostgreSQL is the wheel's, Redis, Prometheus and Alertmanager are Debian's, MongoDB is the
embedded one. Grafana there is none of. Limits of processor and memory, MongoDB's own image and `mongosh` are not run.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from orchestrator_site.embedded import EmbeddedMongo
from orchestrator_site.preflight import BASE_DIR
from tests.deploy.image_cast import BuiltImage
from tests.deploy.podman_cast import Podman, wait_until
from tests.deploy.standing_cast import STAND_INS, Standing, find_images
from tests.servers import package_folder

NOT_HERE: Final = {"grafana"}
_NODE: Final = ("playwright", "driver", "node")


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with its variables put in, as Compose does.

    Raises: KeyError with the file's own words if one is missing that must be set.
    """

    def put(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        value = values.get(found["name"], "")
        if not value and found["kind"] == ":?":
            raise KeyError(f"{found['name']}: {found['rest']}")
        return value or (found["rest"] if found["kind"] == ":-" else "")

    return re.sub(r"(?P<dollar>\$\$)|\$\{(?P<name>\w+)(?P<kind>:[?-])?(?P<rest>[^}]*)\}", put, text)


def read_env(path: Path) -> dict[str, str]:
    """Return what an `.env` file sets."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


class Installation:
    """One installation in `folder`, which has the `.env` and the secrets that a person would make."""

    def __init__(self, podman: Podman, image: BuiltImage, folder: Path) -> None:
        self.podman = podman
        self.folder = folder
        shutil.copy(BASE_DIR / ".env.example", folder / ".env")
        self.secrets = folder / "secrets"
        make = ["sh", str(BASE_DIR / "deploy/compose/make-secrets.sh"), str(self.secrets)]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        self.env = read_env(folder / ".env") | {"SECRETS_DIR": str(self.secrets)}
        document = yaml.safe_load(interpolate((BASE_DIR / "docker-compose.yml").read_text(), self.env))
        self.services: dict[str, dict[str, Any]] = document["services"]
        self._document = document
        self._images = find_images(self.services, image, podman.debian)
        for name, network in document["networks"].items():
            podman.podman("network", "create", *["--internal"] * bool((network or {}).get("internal")), name)

    def secret(self, name: str) -> str:
        """Return a secret that was made."""
        return (self.secrets / f"{name}.txt").read_text().strip()

    # --- up ---------------------------------------------------------------------------------------------------
    def up(self) -> None:
        """Start every service once what it waits for is as it should be, as `docker compose up` does."""
        waiting = {name: service for name, service in self.services.items() if name not in NOT_HERE}
        done: set[str] = set()
        while waiting:
            ready = [name for name, service in waiting.items() if set(service.get("depends_on", {})) <= done]
            assert ready, f"these wait for each other: {sorted(waiting)}"
            for name in ready:
                self.start(name)
            for name in ready:
                self.wait_healthy(name)
                done.add(name)
                del waiting[name]

    def start(self, name: str, *, number: int = 1) -> str:
        """Start a container of the service and return its name; one that ends has ended well afterwards."""
        service, container = self.services[name], f"{name}-{number}"
        standing = self._images[service["image"]]
        if name == "mongo":
            self._set_up_mongo(self._volume("mongo", "999:999"))
        root = self.podman.lay(standing.root, container)
        words = ["run", f"--name={container}", *["--detach"] * (service["restart"] != "no")]
        words += self._restrict(service, standing) + self._connect(name, service) + self._mount(service, standing)
        for key, value in ({**standing.env, **self._environment(service)}).items():
            words += ["--env", f"{key}={value}"]
        command = service.get("command") or standing.command
        self.podman.podman(*words, "--rootfs", str(root), *service.get("entrypoint", standing.entrypoint), *command)
        return container

    def override(self, path: Path, *, code: Path) -> None:
        """Lay another file over this one, as a second `-f` does; what it mounts of the code is below `code`."""
        for name, over in yaml.safe_load(path.read_text())["services"].items():
            mounts = [mount.replace("./", f"{code}/", 1) for mount in over.get("volumes", [])]
            service = self.services[name]
            merged = service | over | {"volumes": [*service.get("volumes", []), *mounts]}
            for key in ("networks", "ports"):
                merged[key] = [*service.get(key, []), *over.get(key, [])]
            self.services[name] = merged

    @staticmethod
    def _restrict(service: Mapping[str, Any], standing: Standing) -> list[str]:
        words = [f"--user={service.get('user', standing.user)}", f"--workdir={standing.workdir}"]
        words += [f"--cap-drop={name}" for name in service["cap_drop"]]
        words += [f"--security-opt={option.split(':')[0]}" for option in service["security_opt"]]
        words += ["--read-only", "--read-only-tmpfs=false"] if service["read_only"] else []
        words += [f"--tmpfs={place}" for place in service["tmpfs"]]
        return [*words, f"--stop-signal={service.get('stop_signal', 'SIGTERM')}"]

    @staticmethod
    def _connect(name: str, service: Mapping[str, Any]) -> list[str]:
        return [*(f"--network={network}:alias={name}" for network in service["networks"])] + [
            f"--publish={port}" for port in service.get("ports", ())
        ]

    def _mount(self, service: Mapping[str, Any], standing: Standing) -> list[str]:
        words = [f"{source}:{target}:ro" for source, target in standing.mounts.items()]
        for mount in service.get("volumes", ()):
            source, _, rest = mount.partition(":")
            owned = service.get("user", standing.user)
            where = self._volume(source, owned) if source in self._document["volumes"] else BASE_DIR / source
            words.append(f"{where}:{rest}")
        declared = self._document["secrets"]
        words += [f"{declared[name]['file']}:/run/secrets/{name}:ro" for name in service.get("secrets", ())]
        return [f"--volume={word}" for word in words]

    def _volume(self, name: str, owner: str) -> Path:
        """Return a named volume's folder, which belongs to whom the image's folder belongs."""
        folder = self.folder / "volumes" / name
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o700)
            os.chown(folder, *map(int, owner.split(":")))
        return folder

    def _environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        listed = read_env(self.folder / ".env") if "env_file" in service else {}
        return {**listed, **service.get("environment", {})}

    def _set_up_mongo(self, data: Path) -> None:
        """Do what the image does at its first start: run the script of its users, with no login needed yet."""
        if any(data.iterdir()):
            return
        node = package_folder(_NODE[0]).joinpath(*_NODE[1:])
        program = [str(node), str(STAND_INS / "mongosh.js"), str(BASE_DIR / "deploy/compose/mongo-init.js")]
        places = [str(self.secrets), str(BASE_DIR / "docs/mongodb-roles.json")]
        said = subprocess.run([*program, *places], check=True, capture_output=True, text=True).stdout
        server = EmbeddedMongo(data / "store", self.folder / "mongo.uri", auth=False)
        server.start()
        try:
            apply = [sys.executable, str(STAND_INS / "mongo_commands.py"), str(server.port)]
            subprocess.run(apply, check=True, input=said, text=True)
        finally:
            server.stop()
        for path in [data, *data.rglob("*")]:
            os.chown(path, 999, 999)

    # --- how it is ----------------------------------------------------------------------------------------------
    def wait_healthy(self, name: str, *, number: int = 1) -> None:
        """Wait until the health check of the file passes in the container."""
        if self.services[name]["healthcheck"].get("disable"):
            return  # it has ended, and well
        container = f"{name}-{number}"
        wait_until(
            f"{container} is healthy", lambda: self.is_healthy(name, number=number), say=lambda: self.log(container)
        )

    def is_healthy(self, name: str, *, number: int = 1) -> bool:
        """Say whether the health check of the file passes in the container."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        if name == "mongo":  # there is no mongosh: the same login by another client
            words = [sys.executable, str(STAND_INS / "mongo_login.py"), self.address("mongo-1"), str(self.secrets)]
            return self.podman.inside(*words, check=False) == "ok\n"
        return self.podman.succeeds(f"{name}-{number}", *(words if kind == "CMD" else ["sh", "-c", *words]))

    def log(self, container: str) -> str:
        """Return what a container printed last."""
        return self.podman.inside("sh", "-c", 'podman logs --tail 30 "$1" 2>&1', "sh", container, check=False)

    def address(self, container: str) -> str:
        """Return the address of a container in one of its networks."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return self.podman.podman("inspect", "--format", form, container).split()[0]

    def execute(self, container: str, *words: str, check: bool = True) -> str:
        """Run a command in a container, as `docker compose exec` does, and return what it printed."""
        return self.podman.podman("exec", container, *words, check=check)
