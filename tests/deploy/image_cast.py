"""The image, built of the real Dockerfile with Debian's tools, and commands run in it as a container would run them.

Where no `python:3.13-slim` is at hand, and no registry, a stand-in for it is made of Debian's packages: the same
system and the same places, without what the official image compiles itself. Everything made here is kept in a folder
of the user's cache, so that the next run only does what has changed.
"""

import fcntl
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator_site.preflight import BASE_DIR

NAME: Final = "localhost/orchestrator:test"
BASE_NAME: Final = "docker.io/library/python:3.13-slim"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orchestrator-deploy"
USER: Final = 1001
NEEDED: Final = ("buildah", "debootstrap", "setpriv", "unshare")
_DEBIAN: Final = "trixie"  # what the official image is made of
_PACKAGES: Final = "ca-certificates,libpython3.13-stdlib,python3.13-minimal"
_START_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """The image and its files, mounted at `root`; `storage` are the options that let buildah and podman find it."""

    name: str
    root: Path
    storage: tuple[str, ...]
    build_seconds: float

    def inspect(self) -> dict[str, Any]:
        """Return the image's configuration, as `docker image inspect` has it under `Config`."""
        found: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", self.name))["Docker"]["config"]
        return found

    def command(self, words: Sequence[str], *, var: Path, env: Mapping[str, str]) -> list[str]:
        """Return the command that runs `words` inside, as an engine does that is told to trust nobody.

        Processes, mounts and root folder of its own, the root read-only but for `/tmp` and the volume; user 1001,
        without capabilities or a way to get any. Only the network is the machine's.
        """
        given = [*self.inspect()["Env"], "HOME=/var/lib/orchestrator", *(f"{k}={v}" for k, v in env.items())]
        # The mounts are made where nobody else sees them, and gone with the process.
        mounts = (
            f'mount --rbind "{self.root}" "{self.root}" && mount -o remount,bind,ro "{self.root}" && cd "{self.root}"'
            f" && mount -t proc proc proc && mount --rbind /dev dev && mount -t tmpfs -o mode=1777 tmpfs tmp"
            f' && mount --bind "{var}" var/lib/orchestrator && mount --bind /etc/resolv.conf etc/resolv.conf'
        )
        identity = f"--reuid={USER} --regid={USER} --clear-groups --no-new-privs --bounding-set=-all"
        enter = f'exec chroot . setpriv {identity} env -C /app "$@"'
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", f"{mounts}; {enter}"]
        return [*apart, "sh", "env", "-i", *given, *words]

    def entrypoint(self, arguments: Sequence[str]) -> list[str]:
        """Return what `docker run IMAGE ARGUMENTS` would run."""
        config = self.inspect()
        return [*config["Entrypoint"], *(arguments or config["Cmd"])]

    def run(
        self, arguments: Sequence[str], *, var: Path, env: Mapping[str, str] | None = None, raw: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker run IMAGE ARGUMENTS` to its end; `raw` gives the command without the entry point."""
        words = list(arguments) if raw else self.entrypoint(arguments)
        command = self.command(words, var=var, env=env or {})
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    @contextmanager
    def start(
        self, arguments: Sequence[str], *, var: Path, env: Mapping[str, str] | None = None
    ) -> Iterator["RunningContainer"]:
        """Run `docker run IMAGE ARGUMENTS` beside the test, and end it afterwards; its output is in `log`."""
        log = var.with_name(f"{var.name}.{'-'.join(arguments) or 'default'}.log")
        with log.open("wb") as output:
            command = self.command(self.entrypoint(arguments), var=var, env=env or {})
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            yield RunningContainer(process=process, log=log)
        finally:
            process.kill()  # the kernel ends what is inside
            process.wait(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningContainer:
    """A container that runs; `process` is what started it, and has its exit code."""

    process: subprocess.Popen[bytes]
    log: Path

    def find_first(self) -> int:
        """Return the machine's id of the process that has number 1 inside."""
        give_up_at = time.monotonic() + _START_SECONDS
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while time.monotonic() < give_up_at:
            with suppress(OSError, IndexError):
                return int(children.read_text().split()[0])
            time.sleep(0.02)
        raise RuntimeError(f"nothing was started: {self.log.read_text()[-500:]}")

    def stop(self, *, seconds: float = 15) -> int:
        """Ask it to end, as `docker stop` does, and return its exit code."""
        os.kill(self.find_first(), signal.SIGTERM)
        return self.process.wait(seconds)


@pytest.fixture(scope="session")
def built_image() -> BuiltImage:
    """Build the image of the code as it is; processes that want it at once share one build."""
    skip_without(NEEDED)
    with locked("image"):
        if BASE_NAME not in list_images():
            make_base()
        started = time.monotonic()
        build()
        seconds = time.monotonic() - started
        root = mount()
    return BuiltImage(name=NAME, root=root, storage=find_storage(), build_seconds=seconds)


def skip_without(programs: Sequence[str]) -> None:
    """Skip the test where a program is missing, or root's rights to use it."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: apt-get install buildah debootstrap util-linux")
    if os.geteuid() != 0:
        pytest.skip("images are built and entered without an engine here, which takes root: run it with sudo")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock among all processes of this user; the kernel frees it with the process."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def find_storage() -> tuple[str, ...]:
    """Return the options that let buildah and podman use a storage of their own.

    Layers lie on each other where the kernel lets them; elsewhere each is a copy of the one below.
    """
    overlay, vfs = (_storage(driver) for driver in ("overlay", "vfs"))
    tried = subprocess.run(["buildah", *overlay, "images"], capture_output=True, check=False)
    return vfs if tried.returncode else overlay


def _storage(driver: str) -> tuple[str, ...]:
    return "--root", str(CACHE / driver), "--runroot", str(CACHE / f"{driver}-run"), "--storage-driver", driver


def buildah(*arguments: str) -> str:
    """Run buildah and return its output.

    Raises: RuntimeError with the end of what it said.
    """
    command = ["buildah", *find_storage(), *arguments]
    env = os.environ | {"BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=BASE_DIR)
    if done.returncode:
        raise RuntimeError(f"buildah {arguments[0]} failed: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def list_images() -> set[str]:
    """Return the names of the images in the storage."""
    return set(buildah("images", "--format", "{{.Name}}:{{.Tag}}").split())


def list_layers(name: str) -> list[int]:
    """Return the size in bytes of each of an image's layers, the base first, unpacked, as `docker history` has it."""
    image = json.loads(buildah("inspect", "--type", "image", name))["FromImageID"]
    [kind] = (CACHE / word for word in ("overlay", "vfs") if str(CACHE / word) in find_storage())
    images = json.loads((kind / f"{kind.name}-images/images.json").read_text())
    layers = {one["id"]: one for one in json.loads((kind / f"{kind.name}-layers/layers.json").read_text())}
    [layer] = (one["layer"] for one in images if one["id"] == image)
    sizes: list[int] = []
    while layer:
        sizes.insert(0, layers[layer].get("diff-size", 0))
        layer = layers[layer].get("parent")
    return sizes


def make_base() -> None:
    """Make the stand-in for the official image: Debian with its Python and pip, where that image has them."""
    root = CACHE / "base"
    shutil.rmtree(root, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _DEBIAN, str(root)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name in ("python", "python3", "python3.13"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.13")
    for package in Path(sys.prefix, "lib/python3.13/site-packages").glob("pip*"):
        shutil.copytree(package, root / "usr/local/lib/python3.13/dist-packages" / package.name)
    # The official image has no bytecode either, nor what apt fetched.
    for folder in [*root.rglob("__pycache__"), root / "var/cache/apt", root / "var/lib/apt/lists"]:
        shutil.rmtree(folder)
    container = buildah("from", "scratch").strip()
    buildah("add", "--quiet", container, str(root), "/")
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    buildah("commit", "--quiet", "--rm", container, BASE_NAME)
    shutil.rmtree(root)


def build() -> None:
    """Build the image as `docker build .` would, with this machine's way to the package index."""
    config = CACHE / "pip.conf"
    config.write_text(describe_index())
    bundle = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    authorities = f"{Path(bundle).resolve()}:/etc/ssl/certs/ca-certificates.crt:ro"
    build_args = ("VERSION=0.1.0", "REVISION=test", "CREATED=2026-01-01T00:00:00Z")
    arguments = [word for argument in build_args for word in ("--build-arg", argument)]
    options = ["--layers", "--format", "docker", "--pull-never", "--secret", f"id=pip,src={config}", "-v", authorities]
    buildah("build", "--quiet", *options, *arguments, "--tag", NAME, ".")


def describe_index() -> str:
    """Return a `pip.conf` with where this machine's pip finds packages, but for folders of the machine."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    kept = {"cert": "/etc/ssl/certs/ca-certificates.crt"}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        name, value = key.rpartition(".")[2], value.strip("'")
        if name in {"index-url", "trusted-host", "proxy", "timeout"}:
            kept[name] = value
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in kept.items())


def mount() -> Path:
    """Return where the files of the image that was just built are; other processes may be in them already."""
    name = "orchestrator-" + json.loads(buildah("inspect", "--type", "image", NAME))["FromImageID"][:12]
    if name not in buildah("containers", "--format", "{{.ContainerName}}").split():
        buildah("from", "--quiet", "--pull-never", "--name", name, NAME)
    return Path(buildah("mount", name).strip())
