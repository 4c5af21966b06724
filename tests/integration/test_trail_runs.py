"""Verify a range and export a filtered part: with rights, with traces, with results that are kept."""

import csv
import gzip
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import AnonymousUser, User

from audit.events import EventType
from audit.exploring import verifying
from audit.exploring.downloads import ExportDownload
from audit.exploring.exporting import take_export
from audit.models import LedgerEvent, TrailRun
from audit.proof.keys import load_verifier
from tests.audit_cast import record_events
from tests.integration.console_cast import console_world, sign_in
from tests.integration.test_console_audit import ship

pytestmark = pytest.mark.usefixtures("trail")
HIDDEN = "hidden from most"
VERIFIER = Path(__file__).resolve().parents[2] / "audit" / "bundles" / "verify_trail.py"


@pytest.fixture
def trail(transactional_db: None, settings: Any, audit_store: Any) -> Iterator[Any]:
    with console_world(settings):
        record_events(30, decision="deny", body={"note": HIDDEN})
        record_events(400, start=100, agent_id="coder")
        ship()
        yield audit_store


def events_of(type_: EventType) -> list[LedgerEvent]:
    return list(LedgerEvent.objects.filter(type=type_).order_by("id"))


# --- verify -----------------------------------------------------------------------------------------------------
def verify(first: str = "", last: str = "") -> TrailRun:
    answer = sign_in("axel").post("/audit/verify/", {"first": first, "last": last}, follow=True)
    assert answer.status_code == 200
    run: TrailRun = answer.context["run"]
    return run


def test_a_range_that_holds_is_said_to_hold_and_that_is_recorded() -> None:
    run = verify("10", "300")
    assert (run.state, run.result["holds"], run.result["findings"]) == ("done", True, [])
    assert (run.result["since"] < 10, run.result["to"] >= 300) == (True, True)
    [event] = events_of(EventType.TRAIL_VERIFIED)
    assert (event.actor, event.body["holds"], event.body["findings"]) == ("user:axel", True, [])


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (lambda store: store.update_one({"seq": 40}, {"$set": {"reason": "other"}}), ("store", "edited", 40)),
        (lambda store: store.delete_one({"seq": 41}), ("store", "missing", 41)),
        (lambda _: LedgerEvent.objects.filter(seq=42).update(actor="user:nobody"), ("ledger", "edited", 42)),
    ],
)  # fmt: skip
def test_what_was_tampered_with_is_named_and_told_on_every_audit_page(
    trail: Any, tamper: Any, found: tuple[str, str, int]
) -> None:
    tamper(trail)
    run = verify("1", "100")
    finding = run.result["findings"][0]
    assert (finding["place"], finding["problem"], finding["first"]) == found
    [event] = events_of(EventType.TRAIL_VERIFIED)
    assert not event.body["holds"]
    page = sign_in("olga").get("/audit/").content.decode()
    assert "contradiction" in page


def test_a_large_range_waits_for_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "AT_ONCE", 10)
    run = verify("1", "200")
    assert run.state == "waiting"
    page = sign_in("axel").get(f"/audit/runs/{run.id}/").content.decode()
    assert "Waiting for a worker" in page
    assert verifying.run_due() == run.id
    assert verifying.run_due() is None
    run.refresh_from_db()
    assert (run.state, run.done, run.result["findings"]) == ("done", 200, [])
    assert events_of(EventType.TRAIL_VERIFIED)[0].actor == "user:axel"


@pytest.mark.parametrize(("first", "last"), [("x", "5"), ("9", "3"), ("900000", "900001")])
def test_a_range_that_is_none_is_refused(first: str, last: str) -> None:
    answer = sign_in("axel").post("/audit/verify/", {"first": first, "last": last})
    assert answer.status_code == 200
    assert not TrailRun.objects.exists()


# --- export -----------------------------------------------------------------------------------------------------
def order(person: str = "axel", **given: str) -> str:
    answer = sign_in(person).post("/audit/export/", {"format": "jsonl"} | given)
    assert answer.status_code == 302
    run_id: str = answer["Location"].split("/")[-2]
    return run_id


async def fetch(run_id: str, user: Any, *, method: str = "GET") -> tuple[int, bytes, bool]:
    """Return the status, the bytes, and whether the HTTP body came to its end."""
    scope = {"type": "http", "method": method, "user": user, "url_route": {"kwargs": {"run_id": run_id}}}
    client = ApplicationCommunicator(ExportDownload.as_asgi(), scope)
    start, body, more = await client.receive_output(20), b"", True
    while more:
        part = await client.receive_output(20)
        body, more = body + part["body"], part.get("more_body", False)
    await client.wait(20)
    return start["status"], body, not more


def download(run_id: str, person: str = "axel") -> tuple[int, bytes]:
    from asgiref.sync import async_to_sync

    status, body, _ = async_to_sync(fetch)(run_id, User.objects.get(username=person))
    return status, body


def test_an_export_is_the_filtered_list_and_says_that_it_is_whole() -> None:
    status, body = download(order(decision="deny"))
    *lines, last = body.splitlines(keepends=True)
    events, ended = [json.loads(line) for line in lines], json.loads(last)
    assert status == 200
    assert len(events) == 30
    assert {event["decision"] for event in events} == {"deny"}
    assert {event["body"]["note"] for event in events} == {HIDDEN}
    assert (ended["complete"], ended["events"]) == (True, 30)
    assert ended["sha256"] == hashlib.sha256(b"".join(lines)).hexdigest()
    ordered, complete = events_of(EventType.TRAIL_EXPORTED)
    assert (ordered.body["stage"], ordered.body["filters"]) == ("ordered", {"decision": "deny"})
    assert (complete.body["stage"], complete.body["events"], complete.cause_id) == ("complete", 30, ordered.event_id)


def test_an_export_as_csv_holds_the_same() -> None:
    _, body = download(order(format="csv", agent="coder"))
    head, *rows, last = csv.reader(io.StringIO(body.decode(), newline=""))
    assert len(rows) == 400
    assert {row[head.index("agentId")] for row in rows} == {"coder"}
    assert last[0] == "complete"


def test_a_bundle_from_the_page_is_one_that_the_auditors_program_takes(tmp_path: Path) -> None:
    status, body = download(order(format="bundle", after="0"))
    (path := tmp_path / "log.jsonl.gz").write_bytes(body)
    program = [sys.executable, "-I", str(VERIFIER), str(path), "--key", str(load_verifier())]
    checked = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (status, checked.returncode) == (200, 0), checked.stdout + checked.stderr
    assert "HOLDS" in checked.stdout
    ordered, complete = events_of(EventType.TRAIL_EXPORTED)
    assert (ordered.body["format"], ordered.body["after"]) == ("bundle", 0)
    assert complete.body["events"] == ordered.body["to"] >= 256
    assert complete.body["sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("after", ["many", "-1", str(2**52)])
def test_a_bundle_of_a_range_that_is_none_is_refused(after: str) -> None:
    answer = sign_in("axel").post("/audit/export/", {"format": "bundle", "after": after})
    assert answer.status_code == 200
    assert "Nothing was exported" in answer.content.decode()
    assert not TrailRun.objects.exists()


def test_a_bundle_without_the_right_to_payloads_holds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.access.may_read_payload", lambda user: False)
    _, body = download(order(format="bundle"))
    assert HIDDEN not in gzip.decompress(body).decode()


def test_an_export_is_fetched_once_and_by_nobody_else() -> None:
    run_id = order()
    assert download(run_id, "ada")[0] == 404
    assert download(run_id)[0] == 200
    assert download(run_id)[0] == 404


async def test_an_export_is_not_for_those_without_the_right() -> None:
    assert (await fetch("0" * 32, AnonymousUser()))[0] == 403
    assert (await fetch("0" * 32, AnonymousUser(), method="POST"))[0] == 405


def test_without_the_right_to_payloads_an_export_holds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.access.may_read_payload", lambda user: False)
    _, body = download(order(decision="deny"))
    assert HIDDEN.encode() not in body
    assert b'"redacted":true' in body


@pytest.mark.parametrize("person", ["vera", "olga", "ana"])
def test_verifying_and_exporting_need_their_own_right(person: str) -> None:
    client = sign_in(person)
    for path in ("/audit/verify/", "/audit/export/"):
        assert client.get(path).status_code == 403
        assert client.post(path).status_code == 403


def test_an_export_of_filters_that_make_no_sense_is_refused() -> None:
    answer = sign_in("axel").post("/audit/export/", {"format": "jsonl", "task": "a b"})
    assert answer.status_code == 200
    assert not TrailRun.objects.exists()


async def test_a_client_that_leaves_is_recorded_and_what_it_has_lacks_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from asgiref.sync import sync_to_async

    monkeypatch.setattr("audit.exploring.exporting._PAGE", 5)
    run_id = await sync_to_async(order)()
    user = await sync_to_async(User.objects.get)(username="axel")
    scope = {"type": "http", "method": "GET", "user": user, "url_route": {"kwargs": {"run_id": run_id}}}
    client = ApplicationCommunicator(ExportDownload.as_asgi(), scope)
    await client.receive_output(20)
    assert (await client.receive_output(20))["more_body"]
    await client.send_input({"type": "http.disconnect"})
    await client.wait(20)
    run = await sync_to_async(TrailRun.objects.get)(id=run_id)
    assert (run.state, run.error) == ("failed", "the client left")
    stages = [event.body["stage"] for event in await sync_to_async(events_of)(EventType.TRAIL_EXPORTED)]
    assert stages == ["ordered", "interrupted"]


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from asgiref.sync import sync_to_async

    monkeypatch.setattr(ExportDownload, "patience_seconds", 0.2)
    run_id = await sync_to_async(order)()
    user = await sync_to_async(User.objects.get)(username="axel")
    scope = {"type": "http", "method": "GET", "user": user, "url_route": {"kwargs": {"run_id": run_id}}}
    sent: list[Any] = []

    async def stuck(message: Any) -> None:
        sent.append(message)
        if len(sent) > 1:
            await asyncio.sleep(60)

    async def wait_forever() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    await ExportDownload.as_asgi()(scope, wait_forever, stuck)
    run = await sync_to_async(TrailRun.objects.get)(id=run_id)
    assert (run.state, run.error) == ("failed", "the client did not read for 0.2 s")
    assert all(message.get("more_body", True) for message in sent)


def test_an_export_reads_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.exploring.exporting._PAGE", 7)
    from django.utils import timezone

    export = take_export(order(), asked_by="axel", now=timezone.now())
    parts = list(export.parts())
    assert max(part.count(b"\n") for part in parts) == 7
    assert sum(part.count(b"\n") for part in parts) == export.run.last_seq - export.run.first_seq + 1
