"""Alertmanager's webhook: what is taken, what it changes, and where people see it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from orchestrator_site.alerts import keeping
from orchestrator_site.alerts.models import Alert
from tests.integration.api_cast import AGENT, Api, api_of, events_of, problem_of, world

__all__ = ["world"]

pytestmark = pytest.mark.usefixtures("world")

STARTED = "2026-11-26T09:45:59.123456789Z"
ENDED = "2026-11-26T10:45:59.5+01:00"
NOTHING = "0001-01-01T00:00:00Z"


@pytest.fixture
def alertmanager() -> Api:
    return api_of("ada", "alerts:write")


def alert(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return an alert as Alertmanager 0.25 to 0.28 sends it."""
    return {
        "status": "firing",
        "labels": {"alertname": "HighErrorRate", "severity": "critical", "agent": AGENT},
        "annotations": {"summary": "Tasks fail", "description": "9 % of them.", "runbook_url": "https://example.com/r"},
        "startsAt": STARTED,
        "endsAt": NOTHING,
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
        "fingerprint": f"{number:016x}",
        **changes,
    }


def notice(*alerts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "receiver": "orchestrator",
        "status": "firing",
        "alerts": list(alerts),
        "groupLabels": {"alertname": "HighErrorRate"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "version": "4",
        "groupKey": '{}:{alertname="HighErrorRate"}',
        "truncatedAlerts": 0,
        **changes,
    }


def tell(alertmanager: Api, *alerts: dict[str, Any]) -> dict[str, int]:
    answer = alertmanager.post("alerts", notice(*alerts))
    assert answer.status_code == 200, answer.content
    told: dict[str, int] = answer.json()
    return told


def test_an_alert_fires_once_and_ends_once_however_often_it_is_told(alertmanager: Api) -> None:
    assert tell(alertmanager, alert()) == {"fired": 1, "resolved": 0}
    assert tell(alertmanager, alert(annotations={"summary": "More tasks fail"})) == {"fired": 0, "resolved": 0}
    ended = alert(status="resolved", endsAt=ENDED)
    assert tell(alertmanager, ended) == {"fired": 0, "resolved": 1}
    assert tell(alertmanager, ended) == {"fired": 0, "resolved": 0}
    fired, resolved = events_of("alert.fired"), events_of("alert.resolved")
    assert [(event.agent_id, event.actor) for event in fired] == [(AGENT, "user:ada")]
    assert len(resolved) == 1
    assert tell(alertmanager, alert()) == {"fired": 1, "resolved": 0}  # it fires again
    assert len(events_of("alert.fired")) == 2


def test_what_fires_is_listed_first_and_what_ended_after_it(alertmanager: Api) -> None:
    minor = alert(2, labels={"alertname": "QueueBacklog", "severity": "warning", "agent": "nobody"})
    tell(alertmanager, minor, alert(3), alert(1))
    tell(alertmanager, alert(3, status="resolved", endsAt=ENDED))
    found = api_of("olga", "system:read").get("alerts").json()["results"]
    assert [(one["name"], one["status"], one["severity"], one["agentId"]) for one in found] == [
        ("HighErrorRate", "firing", "critical", AGENT),
        ("QueueBacklog", "firing", "warning", None),
        ("HighErrorRate", "resolved", "critical", AGENT),
    ]
    assert found[0]["startedAt"] == "2026-11-26T09:45:59.123456Z"
    assert found[0]["endedAt"] is None
    assert found[2]["endedAt"] == "2026-11-26T09:45:59.500000Z"


def test_an_end_of_what_was_never_heard_of_changes_nothing(alertmanager: Api) -> None:
    assert tell(alertmanager, alert(status="resolved", endsAt=ENDED)) == {"fired": 0, "resolved": 0}
    assert not Alert.objects.exists()


def test_an_end_at_the_time_of_nothing_is_now(alertmanager: Api) -> None:
    tell(alertmanager, alert())
    tell(alertmanager, alert(status="resolved"))
    ended_at = Alert.objects.get().ended_at
    assert ended_at is not None
    assert timezone.now() - ended_at < timedelta(minutes=1)


def test_members_that_a_newer_alertmanager_adds_are_let_pass(alertmanager: Api) -> None:
    body = notice(alert(silencedBy=[], extra={"deep": [1]}), notificationReason="resolved")
    assert alertmanager.post("alerts", body).json() == {"fired": 1, "resolved": 0}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (notice(alert(), version="5"), "#/version"),
        (notice(alert(fingerprint="../x")), "#/alerts/0/fingerprint"),
        (notice(alert(status="maybe")), "#/alerts/0/status"),
        (notice(alert(startsAt="yesterday")), "#/alerts/0/startsAt"),
        (notice(alert(startsAt="2026-11-26T09:45:59")), "#/alerts/0/startsAt"),
        (notice(alert(endsAt="9999-12-31T23:59:59-23:00")), "#/alerts/0/endsAt"),
        (notice(alert(labels={"alertname": 7})), "#/alerts/0/labels/alertname"),
        (notice(alert(labels={"a" * 200: "x"})), "#/alerts/0/labels"),
        (notice(alert(labels={"alertname": "x" * 1_001})), "#/alerts/0/labels/alertname"),
        (notice(alert(labels={f"l{n}": "x" for n in range(65)})), "#/alerts/0/labels"),
        (notice(*[alert(n) for n in range(501)]), "#/alerts"),
        ({"version": "4", "status": "firing"}, "#/alerts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_of_the_format_is_refused_whole(alertmanager: Api, body: dict[str, Any], pointer: str) -> None:
    problem = problem_of(alertmanager.post("alerts", body), 422, "body_invalid")
    assert problem["errors"][0]["pointer"].startswith(pointer)
    assert not Alert.objects.exists()


def test_more_than_are_kept_are_refused(alertmanager: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MAX_FIRING", 3)
    tell(alertmanager, alert(1), alert(2))
    problem_of(alertmanager.post("alerts", notice(alert(3), alert(4))), 409, "too_many_alerts")
    assert Alert.objects.count() == 2
    assert len(events_of("alert.fired")) == 2


def test_what_ended_long_ago_is_forgotten(alertmanager: Api) -> None:
    tell(alertmanager, alert(1), alert(2))
    tell(alertmanager, alert(1, status="resolved", startsAt="2020-01-01T00:00:00Z", endsAt="2020-01-01T00:01:00Z"))
    assert [row.fingerprint for row in Alert.objects.all()] == [f"{2:016x}"]


def test_a_secret_in_a_text_is_not_kept(alertmanager: Api) -> None:
    secret = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sT5vX7z" * 2
    tell(alertmanager, alert(annotations={"summary": f"key {secret}", "runbook_url": "javascript:alert(1)"}))
    row = Alert.objects.get()
    assert secret not in row.summary
    assert "[redacted" in row.summary
    assert row.runbook_url == ""


def page_of(name: str, address: str) -> str:
    client = Client()
    client.force_login(User.objects.get(username=name), backend="django.contrib.auth.backends.ModelBackend")
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.fixture(autouse=True)
def plain_files(settings: Any) -> None:
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


def test_people_see_what_fires(alertmanager: Api) -> None:
    assert "of the monitoring" not in page_of("vera", "/")
    hostile = alert(annotations={"summary": '<img src=x onerror="alert(1)">', "runbook_url": 'https://e.com/"><b>'})
    tell(alertmanager, hostile)
    assert "1 alert</strong> of the monitoring fires" in page_of("vera", "/")
    page = page_of("olga", "/system/")
    assert "HighErrorRate" in page
    assert "<img src=x" not in page
    assert "<b>" not in page
    tell(alertmanager, alert(status="resolved", endsAt=ENDED))
    assert "of the monitoring" not in page_of("vera", "/")
    assert "HighErrorRate" not in page_of("olga", "/system/")


def test_what_alertmanager_has_stopped_telling_of_ends(alertmanager: Api) -> None:
    tell(alertmanager, alert(1), alert(2), alert(3))
    now = timezone.now()
    Alert.objects.filter(fingerprint=f"{1:016x}").update(heard_at=now - keeping.UNHEARD - timedelta(minutes=1))
    Alert.objects.filter(fingerprint=f"{2:016x}").update(heard_at=now - keeping.UNHEARD + timedelta(minutes=1))
    tell(alertmanager, alert(3))  # one was silenced when it ended, so its end is never told
    assert {row.fingerprint for row in keeping.list_firing()} == {f"{2:016x}", f"{3:016x}"}
    (event,) = events_of("alert.resolved")
    assert event.actor == "system"
    assert tell(alertmanager, alert(1)) == {"fired": 1, "resolved": 0}  # it was silent for another reason
