"""The task page in the console: what is shown, and what a person may do."""

import hashlib
from typing import Any

import pytest
from django.utils import timezone

from agents.models import Artifact, Step, Task
from audit.models import LedgerEvent
from tests.integration.console_cast import (
    make_decision,
    make_refused_task,
    make_task,
    make_waiting_task,
    sign_in,
    text_of,
    world,
)
from toolgate.models import PolicyVersion

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")

# --- the task page ----------------------------------------------------------------------------------------------
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7|add:7 }}\u202e\x1b[31m'


def test_what_agents_and_users_wrote_is_inert() -> None:
    task = make_task(
        state="failed", input={"url": HOSTILE}, result={"content": HOSTILE, HOSTILE[:40]: [{HOSTILE: HOSTILE}]},
        error_code="http_error", error_message=HOSTILE,
    )  # fmt: skip
    make_decision(task, detail=HOSTILE, deciding_rules=[HOSTILE])
    Step.objects.create(
        id="s1", task=task, fence=1, ordinal=1, kind="skill", state="failed", skill_id="sourceFetch",
        error_message=HOSTILE, started_at=task.created_at,
    )  # fmt: skip
    for path in (f"/tasks/{task.id}/", "/tasks/"):
        page = text_of(sign_in("ada").get(path))
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "\u202e" not in page
        assert "\x1b" not in page
        assert "{{ 7|add:7 }}" in page


def test_an_error_says_what_happened_what_was_kept_and_what_to_do() -> None:
    page = text_of(sign_in("ada").get(f"/tasks/{make_refused_task().id}/"))
    assert "Example.com is not among the hosts of the rules" in page
    assert "The order is kept" in page
    assert "Allow the host for this agent and retry" in page
    assert "domain_not_allowed · market-research-fetch · policy version 1" in page


def test_answers_of_people_are_told_with_what_they_were_about() -> None:
    now = timezone.now()
    decided = {"state": "used", "decided_by": "ana", "decided_at": now, "used_at": now}
    task, changed = make_waiting_task(**decided, asked_arguments={"filePath": "a.txt"})
    _, again = make_waiting_task(**decided, task_id=task.id, kind="step_unknown")
    page = text_of(sign_in("ada").get(f"/tasks/{task.id}/"))
    for words in ("ana approved once, with other arguments", "A person is asked whether", "ana let it run once more"):
        assert words in page
    assert f'href="/approvals/{changed.id}/"' in page
    assert f'href="/approvals/{again.id}/"' in page


def test_the_live_part_is_what_htmx_gets() -> None:
    task = make_task()
    answer = sign_in("vera").get(f"/tasks/{task.id}/", headers={"HX-Request": "true"})
    page = text_of(answer)
    assert "<html" not in page
    assert 'id="task-live"' in page
    assert 'hx-swap-oob="true"' in page


def test_a_result_can_be_downloaded_whole_and_never_as_a_page() -> None:
    task = make_task(result={"content": HOSTILE})
    answer = sign_in("vera").get(f"/tasks/{task.id}/result.json")
    assert answer.json() == {"content": HOSTILE}
    assert answer["Content-Disposition"].startswith("attachment")
    assert sign_in("vera").get(f"/tasks/{make_task().id}/result.json").status_code == 404


def test_a_file_of_a_task_is_sent_as_a_download_and_audited(settings: Any, tmp_path: Any) -> None:
    settings.WORKSPACE_ROOT = tmp_path
    task = make_task()
    folder = tmp_path / "artifacts" / "tasks" / task.id
    folder.mkdir(parents=True)
    content = b"<script>alert(1)</script>"
    (folder / "page.html").write_bytes(content)
    Artifact.objects.create(
        task=task, name="page.html", path=f"artifacts/tasks/{task.id}/page.html", size_bytes=25,
        sha256=hashlib.sha256(content).hexdigest(), content_type="text/html", created_at=task.created_at,
    )  # fmt: skip
    answer = sign_in("vera").get(f"/tasks/{task.id}/artifacts/page.html")
    assert b"".join(answer.streaming_content) == content  # type: ignore[attr-defined]
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment")
    assert LedgerEvent.objects.filter(type="artifact.read", task_id=task.id, actor="user:vera").count() == 1
    assert sign_in("vera").get(f"/tasks/{task.id}/artifacts/other.html").status_code == 404


# --- what a person may do to a task -----------------------------------------------------------------------------
def test_cancel_and_retry_move_the_task_and_name_the_person() -> None:
    task, _ = make_waiting_task()
    client = sign_in("olga")
    client.post(f"/tasks/{task.id}/cancel/")
    assert Task.objects.get(id=task.id).state == "cancelled"
    client.post(f"/tasks/{task.id}/retry/")
    assert Task.objects.get(id=task.id).state == "queued"
    actors = LedgerEvent.objects.filter(task_id=task.id).values_list("type", "actor")
    assert ("task.cancelled", "user:olga") in actors
    assert ("task.retried", "user:olga") in actors


def test_a_task_that_is_over_cannot_be_cancelled_and_the_page_says_so() -> None:
    task = make_task()
    page = text_of(sign_in("olga").post(f"/tasks/{task.id}/cancel/", follow=True))
    assert 'class="note deny"' in page
    assert Task.objects.get(id=task.id).state == "succeeded"


def test_allowing_a_host_makes_a_policy_version_with_a_reason_and_queues_the_task() -> None:
    task = make_refused_task()
    sent = {"host": "example.com", "reason": "reports of the partner"}
    page = text_of(sign_in("ada").post(f"/tasks/{task.id}/allow-host/", sent, follow=True))
    version = PolicyVersion.objects.order_by("-number")[0]
    assert (version.number, version.author, version.reason) == (2, "ada", "reports of the partner")
    assert f"policy version {version.number}" in page
    assert Task.objects.get(id=task.id).state == "queued"
    assert LedgerEvent.objects.filter(type="policy.published", actor="user:ada").count() == 1


@pytest.mark.parametrize("sent", [{"host": "example.com"}, {"host": "example.com", "reason": "  "},
                                  {"host": "evil.example", "reason": "why not"}, {"reason": "why not"}])  # fmt: skip
def test_allowing_needs_a_reason_and_the_very_host_that_was_refused(sent: dict[str, str]) -> None:
    task = make_refused_task()
    page = text_of(sign_in("ada").post(f"/tasks/{task.id}/allow-host/", sent, follow=True))
    assert "Nothing was changed" in page
    assert PolicyVersion.objects.count() == 1
    assert Task.objects.get(id=task.id).state == "failed"


def test_only_who_keeps_the_rules_is_offered_to_allow() -> None:
    task = make_refused_task()
    assert "allow-host" in text_of(sign_in("ada").get(f"/tasks/{task.id}/"))
    assert "allow-host" not in text_of(sign_in("olga").get(f"/tasks/{task.id}/"))
