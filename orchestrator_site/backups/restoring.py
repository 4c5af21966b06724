"""Put a copy back where there is nothing yet. All of it is held against the manifest before anything is written."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings

from audit import bodies
from audit.checking.second_place import open_second_place
from audit.context import SYSTEM
from audit.events import Event, EventType
from audit.ledger import record
from audit.models import Checkpoint
from audit.transactions import write_transaction
from orchestrator_site.backups.places import (
    KEYS,
    MANIFEST,
    SESSION_KEY,
    copy_file,
    digest_of,
    find_key,
    list_folders,
    private_files,
)
from orchestrator_site.backups.state import find_name, is_empty, load_state
from orchestrator_site.exceptions import BackupRefused
from orchestrator_site.preflight import find_holder
from orchestrator_site.stores import find_unapplied, list_migrations


@private_files()
def restore(folder: Path, *, now: datetime, keys: Path | None = None) -> tuple[dict[str, Any], list[Path]]:
    """Put back what `folder` holds, and return its manifest and the files that were there already, and stay.

    `keys` is where the backup's keys are kept, if they lie apart from it.

    Raises: BackupRefused; OSError.
    """
    manifest = read_manifest(folder)
    sources = dict(_find_sources(manifest, folder, keys or folder / KEYS))
    _check(manifest, sources)
    others = {name: source for name, source in sources.items() if name != find_name()}
    kept = [target for name, source in others.items() if not _put(name, source, target := _target(name))]
    load_state(sources[find_name()])  # the last: without it the same restore can be made again
    _record(manifest, now=now)
    return manifest, kept


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what a backup says that it holds. Raises: BackupRefused."""
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise BackupRefused(f"{folder} is no backup: {MANIFEST} cannot be read. Nothing was changed.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise BackupRefused(f"{folder / MANIFEST} is not of a backup. Nothing was changed.")
    return manifest


def _find_sources(manifest: dict[str, Any], folder: Path, keys: Path) -> Iterator[tuple[str, Path]]:
    for name in manifest["files"]:
        top, _, rest = name.partition("/")
        if ".." in Path(name).parts or Path(name).is_absolute() or (rest and top not in {KEYS, *list_folders()}):
            raise BackupRefused(f"{MANIFEST} names {name!a}, which belongs nowhere. Nothing was changed.")
        yield name, keys / rest if top == KEYS else folder / name


def _check(manifest: dict[str, Any], sources: dict[str, Path]) -> None:
    if holder := find_holder(settings.VAR):
        raise BackupRefused(f"{settings.VAR} is used by {holder}: stop it first. Nothing was changed.")
    if not is_empty():
        raise BackupRefused(
            "There is state here already: name an empty ORCHESTRATOR_VAR or database. Nothing was changed."
        )
    if find_name() not in sources:
        raise BackupRefused(f"The backup holds {manifest.get('state')}: mend STATE_DATABASE_URL. Nothing was changed.")
    if unknown := set(manifest.get("migrations", ())) - {".".join(key) for key in list_migrations()}:
        raise BackupRefused(f"It was made by a newer version ({min(unknown)}): install that. Nothing was changed.")
    for name, source in sources.items():
        if not source.is_file():
            raise BackupRefused(f"{source} is missing{_hint(name)}. Nothing was changed.")
        if digest_of(source) != manifest["files"][name]:
            raise BackupRefused(f"{source} is not what was saved: take another backup. Nothing was changed.")
    _check_key(sources)
    _check_second_place(int(manifest["events"]))


def _hint(name: str) -> str:
    return ": name the folder of the keys with --keys" if name.startswith(f"{KEYS}/") else ""


def _check_key(sources: dict[str, Path]) -> None:
    name, target = f"{KEYS}/{settings.AUDIT_KEY_FILE.name}", settings.AUDIT_KEY_FILE
    if name in sources and target.exists() and target.read_bytes() != sources[name].read_bytes():
        raise BackupRefused(f"{target} is another key than the backup's: move it away first. Nothing was changed.")


def _check_second_place(events: int) -> None:
    """See that no later history is signed there: one that parts from it, by the same key, would be filed beside it."""
    folder = settings.AUDIT_CHECKPOINT_DIR
    signed = open_second_place(folder, since=None).largest
    if signed > events:
        raise BackupRefused(
            f"{folder} holds checkpoints up to event {signed}, and the backup ends at event {events}: what was signed "
            "in between is lost, and its numbers would be given to other events. Move that folder away and keep it, "
            "for it proves what was lost; then restore again. Nothing was changed."
        )


def _record(manifest: dict[str, Any], *, now: datetime) -> None:
    """Tell of it in the ledger that was put back, unless that is of an earlier version and has to be migrated first."""
    if find_unapplied():
        return
    body = bodies.BackupRestored(events=int(manifest["events"]), madeAt=str(manifest["madeAt"]))
    filed = open_second_place(settings.AUDIT_CHECKPOINT_DIR, since=None).largest
    with write_transaction():
        # Signed after the folder was copied and before the ledger was: they are filed again, else they would seem lost.
        Checkpoint.objects.filter(size__gt=filed).update(filed_at=None)
        record(Event(type=EventType.BACKUP_RESTORED, at=now, actor=SYSTEM, body=body))


def _target(name: str) -> Path:
    top, _, rest = name.partition("/")
    return find_key(rest) if top == KEYS else list_folders()[top] / rest


def _put(name: str, source: Path, target: Path) -> bool:
    """Copy one file to where it belongs; one that is there stays, but the key of sessions, which was just made."""
    if target.exists() and name != f"{KEYS}/{SESSION_KEY}":
        return target.read_bytes() == source.read_bytes()
    copy_file(source, target)
    return True
