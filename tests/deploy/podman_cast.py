"""A podman of the test's own: its mounts, networks, processes and storage are seen by nobody else, and end with it.

crun refuses machines with both versions of control groups, so it is shown the second alone; no limit is enforced then.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_NEEDED: Final = {
    "podman": "podman", "crun": "crun", "redis-server": "redis-server", "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager", "psql": "postgresql-client", "wget": "wget", "curl": "curl",
    "nsenter": "util-linux", "ip": "iproute2", "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns",
}  # fmt: skip
_PRIVATE: Final = """
mount -t tmpfs -o size=2g,mode=0755 tmpfs "$1/own"
mkdir "$1/own/networks" "$1/own/debian"
for folder in /run/containers /run/libpod /run/netns /run/crun; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
cd "$1/own/debian"
mkdir -m 0755 usr etc run var proc sys dev root opt data prometheus alertmanager
mkdir -m 1777 tmp
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
mkdir -p var/run
cp /etc/ld.so.cache etc/
echo 'hosts: files dns' >etc/nsswitch.conf
printf 'root:x:0:0::/root:/bin/sh\\nstore:x:999:999::/tmp:/bin/sh\\nnobody:x:65534:65534::/tmp:/bin/sh\\n' >etc/passwd
echo up
exec sleep infinity
"""
_CONTAINERS_CONF: Final = """
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=4000:4000"]
[network]
network_backend = "netavark"
network_config_dir = "{own}/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
"""
_STORAGE_CONF: Final = """
[storage]
driver = "overlay"
graphroot = "{own}/storage"
runroot = "/run/containers/own"
"""


class Podman:
    """One engine below `folder`; `debian` is a root folder for this machine's packages, but for `/usr`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = folder / "own"
        self.debian = self._own / "debian"
        self._own.mkdir()
        (folder / "containers.conf").write_text(_CONTAINERS_CONF.format(own=self._own))
        (folder / "storage.conf").write_text(_STORAGE_CONF.format(own=self._own))
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._holder = subprocess.Popen(
            [*command, "sh", "-euc", _PRIVATE, "sh", str(folder)], stdout=subprocess.PIPE, text=True
        )
        if self._holder.stdout is None or self._holder.stdout.readline() != "up\n":
            raise RuntimeError("no namespaces of its own: are you root?")
        inner = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().strip()
        self._enter = ["nsenter", "--target", inner, "--mount", "--net", "--pid", "--wd=/"]

    def end(self) -> None:
        """End everything in it: the kernel does, with the first process of its namespace."""
        self._holder.kill()
        self._holder.wait(10)

    def inside(self, *words: str, check: bool = True, data: str = "") -> str:
        """Run a command of this machine within, and return what it printed.

        Raises: AssertionError if it fails, unless `check` is off.
        """
        env = os.environ | {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }
        command = [*self._enter, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, input=data, timeout=60)
        assert not check or done.returncode == 0, (
            f"{' '.join(words[:12])}…\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )
        return done.stdout

    def podman(self, *words: str, check: bool = True) -> str:
        """Run a podman command within."""
        return self.inside("podman", *words, check=check)

    def succeeds(self, name: str, *words: str) -> bool:
        """Say whether a command ends well in the container `name`."""
        return self.inside("sh", "-c", 'podman exec "$@" >/dev/null 2>&1 && echo yes || true', "sh", name, *words) != ""

    def lay(self, root: Path, name: str) -> Path:
        """Return a root folder of the container's own above `root`, which stays as it is."""
        folder = self._own / name
        upper, work, merged = folder / "upper", folder / "work", folder / "root"
        self.inside("mkdir", "-p", "-m", "0755", str(upper), str(work), str(merged))
        options = f"lowerdir={root},upperdir={upper},workdir={work}"
        self.inside("mount", "-t", "overlay", "-o", options, "overlay", str(merged))
        return merged


@contextmanager
def run_podman(folder: Path) -> Iterator[Podman]:
    """Give an engine of its own, and end it with all that it runs."""
    missing = sorted({package for program, package in _NEEDED.items() if not shutil.which(program)})
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("containers without an engine take root: run it with sudo")
    podman = Podman(folder)
    try:
        yield podman
    finally:
        podman.end()


def wait_until(what: str, ask: Callable[[], bool], *, seconds: float = 60, say: Callable[[], str] = str) -> None:
    """Wait until `ask()` is true; `say` tells more where it does not become so."""
    give_up_at = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < give_up_at, f"{what}: not within {seconds} s. {say()}"
        time.sleep(0.2)
