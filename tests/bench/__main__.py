"""`make bench`: run the measurements one after the other and print a table for each.

A measurement is a module here with `run()`, which returns rows of one form; the first line of its docstring is
the title. `python -m tests.bench NAME …` runs only those named.
"""

import importlib
import os
import platform
import sys
from collections.abc import Iterable
from typing import Any

import django

MODULES = (
    "decide",
    "what_if",
    "explorer",
    "pages",
    "bundles",
    "new_rules",
    "startup",
    "memory",
    "dispatch",
    "post_tasks",
    "throughput",
    "model_call",
    "waiting",
    "switches",
    "sequencer",
    "live",
    "verify",
    "exposure",
    "scrape",
    "workers",
    "rolling",
)


def main(names: Iterable[str]) -> None:
    """Run what is named, or everything."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    os.environ.setdefault("SECRET_KEY", "bench" * 10)
    os.environ.setdefault("LOG_LEVEL", "WARNING")  # docket tells of each task
    django.setup()
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}, {platform.release()}")
    for name in names or MODULES:
        module = importlib.import_module(f"tests.bench.{name}")
        print(f"\n{(module.__doc__ or name).strip().splitlines()[0]}\n")
        print_table(module.run())


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows as aligned columns; numbers to the right."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_show(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in ([columns], cells):
        for row in line:
            print("  " + "  ".join(_pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip())
    sys.stdout.flush()


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    return str(value)


def _pad(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)


if __name__ == "__main__":
    main(sys.argv[1:])
