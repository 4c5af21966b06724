"""Bad input over HTTP: every one is refused with the right status, none makes a task, none is a crash."""

import gzip
import zlib
from typing import Any

import orjson
import pytest

from agents.models import Task
from tests.integration.api_cast import AGENT, INPUT, ORDER, SKILL, Api, api_of, events_of, problem_of, world

__all__ = ["world"]


@pytest.fixture
def olga(world: None) -> Api:
    """The operator."""
    return api_of("olga")


# --- ids ------------------------------------------------------------------------------------------------------
HOSTILE_IDS = {
    "unknown": "no-such-thing",
    "empty": "",
    "a blank": " ",
    "65 characters": "x" * 65,
    "10,000 characters": "x" * 10_000,
    "nearly 1 MB": "x" * 990_000,
    "another case": "NORMALIZER",
    "a blank before": " normalizer",
    "a line after": "normalizer\n",
    "NFKC: full width": "\uff4eormalizer",
    "NFKC: a ligature": "workspacePatc\ufb01",
    "a Cyrillic look-alike": "n\u043ermalizer",
    "a zero-width space": "normal\u200bizer",
    "a zero-width joiner": "normalizer\u200d",
    "a soft hyphen": "normal\u00adizer",
    "a byte order mark": "\ufeffnormalizer",
    "right to left": "\u202erezilamron",
    "SQL": "normalizer' OR '1'='1",
    "SQL, stacked": "x'; DROP TABLE agents_task; --",
    "a template": "{{ settings.SECRET_KEY }}",
    "HTML": "<script>alert(1)</script>",
    "a path": "../../etc/passwd",
    "a format string": "%s%s%s%n{0.__class__}",
    "a log line": "x\r\nlevel=CRITICAL",
    "an operator of MongoDB": "$where",
    "JSON": '{"$ne":null}',
    "a shell": "$(id)",
    "a private method": "__class__",
}


@pytest.mark.parametrize("field", ["agentId", "skillId"])
@pytest.mark.parametrize("name", HOSTILE_IDS)
def test_an_id_that_is_not_known_is_denied_and_audited(olga: Api, name: str, field: str) -> None:
    code = "agent_unknown" if field == "agentId" else "skill_unknown"
    answer = olga.post("tasks", ORDER | {field: HOSTILE_IDS[name]})
    problem_of(answer, 422, code)
    assert len(answer.content) < 1_000
    assert not Task.objects.exists()
    [event] = events_of("task.refused")
    assert (event.decision, event.reason) == ("deny", code)
    assert len(str(event.body)) < 1_000
    assert str(event.body).isascii()


@pytest.mark.parametrize("field", ["agentId", "skillId"])
@pytest.mark.parametrize("value", [0, 1.5, True, [], {}, ["normalizer"], {"$ne": None}])
def test_an_id_of_another_type_is_no_id(olga: Api, field: str, value: Any) -> None:
    problem = problem_of(olga.post("tasks", ORDER | {field: value}), 422, "body_invalid")
    assert problem["errors"][0]["pointer"] == f"#/{field}"


@pytest.mark.parametrize("field", ["agentId", "skillId"])
def test_a_nul_in_an_id_is_malformed(olga: Api, field: str) -> None:
    problem_of(olga.post("tasks", ORDER | {field: "normalizer\0"}), 400, "json_nul")


@pytest.mark.parametrize("name", [name for name in HOSTILE_IDS if len(HOSTILE_IDS[name]) <= 10_000])
@pytest.mark.parametrize("route", ["agents/{}", "tasks/{}", "tasks/{}/artifacts/x"])
def test_a_hostile_id_in_an_address_is_not_found(olga: Api, route: str, name: str) -> None:
    from urllib.parse import quote

    answer = olga.get(route.format(quote(HOSTILE_IDS[name], safe="")))
    assert answer.status_code == 404, answer.content
    assert answer["Content-Type"] == "application/problem+json"


# --- bodies ---------------------------------------------------------------------------------------------------
def body_with(text: bytes) -> bytes:
    """Return an order whose data is the given JSON text."""
    head = f'{{"agentId":"{AGENT}","skillId":"{SKILL}","input":{{"schema":{{}},"data":'.encode()
    return head + text + b"}}"


BODIES: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "body_malformed"),
    "blanks": (b"   ", 400, "json_malformed"),
    "a list": (b"[]", 400, "body_malformed"),
    "a form": (b"agentId=x&skillId=y", 400, "json_malformed"),
    "XML": (b"<?xml version='1.0'?><a/>", 400, "json_malformed"),
    "a byte order mark": (b"\xef\xbb\xbf" + orjson.dumps(ORDER), 400, "json_bom"),
    "UTF-16": (orjson.dumps(ORDER).decode().encode("utf-16"), 400, "json_not_utf8"),
    "invalid UTF-8": (body_with(b'{"a":"\xff\xfe"}'), 400, "json_not_utf8"),
    "a lone surrogate": (body_with(b'{"a":"\\ud800"}'), 400, "json_lone_surrogate"),
    "NUL": (body_with(b'{"a":"\\u0000"}'), 400, "json_nul"),
    "NaN": (body_with(b'{"a":NaN}'), 400, "json_not_finite"),
    "Infinity": (body_with(b'{"a":-Infinity}'), 400, "json_not_finite"),
    "1e400": (body_with(b'{"a":1e400}'), 400, "json_not_finite"),
    "2**63": (body_with(b'{"a":9223372036854775808}'), 400, "json_integer_range"),
    "a million digits": (body_with(b"9" * 900_000), 400, "json_integer_range"),
    "a key twice": (b'{"agentId":"a",' + orjson.dumps(ORDER)[1:], 400, "json_duplicate_key"),
    "a key twice, deep inside": (body_with(b'{"a":{"b":1,"b":2}}'), 400, "json_duplicate_key"),
    "depth 101": (body_with(b"[" * 99 + b"]" * 99), 400, "json_too_deep"),
    "depth 100,000": (body_with(b"[" * 100_000 + b"]" * 100_000), 400, "json_too_deep"),
    "depth 100,000, objects": (body_with(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), 400, "json_too_deep"),
    "depth 400,000, unclosed": (b'{"a":' * 190_000, 400, "json_too_deep"),
    "one byte over 1 MB": (b'"' + b"x" * 999_999 + b'"', 413, "body_too_large"),
    "5 MB": (b"[" + b" " * 5_000_000 + b"]", 413, "body_too_large"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_not_plain_json_is_refused(olga: Api, name: str) -> None:
    body, status, code = BODIES[name]
    problem_of(olga.post("tasks", body), status, code)
    assert not Task.objects.exists()


def test_the_largest_and_deepest_body_is_taken(olga: Api) -> None:
    deepest = body_with(b'{"a":' * 98 + b"1" + b"}" * 98)  # with the order and its input: 100 levels
    assert olga.post("tasks", deepest).status_code in {202, 422}
    largest = body_with(b'{"a":"' + b"x" * (1_000_000 - len(body_with(b'{"a":""}'))) + b'"}')
    assert len(largest) == 1_000_000
    assert olga.post("tasks", largest).status_code == 202


BOMB = gzip.compress(b" " * 50_000_000)


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(orjson.dumps(ORDER)), "gzip"),
        (BOMB, "gzip"),
        (BOMB, "GZIP"),
        (zlib.compress(orjson.dumps(ORDER)), "deflate"),
        (orjson.dumps(ORDER), "br"),
        (orjson.dumps(ORDER), "identity, gzip"),
        (orjson.dumps(ORDER), "x"),
    ],
)
def test_an_encoded_body_is_not_unpacked(olga: Api, body: bytes, coding: str) -> None:
    problem_of(olga.post("tasks", body, Content_Encoding=coding), 415, "encoding_unsupported")


def test_a_bomb_without_its_header_is_not_json(olga: Api) -> None:
    problem_of(olga.post("tasks", BOMB), 400, "json_not_utf8")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("text/plain", "media_type_unsupported"),
        ("text/json", "media_type_unsupported"),
        ("application/x-www-form-urlencoded", "media_type_unsupported"),
        ("multipart/form-data; boundary=x", "media_type_unsupported"),
        ("application/xml", "media_type_unsupported"),
        ("application/json-patch+json", "media_type_unsupported"),
        ("application/jsonp", "media_type_unsupported"),
        ("*/*", "media_type_unsupported"),
        ("x" * 10_000, "media_type_unsupported"),
        ("application/json; charset=utf-16", "charset_unsupported"),
        ("application/json; charset=latin-1", "charset_unsupported"),
        ('application/json; charset="utf-7"', "charset_unsupported"),
    ],
)
def test_another_content_type_is_not_read(olga: Api, kind: str, code: str) -> None:
    problem_of(olga.post("tasks", orjson.dumps(ORDER), Content_Type=kind), 415, code)


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", ';charset="UTF-8"', "; charset=utf8"])
@pytest.mark.parametrize("kind", ["application/json", "Application/JSON"])
def test_json_by_its_names_is_read(olga: Api, kind: str, charset: str) -> None:
    assert olga.post("tasks", orjson.dumps(ORDER), Content_Type=kind + charset).status_code == 202


def test_what_the_client_accepts_changes_nothing(olga: Api) -> None:
    for accepted in ("text/html", "*/*", "application/xml;q=1", "x" * 5_000, "../../etc/passwd"):
        answer = olga._client.get("/api/agents", headers=olga._headers | {"Accept": accepted})
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")


# --- fields that would be more ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "field", ["force", "escalate", "actAsAgent", "submittedBy", "status", "traceId", "taskId", "__proto__"]
)
def test_a_field_that_would_be_more_is_refused(olga: Api, field: str) -> None:
    problem_of(olga.post("tasks", ORDER | {field: True}), 422, "body_invalid")
    assert not Task.objects.exists()


def test_inside_input_such_fields_change_nothing(olga: Api) -> None:
    data = {"force": True, "escalate": True, "actAsAgent": "build-refactor-agent", "fee": "$1"}
    answer = olga.post("tasks", ORDER | {"input": INPUT | {"data": data}})
    assert answer.status_code == 202
    task = Task.objects.get()
    assert (task.agent_id, task.submitted_by, task.priority, task.state) == (AGENT, "olga", 0, "queued")


def test_many_problems_are_answered_in_few_words(olga: Api) -> None:
    body = ORDER | {f"{'x' * 300}{number}": 1 for number in range(2_000)}
    answer = olga.post("tasks", body)
    problem = problem_of(answer, 422, "body_invalid")
    assert len(problem["errors"]) == 20
    assert len(answer.content) < 20_000


@pytest.mark.parametrize("note", ["\ud83d\ude00" * 3000, "x" * 900_000])
def test_a_very_long_note_is_refused(world: None, note: str) -> None:
    body = {"decision": "approve", "note": note.encode("utf-16", "surrogatepass").decode("utf-16")}
    assert api_of("ana").post("approvals/none/decision", body).status_code in {404, 422}


# --- headers --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("request_id", ["x" * 500, "a b", "<script>", "../../x", "é", ""])
def test_a_request_id_that_is_not_sane_is_replaced(olga: Api, request_id: str) -> None:
    answer = olga._client.get("/api/nowhere", headers={"X-Request-Id": request_id})
    problem = problem_of(answer, 404, "not_found")
    assert problem["requestId"] != request_id
    assert problem["requestId"].isalnum()


@pytest.mark.parametrize("length", ["-1", "0", "9" * 30])
def test_a_length_that_is_none_is_no_crash(olga: Api, length: str) -> None:
    answer = olga.send("POST", "tasks", data=b"", CONTENT_LENGTH=length, content_type="application/json")
    assert 400 <= answer.status_code < 500
