"""Transcripts for readers: the task page, the download and the API, on a real store and with it away."""

import gzip
import random
import re
import string
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.models import Step, Task
from audit import documents
from audit.exploring import queries
from audit.models import LedgerEvent, TranscriptEntry
from tests.integration.api_cast import api_of, api_world, events_of, problem_of
from tests.integration.console_cast import console_world, make_task, sign_in, text_of
from tests.transcript_cast import PAGE, Run, ship, write_story

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7|add:7 }}\u202e\x1b[31m'


@pytest.fixture
def trail(transactional_db: None, settings: Any, audit_store: Any) -> Any:
    """Give the console's world and a store."""
    with console_world(settings):
        yield


@pytest.fixture
def away(transactional_db: None, settings: Any) -> Any:
    """Give the console's world with a store that does not answer."""
    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?directConnection=true&serverSelectionTimeoutMS=200"
    documents.disconnect()
    queries.forget_head()
    with console_world(settings):
        yield
    documents.disconnect()
    queries.forget_head()


def make_run(**columns: Any) -> Run:
    return Run(make_task(skill_id="", input={"query": "pallets"}, **columns))


def page_of(task: Task, person: str = "axel") -> str:
    answer = sign_in(person).get(f"/tasks/{task.id}/")
    assert answer.status_code == 200
    return text_of(answer)


def titles_of(page: str) -> list[str]:
    return re.findall(r'<span class="title">(.*?)</span>', page)


TITLES = [
    "Accepted",
    "Asked openai:gpt-6-luna",
    "Turn 1 calls sourceFetch (2)",
    "The gate allowed sourceFetch",
    "The gate refused sourceFetch",
    "Turn 2 answers",
    "The answer was sent back",
    "Turn 3 answers",
    "Succeeded",
]


# --- the task page --------------------------------------------------------------------------------------------
def test_the_page_tells_each_turn_with_its_calls(trail: None) -> None:
    run = make_run()
    decision_ids = write_story(run)
    ship()
    page = page_of(run.task)
    assert titles_of(page) == TITLES
    for told in (
        "I look at two pages.", "You read pages.", "May call sourceFetch", "A page about tools.",
        "openai:gpt-6-luna · 1,200 tokens in, 80 out · £0.0003", "0.9 s",
        "synthesis cites nothing that was fetched",
        "domain_not_allowed · market-research-fetch · policy version 1",
    ):  # fmt: skip
        assert told in page, told
    for decision_id in decision_ids:
        event = next(e for e in LedgerEvent.objects.all() if e.body.get("decisionId") == decision_id)
        assert f'href="/audit/{event.seq}/"' in page
    assert "The audit store does not answer" not in page


def test_who_may_not_read_the_trail_gets_no_link_into_it(trail: None) -> None:
    run = make_run()
    write_story(run)
    ship()
    assert 'href="/audit/' not in page_of(run.task, "vera")


def test_with_the_store_away_the_steps_tell_the_same(away: None) -> None:
    run = make_run()
    write_story(run)
    page = page_of(run.task)
    assert "the transcript cannot be read now" in page
    assert titles_of(page) == [title for title in TITLES if not title.startswith("Asked")]
    for told in ("I look at two pages.", "A page about tools.", "£0.0003", "synthesis cites nothing"):
        assert told in page, told


def test_what_is_not_shipped_yet_the_steps_tell(trail: None) -> None:
    run = make_run()
    write_story(run)
    ship()
    run.reply("One more turn.", ("sourceFetch", PAGE))
    run.call(PAGE, {"content": "A second page."})
    late = make_run(state="running")
    Step.objects.create(
        id="open", task=late.task, fence=1, ordinal=1, kind="model", state="intent", model="openai:gpt-6-luna",
        started_at=late.at,
    )  # fmt: skip
    page = page_of(run.task)
    assert titles_of(page)[-3:] == [
        "Turn 4 calls sourceFetch", "The gate allowed sourceFetch", "Succeeded",
    ]  # fmt: skip
    assert titles_of(page)[:-3] == TITLES[:-1]
    assert "openai:gpt-6-luna is running" in titles_of(page_of(late.task))


def test_a_call_of_a_model_that_failed_is_told_once(trail: None) -> None:
    run = make_run()
    run.prompt()
    step = Step.objects.create(
        id="f", task=run.task, fence=1, ordinal=1, kind="model", state="failed", model="openai:gpt-6-luna",
        error_code="provider_timeout", error_message="No whole answer in 60 s.", started_at=run.at, ended_at=run.at,
    )  # fmt: skip
    assert titles_of(page_of(run.task)).count("The model brought no answer") == 1
    run._enter("error", {"code": "provider_timeout", "message": "No whole answer in 60 s.", "model": step.model})
    ship()
    page = page_of(run.task)
    assert titles_of(page).count("The model brought no answer") == 1
    assert "No whole answer in 60 s." in page


def test_what_models_and_pages_wrote_is_inert(trail: None) -> None:
    run = make_run()
    run.prompt(system=HOSTILE, task=HOSTILE, tools=[HOSTILE], model=HOSTILE)
    run.reply(HOSTILE, (HOSTILE, {HOSTILE: HOSTILE}), problems=(HOSTILE,))
    run.call({HOSTILE: HOSTILE}, {"content": HOSTILE})
    ship()
    page = page_of(run.task)
    assert "alert(1)" in page
    for raw in ("<script>alert", "<img src=x", "\u202e", "\x1b"):
        assert raw not in page
    assert "{{ 7|add:7 }}" in page


def noise(draw: random.Random, length: int) -> str:
    return "".join(draw.choices(string.ascii_letters + string.digits + "+/", k=length))


def test_a_long_run_keeps_the_page_small_and_the_queries_few(trail: None) -> None:
    draw = random.Random(1)
    counts, sizes = [], []
    for turns in (2, 25):
        run = make_run()
        run.prompt(system=noise(draw, 8_000), task=noise(draw, 8_000))
        for _ in range(turns):
            run.reply(noise(draw, 3_000), ("sourceFetch", PAGE), ("sourceFetch", PAGE))
            for number in range(2):
                run.call({"url": noise(draw, 500)}, {"content": noise(draw, 40_000)}, number=number)
        ship()
        client = sign_in("axel")
        asked = []
        for _ in range(4):  # what a process keeps for a moment may just have run out: the least is the page's own
            with CaptureQueriesContext(connection) as queries:
                page = client.get(f"/tasks/{run.task.id}/").content
            asked.append(len(queries))
        counts.append(min(asked))
        sizes.append(len(gzip.compress(page)))
        assert page.count(b"<details") > 4 * turns
        assert b"Cut here" in page
    assert counts[0] == counts[1] <= 20
    assert sizes[1] <= 60_000, sizes


def test_a_run_of_very_many_turns_shows_the_newest(trail: None) -> None:
    run = make_run()
    for number in range(210):
        run.reply(f"words {number}")
    ship()
    page = page_of(run.task)
    assert "10 earlier moments of this run are in the transcript" in page
    assert "Turn 210 answers" in page
    assert "Turn 10 answers" not in page


# --- the download ---------------------------------------------------------------------------------------------
def test_the_download_has_all_of_it_and_is_audited(trail: None) -> None:
    run = make_run()
    write_story(run)
    run.reply("x" * 50_000)
    ship()
    answer = sign_in("vera").get(f"/tasks/{run.task.id}/transcript.json")
    whole = orjson.loads(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    assert answer["Content-Disposition"].startswith("attachment")
    assert whole["taskId"] == run.task.id
    rows = TranscriptEntry.objects.filter(task_id=run.task.id).order_by("id")
    assert [(entry["n"], entry["kind"], entry["body"]) for entry in whole["entries"]] == [
        (row.pk, row.kind, row.body) for row in rows
    ]
    event = LedgerEvent.objects.get(type="transcript.read")
    assert (event.actor, event.task_id, event.body["entries"], event.body["way"]) == (
        "user:vera", run.task.id, len(rows), "download",
    )  # fmt: skip


def test_the_download_of_nothing_is_an_empty_list(trail: None) -> None:
    task = make_task()
    answer = sign_in("vera").get(f"/tasks/{task.id}/transcript.json")
    assert orjson.loads(b"".join(answer.streaming_content))["entries"] == []  # type: ignore[attr-defined]
    assert sign_in("vera").get("/tasks/none/transcript.json").status_code == 404


def test_with_the_store_away_the_download_says_so(away: None) -> None:
    run = make_run()
    write_story(run)
    answer = sign_in("vera").get(f"/tasks/{run.task.id}/transcript.json", follow=True)
    assert answer.redirect_chain[-1][0] == f"/tasks/{run.task.id}/"
    assert "The transcript cannot be read now" in text_of(answer)
    assert not LedgerEvent.objects.filter(type="transcript.read").exists()


# --- the API --------------------------------------------------------------------------------------------------
@pytest.fixture
def api(transactional_db: None, audit_store: Any) -> Any:
    """Give the API's world and a store."""
    with api_world():
        yield api_of("vera", "tasks:read")


def test_the_api_pages_and_is_audited(api: Any) -> None:
    from agents.wire import TranscriptPage

    run = make_run()
    write_story(run)
    ship()
    seen: list[Any] = []
    query: dict[str, Any] = {"limit": 4}
    while True:
        answer = api.get(f"tasks/{run.task.id}/transcript", **query)
        assert answer.status_code == 200
        page = TranscriptPage.model_validate_json(answer.content)
        seen += page.results
        if page.next is None:
            break
        query["cursor"] = page.next
    assert [entry.kind for entry in seen] == [
        "prompt", "reply", "call", "result", "call", "result", "reply", "verdict", "reply",
    ]  # fmt: skip
    assert [event.body["entries"] for event in events_of("transcript.read")] == [4, 4, 1]
    assert {(event.actor, event.task_id) for event in events_of("transcript.read")} == {("user:vera", run.task.id)}


@pytest.mark.parametrize(
    "query", [{"cursor": "-1"}, {"cursor": "x"}, {"limit": "0"}, {"limit": "1001"}, {"after": "1"}]
)
def test_the_api_refuses_odd_questions(api: Any, query: dict[str, str]) -> None:
    problem_of(api.get(f"tasks/{make_task().id}/transcript", **query), 400, "query_invalid")
    assert events_of("transcript.read") == []


def test_the_api_knows_no_other_tasks(api: Any) -> None:
    problem_of(api.get("tasks/none/transcript"), 404, "not_found")


def test_with_the_store_away_the_api_says_so(api: Any, settings: Any) -> None:
    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?directConnection=true&serverSelectionTimeoutMS=200"
    documents.disconnect()
    problem = problem_of(api.get(f"tasks/{make_task().id}/transcript"), 503, "audit_unavailable")
    assert "Nothing is lost" in problem["detail"]
