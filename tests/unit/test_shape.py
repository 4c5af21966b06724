"""Bounds on the size of what is written, so that a file and a function can be read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("audit", "toolgate", "agents", "orchestrator_site")
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 8


def source_files() -> list[Path]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts]
    assert len(files) > 50
    return files


def functions() -> Iterator[tuple[str, int]]:
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in source_files()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    assert {name: lines for name, lines in functions() if lines > MAX_FUNCTION_LINES} == {}


def test_most_functions_are_short() -> None:
    assert median(lines for _, lines in functions()) <= MEDIAN_FUNCTION_LINES


def test_no_module_has_a_name_that_says_nothing() -> None:
    forbidden = {"services", "utils", "helpers", "common", "managers"}
    assert [path for path in source_files() if path.stem in forbidden] == []
