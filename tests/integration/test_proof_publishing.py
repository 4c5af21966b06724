"""Signed checkpoints reach their second place, whatever fails on the way."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from audit.models import Checkpoint
from audit.proof import publishing
from audit.proof.notes import CUT_OFF
from audit.proof.publishing import Publisher, file_next, post_next
from audit.status import get_checkpoint_status
from tests.audit_cast import NOW, wait_until
from tests.integration.proof_cast import make_checkpoints, read_filed, set_places, split

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def places(settings: Any, tmp_path: Path) -> None:
    set_places(settings, tmp_path)


# --- the folder -----------------------------------------------------------------------------------------------
def test_notes_are_filed_once_and_in_order(settings: Any) -> None:
    signed = make_checkpoints(1, 5, 9)
    assert not file_next()
    signed = make_checkpoints(12)
    assert not file_next()
    assert not file_next()
    assert read_filed(settings.AUDIT_CHECKPOINT_DIR) == signed
    assert not Checkpoint.objects.filter(filed_at=None).exists()
    assert [path.name for path in settings.AUDIT_CHECKPOINT_DIR.iterdir()] == ["2026-11-23.checkpoints"]


def test_the_signed_log_is_on_the_disk_before_its_checkpoint_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut would take back what was told to the world, as one who shrinks the log does."""
    make_checkpoints(1)
    synced: list[str] = []

    def note(descriptor: int) -> None:
        synced.append(os.path.realpath(f"/proc/self/fd/{descriptor}").rsplit("/", 1)[-1])
        sync(descriptor)

    sync = os.fsync
    monkeypatch.setattr(os, "fsync", note)
    file_next()
    kinds = [name.rsplit(".", 1)[-1].removeprefix("sqlite3-") for name in synced]
    before = ["wal"] if connection.vendor == "sqlite" else []  # PostgreSQL syncs at each commit
    assert kinds[: len(before) + 1] == [*before, "checkpoints"]


def test_more_than_a_batch_is_filed_in_batches(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_BATCH", 2)
    signed = make_checkpoints(1, 2, 3, 4, 5)
    assert [file_next(), file_next(), file_next()] == [True, True, False]
    assert read_filed(settings.AUDIT_CHECKPOINT_DIR) == signed


def test_what_was_filed_but_not_marked_is_filed_again_and_nothing_is_missing(settings: Any) -> None:
    signed = make_checkpoints(1, 2)
    file_next()
    Checkpoint.objects.filter(size=2).update(filed_at=None)  # as after a kill between the two
    file_next()
    assert read_filed(settings.AUDIT_CHECKPOINT_DIR) == [*signed, signed[1]]


def test_a_note_that_was_cut_off_is_marked_and_the_whole_one_follows(tmp_path: Path) -> None:
    """At each byte of it, as a full disk or a power cut may leave it; and once more after that."""
    first, second, third = make_checkpoints(1, 2, 3)
    whole, cut = f"{first}\n".encode(), f"{second}\n".encode()
    for kept in range(len(cut) + 1):
        path = tmp_path / f"{kept}.checkpoints"
        path.write_bytes(whole + cut[:kept])
        publishing._append(path, cut)
        publishing._append(path, f"{third}\n".encode())
        text = path.read_text(errors="surrogateescape")  # cut in the midst of a character
        assert split(text) in ([first, second, third], [first, second, second, third]), kept
        assert text.count(CUT_OFF) == (0 < kept < len(cut))


def test_a_folder_that_takes_nothing_is_tried_again_until_it_does(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_RETRY_SECONDS", 0.05)
    settings.AUDIT_CHECKPOINT_DIR.write_text("a file stands in its place")
    publisher = Publisher()
    with publisher.running():
        signed = make_checkpoints(1, 2)
        publisher.wake()
        wait_until(lambda: "not filed" in publisher.fault)
        signed = make_checkpoints(7)
        assert get_checkpoint_status().unfiled_since == NOW
        settings.AUDIT_CHECKPOINT_DIR.unlink()
        wait_until(lambda: publisher.fault == "")
    assert read_filed(settings.AUDIT_CHECKPOINT_DIR) == signed


def test_one_that_never_led_files_nothing_when_it_stops(settings: Any) -> None:
    make_checkpoints(1)
    with Publisher().running():
        pass
    assert not settings.AUDIT_CHECKPOINT_DIR.exists()


def test_two_threads_that_publish_at_once_tear_no_note(settings: Any) -> None:
    """As when one that slept past its lease still files: notes may stand there twice, never within another."""
    signed = make_checkpoints(*range(1, 60))

    def publish(_: int) -> None:
        try:
            file_next()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, range(4)))
    assert set(read_filed(settings.AUDIT_CHECKPOINT_DIR)) == set(signed)
    assert CUT_OFF not in next(settings.AUDIT_CHECKPOINT_DIR.iterdir()).read_text()


# --- the webhook ----------------------------------------------------------------------------------------------
class Receiver:
    """A web server that answers as it is told, and keeps what it took."""

    def __init__(self) -> None:
        self.answer = 204
        self.hang = threading.Event()
        self.hang.set()
        self.asked = 0
        self.taken: list[str] = []

    @contextmanager
    def running(self) -> Iterator[str]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.asked += 1
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver.hang.wait(10)
                if receiver.answer == 0:
                    self.wfile.write(b"not http at all\r\n\r\n")
                    return
                self.send_response(receiver.answer)
                if receiver.answer == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                if receiver.answer == 204:
                    receiver.taken.append(body)

            def do_GET(self) -> None:  # where a redirection would lead
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/notes"
        finally:
            self.hang.set()
            server.shutdown()
            server.server_close()


@pytest.fixture
def receiver(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(publishing, "_RETRY_SECONDS", 0.05)
    receiver = Receiver()
    with receiver.running() as url:
        settings.AUDIT_CHECKPOINT_WEBHOOK = url
        yield receiver


def test_a_webhook_that_fails_hangs_and_then_takes_them_gets_them_all(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_POST_SECONDS", 0.3)
    publisher = Publisher()
    with publisher.running():
        signed = make_checkpoints(1, 2)
        for answer in (500, 302, 0):  # a redirection is no success: the notes would not get there
            receiver.answer, asked = answer, receiver.asked
            publisher.wake()
            wait_until(lambda asked=asked: receiver.asked > asked + 1)  # type: ignore[misc]
            assert "not posted" in publisher.fault
        receiver.hang.clear()
        receiver.answer = 500
        wait_until(lambda: "timed out" in publisher.fault)
        signed = make_checkpoints(8)
        publisher.wake()
        wait_until(lambda: len(read_filed(settings.AUDIT_CHECKPOINT_DIR)) == 3)  # the folder does not wait for it
        assert get_checkpoint_status().unposted_since == NOW
        receiver.answer = 204
        receiver.hang.set()
        wait_until(lambda: publisher.fault == "")
    assert list(dict.fromkeys(split("".join(receiver.taken)))) == signed  # those that timed out may come twice
    assert not Checkpoint.objects.filter(posted_at=None).exists()


def test_a_webhook_that_hangs_does_not_keep_a_process_from_ending(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_END_SECONDS", 0.2)
    receiver.hang.clear()
    publisher = Publisher()
    with publisher.running():
        make_checkpoints(1)
        publisher.wake()
        wait_until(lambda: receiver.asked == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert Checkpoint.objects.filter(posted_at=None).count() == 1
    receiver.hang.set()
    wait_until(lambda: not Checkpoint.objects.filter(posted_at=None).exists())


def test_the_signed_log_is_on_the_disk_before_its_checkpoint_is_posted(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(publishing, "make_durable", lambda: done.append("durable"))
    monkeypatch.setattr(publishing, "_post", lambda notes: done.append("posted"))
    make_checkpoints(1)
    post_next()
    assert done == ["durable", "posted"]


def test_without_a_webhook_nothing_waits_for_it() -> None:
    make_checkpoints(1)
    assert not post_next()
    assert get_checkpoint_status().unposted_since is None
