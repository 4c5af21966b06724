"""Documents sent to /api/files."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from agents.files import safe_name
from agents.wire import FileWire
from tests.integration.api_cast import Api, api_of, events_of, problem_of, world

__all__ = ["world"]

CONTENT = b'name,fee\nAda,"1,50"\n'


@pytest.fixture
def olga(world: None, settings: Any, tmp_path: Path) -> Api:
    """The operator, with an empty workspace."""
    settings.WORKSPACE_ROOT = tmp_path
    return api_of("olga")


def document(name: str = "fees.csv", content: bytes = CONTENT) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def kept_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_document_is_put_into_the_workspace(olga: Api, tmp_path: Path) -> None:
    answer = olga.upload(file=document())
    assert answer.status_code == 201, answer.content
    wire = FileWire.model_validate_json(answer.content)
    assert wire.path.startswith("uploads/")
    assert wire.path.endswith("-fees.csv")
    assert (wire.size_bytes, wire.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert (tmp_path / wire.path).read_bytes() == CONTENT
    assert (tmp_path / wire.path).stat().st_mode & 0o777 == 0o600
    [event] = events_of("file.uploaded")
    assert (event.actor, event.body["path"], event.body["sha256"]) == ("user:olga", wire.path, wire.sha256)


def test_the_same_name_twice_is_two_documents(olga: Api, tmp_path: Path) -> None:
    paths = {olga.upload(file=document()).json()["path"] for _ in range(2)}
    assert len(paths) == len(kept_files(tmp_path)) == 2


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("fees.csv", "fees.csv"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/etc/shadow", "shadow"),
        (".htaccess", "htaccess"),
        ("..", "document"),
        ("", "document"),
        ("año fiscal (1).CSV", "ano_fiscal_1_.CSV"),
        ("\uff26\uff35\uff2c\uff2c.pdf", "FULL.pdf"),
        ("a\u200bb\0c\nd.txt", "ab_c_d.txt"),
        ("x" * 300 + ".csv", "x" * 76 + ".csv"),
        ("日本", "document"),
    ],
)
def test_a_name_becomes_one_plain_component(sent: str, kept: str) -> None:
    assert safe_name(sent) == kept


def test_a_hostile_name_stays_in_its_folder(olga: Api, tmp_path: Path) -> None:
    answer = olga.upload(file=document("../../../evil.csv"))
    assert answer.status_code == 201
    assert [path.parent for path in kept_files(tmp_path)] == [tmp_path / "uploads"]


def test_a_document_over_the_limit_is_not_kept(olga: Api, settings: Any, tmp_path: Path) -> None:
    settings.MAX_UPLOAD_BYTES = 10
    problem_of(olga.upload(file=document()), 413, "file_too_large")
    settings.MAX_UPLOAD_BYTES = -64_000 + 50  # already its head says that it is too long
    problem_of(olga.upload(file=document()), 413, "file_too_large")
    assert kept_files(tmp_path) == []
    assert not events_of("file.uploaded")


@pytest.mark.parametrize(
    "parts",
    [
        {"document": document()},
        {"file": "text, not a file"},
        {"file": [document(), document()]},
        {"file": document(), "path": "../x"},
        {"file": document(), "other": document()},
    ],
)
def test_exactly_one_file_is_taken(olga: Api, tmp_path: Path, parts: dict[str, Any]) -> None:
    problem = problem_of(olga.upload(**parts), 422, "body_invalid")
    assert problem["errors"][0]["pointer"] == "#/file"
    assert kept_files(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "multipart/form-data; boundary=x", 400, "body_malformed"),
        (b"rubbish", "multipart/form-data", 400, "body_malformed"),
        (b"rubbish", "multipart/form-data; boundary=x", 422, "body_invalid"),
        (b"{}", "application/json", 415, "media_type_unsupported"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "media_type_unsupported"),
        (CONTENT, "text/csv", 415, "media_type_unsupported"),
    ],
)
def test_only_a_multipart_form_is_read(olga: Api, body: bytes, kind: str, status: int, code: str) -> None:
    problem_of(olga.send("POST", "files", data=body, content_type=kind), status, code)


def test_a_workspace_that_cannot_be_written_is_no_crash(olga: Api, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file where the folder should be")
    problem_of(olga.upload(file=document()), 507, "workspace_unwritable")


def test_no_document_stays_without_its_event(olga: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no ledger")

    monkeypatch.setattr("agents.files.record", fail)
    problem_of(olga.upload(file=document()), 500, "internal_error")
    assert kept_files(tmp_path) == []
