"""What this process runs on: versions, and the room that is left on its disks."""

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import django
from django.conf import settings

LOW_PERCENT: Final = 10  # of free room; below it somebody should make more


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The file system below one of our folders, in bytes; `free` is what we may still use of it."""

    label: str
    folder: Path
    used: int
    free: int
    total: int

    @property
    def used_percent(self) -> int:
        """Share that is used, in whole per cent."""
        return 100 - self.free_percent

    @property
    def free_percent(self) -> int:
        """Share that is free, in whole per cent rounded down."""
        return 100 * self.free // self.total if self.total else 0

    @property
    def is_low(self) -> bool:
        """Say whether little is left."""
        return self.free_percent < LOW_PERCENT


def read_rooms() -> list[Room]:
    """Return the room below each folder that exists. Raises: OSError."""
    folders = {
        "State": settings.VAR,
        "Workspace": settings.WORKSPACE_ROOT,
        "Archives": settings.AUDIT_ARCHIVE_DIR,
        "Second place": settings.AUDIT_CHECKPOINT_DIR,
    }
    return [_measure(label, folder) for label, folder in folders.items() if folder.exists()]


def _measure(label: str, folder: Path) -> Room:
    usage = shutil.disk_usage(folder)
    return Room(label=label, folder=folder, used=usage.used, free=usage.free, total=usage.total)


def list_versions() -> list[tuple[str, str]]:
    """Return what runs here, by name and version."""
    return [
        ("Orchestrator", str(settings.SPECTACULAR_SETTINGS["VERSION"])),
        ("Python", platform.python_version()),
        ("Django", django.get_version()),
    ]
