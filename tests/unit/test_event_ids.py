"""Which ids an event is found by."""

import pytest

from audit.canonical import canonical_bytes
from audit.exploring.filters import read_filters
from audit.ids import collect_ids


def test_an_event_is_found_by_its_own_id_its_cause_its_trace_and_those_of_its_body() -> None:
    body = {
        "decisionId": "d-1", "agentId": "coder", "inner": [{"stepId": "s-1"}], "text": '"approvalId":"forged"',
        "callId": "with space", "n": 5, "id": "no",
    }  # fmt: skip
    document = {"_id": "e-1", "causeId": "e-0", "traceId": "t-1", "body": canonical_bytes(body).decode()}
    assert collect_ids(document) == ["e-1", "e-0", "t-1", "d-1", "s-1"]
    assert collect_ids({"_id": "e-1", "causeId": None, "traceId": None, "body": None}) == ["e-1"]


def test_a_body_of_many_ids_is_cut() -> None:
    many = canonical_bytes([{"stepId": f"s-{n}"} for n in range(1_000)]).decode()
    assert len(collect_ids({"_id": "e-1", "body": many})) == 24


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"actor": "olga"}, {"actor": "user:olga"}),
        ({"actor": "agent:coder"}, {"actor": "agent:coder"}),
        ({"actor": "system"}, {"actor": "system"}),
        ({"type": "approval."}, {"type": "approval."}),
        ({"type": "approval.", "decision": "deny"}, {"type": "approval.", "decision": "deny"}),
        ({"q": " #17 ", "skill": "x"}, {"q": "#17", "skill": "x"}),
        ({"since": "2026-11-23T12:00:00+01:00"}, {"since": "2026-11-23T11:00:00.000000Z"}),
        ({"beats": "1"}, {"beats": "1"}),
        ({"task": "a b", "type": "approve.", "since": "soon", "beats": "yes"}, {}),
    ],
)
def test_what_filters_describe_reads_back_as_the_same(query: dict[str, str], wanted: dict[str, str]) -> None:
    asked = read_filters(query)
    assert asked.filters.describe() == wanted
    assert read_filters(wanted).filters == asked.filters
    assert bool(asked.problems) is (not wanted)
