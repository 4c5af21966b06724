"""The last step of the image's build: leave out what no page names, and write the bytecode of what any role imports.

Run in the build with the image's own Python, in the folder of the code, once static files are collected.
"""

import ctypes
import importlib
import json
import os
import pkgutil
import py_compile
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType

PACKAGES = ("audit", "toolgate", "agents", "orchestrator_site")
# Our code imports these on first use, or their parts.
ON_FIRST_USE = (
    "anthropic",
    "django.db.backends.postgresql.base",
    "django_redis.client",
    "docket",
    "genai_prices",
    "jsonschema",
    "openai",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk.trace.export",
    "pdfplumber",
)
NEEDS_WHAT_IS_NOT_HERE = ("orchestrator_site.demo",)


def main(elsewhere: Path) -> None:
    """Trim what was collected, and compile; the bytecode of Python and packages is written under `elsewhere`."""
    load_libraries(Path(sysconfig.get_path("purelib")))
    compile_imported(import_all(), elsewhere)
    for file in find_unserved(Path("staticfiles")):
        file.unlink()
    for package in PACKAGES:
        shutil.rmtree(Path(package, "static"), ignore_errors=True)


def find_unserved(collected: Path) -> list[Path]:
    """Return the static files that no page names: those without a hash in the name, and maps for debuggers."""
    names = json.loads((collected / "staticfiles.json").read_text())["paths"]
    unserved = {*names, *(hashed for name, hashed in names.items() if name.endswith(".map"))}
    return [path for name in unserved for path in (collected / name, collected / f"{name}.gz") if path.exists()]


def load_libraries(installed: Path) -> None:
    """Load every library of the packages: one that the build has damaged must not be found in production.

    Raises: OSError.
    """
    for path in installed.rglob("*.so*"):
        ctypes.CDLL(str(path), os.RTLD_NOW)


def import_all() -> list[ModuleType]:
    """Import what any role or command imports, and return all modules there are."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    django.setup()
    for name in [*walk(), *ON_FIRST_USE]:
        importlib.import_module(name)
    use_vendors()
    return list(sys.modules.values())


def walk() -> Iterator[str]:
    """Yield the names of all our modules but those that need a package of the developer's."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages([package], f"{package}."):
            if not found.name.startswith(NEEDS_WHAT_IS_NOT_HERE):
                yield found.name


def use_vendors() -> None:
    """Touch the parts of the vendors' clients that load when they are first used; no call is made."""
    import anthropic
    import openai

    client = openai.AsyncOpenAI(api_key="none")
    _ = client.chat.completions, client.responses, anthropic.AsyncAnthropic(api_key="none").messages


def compile_imported(modules: list[ModuleType], elsewhere: Path) -> None:
    """Write the bytecode of each module, such that no file's time is ever asked for.

    Not of everything installed, which would be twice as large. Python's and the packages' goes to the same places
    under `elsewhere`, a layer of its own: the packages' layer then changes with the lock alone.
    """
    here, mode = str(Path.cwd()), py_compile.PycInvalidationMode.UNCHECKED_HASH
    for source in sorted({origin for module in modules if (origin := find_source(module))}):
        place = "" if source.startswith(here) else str(elsewhere)
        py_compile.compile(source, place + cache_from_source(source), doraise=True, invalidation_mode=mode)


def find_source(module: ModuleType) -> str:
    """Return the absolute path of a module's source, with no link followed; empty if it has none."""
    origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
    return os.path.abspath(origin) if origin.endswith(".py") else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
