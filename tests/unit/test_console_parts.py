"""The small parts of the console: words, times, numbers, charts, results. No database."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from agents.advice import find_advice
from agents.results import MAX_ROWS, MAX_TEXT, read_result
from agents.states import TaskState
from audit.events import EventType
from orchestrator_site.charts import HEIGHT, draw_bars, draw_spark, round_up
from orchestrator_site.looks import LOOKS, find_event_look
from orchestrator_site.templatetags import console
from toolgate.models import ApprovalState
from toolgate.types import Reason

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EVENT = {
    "seq": 7, "id": "e", "at": "2026-11-23T12:00:00.000001Z", "type": "decision.made", "actor": "agent:qa",
    "taskId": "t1", "agentId": "qa", "skillId": "testRunner", "decision": "deny", "reason": "", "body": {}, "hash": "",
}  # fmt: skip


# --- words ------------------------------------------------------------------------------------------------------
def test_every_state_has_a_word_a_tint_and_a_glyph() -> None:
    assert set(LOOKS["task"]) == {state.value for state in TaskState}
    assert set(LOOKS["approval"]) == {state.value for state in ApprovalState}
    for looks in LOOKS.values():
        assert all(all(part for part in look) for look in looks.values())


def test_every_glyph_is_in_the_sprite() -> None:
    from pathlib import Path

    root = Path(__file__).parents[2]
    sprite = (root / "templates" / "_parts" / "sprite.html").read_text()
    glyphs = {look[2] for looks in LOOKS.values() for look in looks.values()}
    glyphs |= {find_event_look(kind, "")[1] for kind in EventType}
    assert {glyph for glyph in glyphs if f'id="i-{glyph}"' not in sprite} == set()


def test_badge_says_the_state_in_words_beside_its_colour() -> None:
    assert "Waiting for a person" in console.badge("task", "awaiting_approval")
    assert "deny" in console.badge("task", "failed")


def test_badge_of_an_unknown_state_is_inert() -> None:
    assert "<script>" not in console.badge("task", "<script>")


def test_event_sentence_tells_who_did_what_and_escapes_both() -> None:
    hostile = EVENT | {"agentId": "<b>x", "skillId": "<i>y"}
    assert console.event_sentence(EVENT, True) == "qa was refused <code>testRunner</code>"
    assert console.event_sentence(hostile, True) == "&lt;b&gt;x was refused <code>&lt;i&gt;y</code>"


@pytest.mark.parametrize("text", ["a\u202egnp.exe", "a\u200bb", "\x1b[31mred", "a\u2066b", "\ufeffx", "a\x00b"])
def test_inert_shows_what_would_hide_or_reorder(text: str) -> None:
    shown = console.inert(text)
    assert shown.isprintable()
    assert "\\" in shown


def test_inert_keeps_ordinary_text_of_any_script() -> None:
    text = "Grüße, 東京, שלום\n\tфж 👋"
    assert console.inert(text) == text


@pytest.mark.parametrize("target", ["../x", "a/b", "javascript:alert(1)", "<b>", "", "x" * 65])
def test_links_are_made_of_ids_only(target: str) -> None:
    assert "href" not in console.task_link(target)
    assert "href" not in console.agent_link(target)


# --- time and numbers -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (59, "59 s ago"), (60, "1 min ago"), (3_599, "59 min ago"), (7_200, "2 h ago"),
     (200_000, "2 d ago"), (-90, "in 1 min")],
)  # fmt: skip
def test_distance_is_one_unit_rounded_down(seconds: int, words: str) -> None:
    assert console.describe_distance(NOW - timedelta(seconds=seconds), now=NOW) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0.0 s"), (0.006, "0.006 s"), (54, "54.0 s"), (80, "1 min 20 s"), (120, "2 min"), (7_500, "2 h 5 min"),
     (timedelta(seconds=90), "1 min 30 s"), ("x", console.NOTHING)],
)  # fmt: skip
def test_durations_carry_a_unit(value: Any, words: str) -> None:
    assert console.duration(value) == words


def test_times_are_machine_readable_and_in_full_in_the_title() -> None:
    shown = str(console.clock("2026-11-23T09:05:07.123456Z"))
    assert 'datetime="2026-11-23T09:05:07.123Z"' in shown
    assert 'title="23 Nov 2026, 09:05:07 UTC"' in shown
    assert "09:05:07<" in shown
    assert console.clock("yesterday") == console.NOTHING


@pytest.mark.parametrize(("value", "words"), [(512, "512 B"), (4_200, "4.2 KB"), (1_000_000, "1.0 MB")])
def test_sizes_carry_a_unit(value: int, words: str) -> None:
    assert console.size(value) == words


def test_call_title_names_what_the_call_is_done_to() -> None:
    task = SimpleNamespace(skill_id="sourceFetch", input={"url": "https://example.com/<b>"})
    assert console.call_title(task) == "sourceFetch on https://example.com/<b>"
    assert console.call_title(SimpleNamespace(skill_id="normalizer", input={"data": []})) == "normalizer"


def test_call_title_says_whose_own_run_or_report_it_is() -> None:
    run = SimpleNamespace(skill_id="", input={"target": "examples"})
    agent = SimpleNamespace(config=SimpleNamespace(display_name="Quality"))
    assert console.call_title(run, agent) == "Own run of Quality on examples"
    assert console.call_title(run) == "Own run on examples"
    said = {"source": {"type": "text", "content": "  Q3 was\n good. " + "x" * 200}, "format": "swot"}
    assert console.call_title(SimpleNamespace(**vars(run) | {"input": said})).startswith(
        "Own run: text · Q3 was good. xx"
    )
    assert console.call_title(SimpleNamespace(**vars(run) | {"input": {"to": "\u202eevil"}})) == "Own run: \\u202eevil"
    review = SimpleNamespace(kind="review", agent_id="qa-agent", skill_id="report", arguments={"target": "elsewhere"})
    assert console.call_title(review) == "Report of qa-agent"


def test_a_patch_is_shown_line_by_line() -> None:
    changes = [{"type": "replace", "oldText": "a\nb", "newText": "c"}, {"type": "delete", "oldText": "d"}]
    told = [("", "change 1: replace"), ("-", "a"), ("-", "b"), ("+", "c"), ("", "change 2: delete"), ("-", "d")]
    assert console.patch_lines({"changes": changes}) == told


@pytest.mark.parametrize("arguments", [None, {}, {"changes": "all"}, {"changes": [1]}, {"changes": [{"oldText": 5}]}])
def test_what_is_no_patch_has_no_lines(arguments: object) -> None:
    assert console.patch_lines(arguments) == []


# --- charts -----------------------------------------------------------------------------------------------------
def test_bars_stack_to_their_sum_and_tell_their_numbers() -> None:
    hours = [(NOW, [30, 8, 2]), (NOW + timedelta(hours=1), [0, 0, 0])]
    chart = draw_bars(hours, css=("ok", "bad", "stopped"), words=("succeeded", "failed", "cancelled"))
    full, empty = chart.bars
    assert [part.height for part in full.parts] == [75.0, 20.0, 5.0]
    assert full.parts[-1].y == 0
    assert full.parts[0].y + full.parts[0].height == HEIGHT
    assert full.text == "12:00 UTC: 30 succeeded, 8 failed, 2 cancelled"
    assert (empty.parts, empty.text) == ((), "13:00 UTC: no tasks")
    assert (chart.ticks, chart.total) == ((0, 10, 20, 30, 40), 40)


def test_a_chart_of_nothing_still_has_an_axis() -> None:
    chart = draw_bars([(NOW, [0])], css=("ok",), words=("succeeded",))
    assert chart.ticks == (0, 1)


@pytest.mark.parametrize("value", [*range(60), 99, 101, 12_345, 123_456])
def test_the_top_holds_the_value_and_divides_into_whole_ticks(value: int) -> None:
    top = round_up(value)
    assert top >= max(value, 1)
    assert top <= max(2 * value, 4)
    assert top < 4 or top % 4 == 0


def test_spark_spans_the_box() -> None:
    line, area = draw_spark([0, 5, 10])
    assert line == "M0,22.0 50,12.0 100,2.0"
    assert area.endswith("L100,24 Z")
    assert draw_spark([]) != ("", "")


# --- results and advice -----------------------------------------------------------------------------------------
def test_a_result_is_taken_apart_for_reading() -> None:
    reading = read_result(
        {
            "applied": False,
            "diff": "--- a\n+++ b\n",
            "summary": {"passed": 3, "failed": 0},
            "tables": [{"headers": ["Day", "Sum"], "rows": [["1 May", "€3"]] * (MAX_ROWS + 2), "page": None}],
        }
    )
    assert reading is not None
    assert reading.lines == {"applied": False, "summary.passed": 3, "summary.failed": 0, "tables": "1 item"}
    assert reading.texts == {"diff": "--- a\n+++ b\n"}
    assert reading.tables[0].headers == ["Day", "Sum"]
    assert (len(reading.tables[0].rows), reading.tables[0].more) == (MAX_ROWS, 2)


def test_records_that_share_their_fields_become_a_table() -> None:
    reading = read_result({"normalized": [{"amount": {"amount": "1.00", "formatted": "$1.00"}, "ok": True}]})
    assert reading is not None
    assert reading.tables[0].rows == [["$1.00", "true"]]


def test_a_long_result_is_cut_and_says_so() -> None:
    reading = read_result({"content": "x" * (3 * MAX_TEXT)})
    assert reading is not None
    assert reading.is_cut
    assert len(reading.json) == len(reading.texts["content"]) == MAX_TEXT
    assert read_result(None) is None


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in {Reason.ALLOWED, Reason.APPROVED}])
def test_every_refusal_says_what_was_kept_and_what_to_do(reason: Reason) -> None:
    advice = find_advice(reason)
    assert advice.kept
    assert advice.next


def test_advice_looks_beneath_a_code_it_does_not_know() -> None:
    assert find_advice("something_new", "domain_not_allowed") == find_advice("domain_not_allowed")
