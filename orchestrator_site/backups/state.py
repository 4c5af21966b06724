"""The state store out to one file and in from one: SQLite by its own online backup, PostgreSQL by pg_dump."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from django.db import connection

from orchestrator_site.backups.places import DUMP, SQLITE, copy_file
from orchestrator_site.exceptions import BackupRefused

_SAID: Final = 500  # characters of what a program says


def find_name() -> str:
    """Return the name of the state's file in a backup."""
    return SQLITE if connection.vendor == "sqlite" else DUMP


def save_state(file: Path) -> None:
    """Write the whole state as of one moment, while others go on writing. Raises: BackupRefused."""
    if connection.vendor == "sqlite":
        _copy_sqlite(file)
    else:
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={file}")
    file.chmod(0o600)


def _copy_sqlite(file: Path) -> None:
    try:
        # On connections of its own: Django's may be in a transaction.
        with closing(sqlite3.connect(_database()["NAME"])) as source, closing(sqlite3.connect(file)) as copy:
            source.backup(copy)
            [(found,)] = copy.execute("PRAGMA integrity_check(1)")
    except sqlite3.Error as error:
        raise BackupRefused(f"SQLite could not be copied: {error}. No backup was made.") from error
    if found != "ok":
        raise BackupRefused(f"The state is damaged: {found}. No backup was made; keep the ones you have.")


def is_empty() -> bool:
    """Say whether there is no state yet to be written over."""
    if connection.vendor == "sqlite" and not Path(_database()["NAME"]).exists():
        return True
    return not connection.introspection.table_names()


def load_state(file: Path) -> None:
    """Put the state back where there is none. Raises: BackupRefused, OSError."""
    if connection.vendor == "sqlite":
        connection.close()
        target = Path(_database()["NAME"])
        for rest in ("-wal", "-shm"):  # of a state that was removed: SQLite would play it into this one
            target.with_name(f"{target.name}{rest}").unlink(missing_ok=True)
        copy_file(file, target)
    else:
        name = _database()["NAME"]
        _run("pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={name}", str(file))


def _run(program: str, *arguments: str) -> None:
    if shutil.which(program) is None:
        raise BackupRefused(f"{program} is not on the PATH: install PostgreSQL's client programs. Nothing was done.")
    database = _database()
    login = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    given = {name: str(database[key]) for name, key in login.items() if database.get(key)}
    done = subprocess.run([program, *arguments], env=os.environ | given, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[:_SAID] or "it said nothing"
        cure = "Its version may not be older than the server's; the state is as it was"
        raise BackupRefused(f"{program} failed ({said}). {cure}.")


def _database() -> dict[str, Any]:
    return connection.settings_dict
