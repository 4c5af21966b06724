"""The colours of the console, computed from its one style sheet: every pair of text can be read."""

import gzip
import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "orchestrator_site" / "static" / "console"
CSS = (STATIC / "console.css").read_text()
TOKEN = re.compile(r"--([\w-]+):\s*light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
TOKENS = {name: (light, dark) for name, light, dark in TOKEN.findall(CSS)}
THEMES = {"light": 0, "dark": 1}

TINTS = ("allow", "deny", "ask", "run", "block", "quiet")
TEXT_PAIRS = [
    *[(text, ground) for text in ("fg", "fg-2", "fg-3") for ground in ("canvas", "surface")],
    *[(text, "sunken") for text in ("fg", "fg-2")],
    *[("accent", ground) for ground in ("canvas", "surface", "accent-bg")],
    *[(tint, "surface") for tint in TINTS],
    *[(tint, f"{tint}-bg") for tint in TINTS],
    ("on-accent", "accent-solid"),
    ("on-deny", "deny-solid"),
    ("on-ask", "ask-solid"),
]
SHAPE_PAIRS = [(shape, "surface") for shape in ("line-strong", "chart-ok", "chart-bad", "chart-block")]


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_itself_is_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=0.001)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("text", "ground"), TEXT_PAIRS)
def test_it_gives_text_enough_contrast(text: str, ground: str, theme: str) -> None:
    place = THEMES[theme]
    assert contrast(TOKENS[text][place], TOKENS[ground][place]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("shape", "ground"), SHAPE_PAIRS)
def test_it_gives_controls_and_bars_enough_contrast(shape: str, ground: str, theme: str) -> None:
    place = THEMES[theme]
    assert contrast(TOKENS[shape][place], TOKENS[ground][place]) >= 3.0


def test_it_names_every_colour_once_as_a_token() -> None:
    body = CSS[CSS.index("@layer base {") :]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", body) == []


def test_it_uses_only_tokens_that_exist() -> None:
    defined = set(re.findall(r"--([\w-]+)\s*:", CSS))
    assert set(re.findall(r"var\(--([\w-]+)", CSS)) <= defined


def test_it_never_removes_the_focus_ring() -> None:
    assert not re.search(r"outline:\s*(none|0)\b", CSS)


def test_it_keeps_the_byte_budget() -> None:
    scripts = b"".join(path.read_bytes() for path in sorted(STATIC.glob("*.js")))
    assert len(gzip.compress(CSS.encode())) <= 12_000
    assert len(gzip.compress(scripts)) <= 10_000
