"""Take a copy while everything goes on."""

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from audit import bodies
from audit.context import SYSTEM
from audit.events import Event, EventType
from audit.lease import get_head
from audit.ledger import record
from audit.transactions import write_transaction
from audit.wire import format_at
from orchestrator_site.backups.places import (
    ARCHIVES,
    CHECKPOINTS,
    KEYS,
    MANIFEST,
    WORKSPACE,
    copy_file,
    digest_of,
    list_folders,
    list_keys,
    private_files,
    walk,
)
from orchestrator_site.backups.state import find_name, is_empty, save_state
from orchestrator_site.exceptions import BackupRefused


@private_files()
def save(folder: Path, *, now: datetime) -> dict[str, Any]:
    """Make a backup in `folder`, which is there whole or not at all, and return its manifest.

    Raises: BackupRefused; OSError if the folder takes no more.
    """
    if folder.exists():
        raise BackupRefused(f"{folder} exists already: name another folder. No backup was made.")
    if is_empty():
        raise BackupRefused("There is no state yet, so there is nothing to keep. No backup was made.")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    try:
        manifest = _describe(now) | {"files": dict(_copy_all(part))}
        (part / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    body = bodies.BackupMade(events=manifest["events"])
    with write_transaction():  # now that it is there: the trail must not name a backup that failed
        record(Event(type=EventType.BACKUP_MADE, at=now, actor=SYSTEM, body=body))
    return manifest


def _describe(now: datetime) -> dict[str, Any]:
    applied = sorted(".".join(key) for key in MigrationRecorder(connection).applied_migrations())
    about = {"madeAt": format_at(now), "origin": settings.AUDIT_ORIGIN, "state": find_name()}
    return about | {"events": get_head().seq, "migrations": applied}


def _copy_all(part: Path) -> Iterator[tuple[str, str]]:
    """Copy everything, in the order that makes it one piece, and give the name and SHA-256 of each file."""
    yield from _copy_folder(part, CHECKPOINTS)
    save_state(part / find_name())
    yield find_name(), digest_of(part / find_name())
    yield from _copy_folder(part, ARCHIVES)
    yield from _copy_folder(part, WORKSPACE)
    for name, source in list_keys().items():
        yield f"{KEYS}/{name}", copy_file(source, part / KEYS / name)


def _copy_folder(part: Path, name: str) -> Iterator[tuple[str, str]]:
    source = list_folders()[name]
    for file in walk(source):
        place = f"{name}/{file.relative_to(source)}"
        try:
            yield place, copy_file(file, part / place)
        except FileNotFoundError:  # it was renamed or removed meanwhile, as files under work are
            continue
