"""What readers without the right to payloads get of an event."""

from audit.exploring.redaction import redact, reveal


def test_a_redacted_event_has_no_body_whoever_shows_it() -> None:
    event = {"seq": 1, "actor": "user:axel", "body": {"note": "secret"}}
    assert redact(event) == {"seq": 1, "actor": "user:axel", "body": None, "redacted": True}
    assert reveal(event) == event | {"redacted": False}
