"""What no template may hold: anything the strict CSP would block, or that would let output become markup."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "orchestrator_site" / "static" / "console").glob("*.js"))
FORBIDDEN = {
    "a style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.S),
    "an inline handler": re.compile(r"<[^>]*\son[a-z]+\s*=", re.S),
    "an htmx handler or script value": re.compile(r"\bhx-on|js:|javascript:"),
    "an inline script": re.compile(r"<script(?![^>]*\ssrc=)[^>]*>", re.S),
    "an inline style sheet": re.compile(r"<style\b"),
    "a way round escaping": re.compile(r"\|\s*safe\b|\|\s*safeseq\b|autoescape\s+off|mark_safe"),
}
MARKUP_SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment"
)


def test_there_are_templates_and_scripts() -> None:
    assert len(TEMPLATES) > 20
    assert len(SCRIPTS) >= 4


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_template_holds(what: str) -> None:
    pattern = FORBIDDEN[what]
    found = {str(path.relative_to(ROOT)): pattern.findall(path.read_text()) for path in TEMPLATES}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_every_form_that_posts_carries_a_token() -> None:
    for path in TEMPLATES:
        for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", path.read_text(), re.S):
            assert "{% csrf_token %}" in form, path


def test_every_form_says_how_it_is_sent() -> None:
    for path in TEMPLATES:
        for form in re.findall(r"<form\b[^>]*>", path.read_text()):
            assert 'method="' in form, (path, form)


def test_every_htmx_request_has_a_working_address_without_it() -> None:
    for path in TEMPLATES:
        for tag in re.findall(r"<(\w+)\b([^>]*hx-get=[^>]*)>", path.read_text()):
            name, attributes = tag
            assert name in {"div", "tbody"} or "href=" in attributes or "action=" in attributes, (path, tag)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_of_text(script: Path) -> None:
    assert MARKUP_SINKS.findall(script.read_text()) == []
