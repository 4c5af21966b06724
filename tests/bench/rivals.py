"""Those that are compared with, in an environment of their own, `.venv-bench`, which is made on first use."""

import subprocess
import sys

from tests.running import ROOT

FOLDER = ROOT / ".venv-bench"
INSTALL_SECONDS = 600


class RivalMissing(Exception):
    """It cannot be had here; the text says why."""


def install(wanted: tuple[str, ...], beside: tuple[str, ...] = (), *, probe: str) -> str:
    """Install the first of `wanted` that can be had, unless one is there; return what `probe`, a program, prints.

    Raises: RivalMissing.
    """
    python = FOLDER / "bin" / "python"
    if not python.exists():
        _run(sys.executable, "-m", "venv", str(FOLDER))
    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "--quiet", "install")
    for one in ("", *wanted):
        try:
            if one:
                _run(*pip, one, *beside)
            return _run(str(python), "-c", probe)
        except subprocess.SubprocessError:
            continue
    raise RivalMissing(f"{wanted[0]} cannot be installed")


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    return done.stdout.strip()
