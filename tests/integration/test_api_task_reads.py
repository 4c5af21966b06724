"""Tasks over HTTP: read, list, cancel, retry, and their files."""

import hashlib
from typing import Any

import pytest
from django.utils import timezone

from agents.models import Artifact, Task
from agents.queries import MAX_PAGE_CHARACTERS
from agents.wire import TaskPage, TaskWire
from tests.integration.api_cast import AGENT, ORDER, SKILL, Api, api_of, events_of, problem_of, world

__all__ = ["world"]


@pytest.fixture
def olga(world: None) -> Api:
    """The operator."""
    return api_of("olga")


def submit(api: Api, **changes: Any) -> dict[str, Any]:
    """Submit a task and return it."""
    answer = api.post("tasks", ORDER | changes)
    assert answer.status_code == 202, answer.content
    task: dict[str, Any] = answer.json()
    return task


# --- read -----------------------------------------------------------------------------------------------------
def test_a_task_is_read_as_it_is_now(olga: Api) -> None:
    task = submit(olga)
    Task.objects.filter(id=task["taskId"]).update(
        state="failed", error_code="domain_not_allowed", error_message="no", started_at=timezone.now()
    )
    answer = olga.get(f"tasks/{task['taskId']}")
    TaskWire.model_validate_json(answer.content)
    assert answer.json()["error"] == {"code": "domain_not_allowed", "reason": None, "message": "no"}


def test_an_unknown_task_is_not_found(olga: Api) -> None:
    for path in ("tasks/none", "tasks/" + "x" * 65, "tasks/a%00b", "tasks/../agents", "tasks/%2e%2e"):
        problem_of(olga.get(path), 404, "not_found")


def test_pages_are_newest_first_and_hold_every_task_once(olga: Api) -> None:
    ids = [submit(olga)["taskId"] for _ in range(5)]
    Task.objects.update(created_at=timezone.now())  # all in the same moment: the id decides
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = olga.get("tasks", limit=2, **cursor)
        TaskPage.model_validate_json(page.content)
        seen += [task["taskId"] for task in page.json()["results"]]
        if page.json()["next"] is None:
            break
        cursor = {"cursor": page.json()["next"]}
    assert seen == sorted(ids, reverse=True)


def test_filters_narrow_the_list(olga: Api) -> None:
    task = submit(olga)
    submit(olga, agentId="data-extraction-agent")
    Task.objects.filter(id=task["taskId"]).update(state="failed")
    wanted: list[tuple[dict[str, str], int]] = [
        ({}, 2), ({"status": "failed"}, 1), ({"status": "running"}, 0), ({"agentId": AGENT}, 1),
        ({"skillId": SKILL}, 2), ({"agentId": "nobody"}, 0), ({"agentId": AGENT, "status": "queued"}, 0),
    ]  # fmt: skip
    assert [len(olga.get("tasks", **query).json()["results"]) for query, _ in wanted] == [count for _, count in wanted]


def test_a_page_of_large_tasks_is_short_and_has_a_next(olga: Api) -> None:
    ids = [submit(olga)["taskId"] for _ in range(3)]
    Task.objects.update(result={"text": "x" * (MAX_PAGE_CHARACTERS // 2)})
    first = olga.get("tasks").json()
    assert [task["taskId"] for task in first["results"]] == [ids[2]]
    rest = olga.get("tasks", cursor=first["next"]).json()
    assert [task["taskId"] for task in rest["results"]] == [ids[1]]


@pytest.mark.parametrize(
    "query",
    [
        {"stauts": "failed"}, {"status": "FAILED"}, {"status": ""}, {"limit": "0"}, {"limit": "1001"}, {"limit": "-1"},
        {"limit": "1e2"}, {"limit": "٣"}, {"limit": "9" * 400}, {"cursor": ""}, {"cursor": "!"}, {"cursor": "AAAA"},
        {"cursor": "é"}, {"agentId": "a b"}, {"agentId": ""}, {"agentId": "x" * 65}, {"skillId": "\0"},
        {"limit": ["1", "2"]},
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_understood_is_refused(olga: Api, query: dict[str, Any]) -> None:
    problem_of(olga.get("tasks", **query), 400, "query_invalid")


@pytest.mark.parametrize("path", ["tasks/x", "agents", "agents/x", "skills", "health/deep", "tasks/x/artifacts/y"])
def test_no_route_takes_unknown_parameters(olga: Api, path: str) -> None:
    problem_of(olga.get(path, debug="1"), 400, "query_invalid")


# --- cancel and retry -----------------------------------------------------------------------------------------
def test_a_waiting_task_is_cancelled_at_once_and_not_twice(olga: Api) -> None:
    task = submit(olga)
    answer = olga.post(f"tasks/{task['taskId']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    problem_of(olga.post(f"tasks/{task['taskId']}/cancel"), 409, "state_conflict")
    [event] = events_of("task.cancelled")
    assert event.actor == "user:olga"


def test_a_cancelled_task_is_queued_again_and_not_twice(olga: Api) -> None:
    task = submit(olga)
    olga.post(f"tasks/{task['taskId']}/cancel")
    answer = olga.post(f"tasks/{task['taskId']}/retry", {})
    assert (answer.status_code, answer.json()["status"], answer.json()["attempt"]) == (202, "queued", 0)
    problem_of(olga.post(f"tasks/{task['taskId']}/retry"), 409, "state_conflict")


@pytest.mark.parametrize("act", ["cancel", "retry"])
def test_an_act_takes_no_fields(olga: Api, act: str) -> None:
    task = submit(olga)
    problem_of(olga.post(f"tasks/{task['taskId']}/{act}", {"force": True}), 422, "body_invalid")
    problem_of(olga.post("tasks/none/" + act), 404, "not_found")


# --- files of a task ------------------------------------------------------------------------------------------
def make_artifact(task_id: str, root: Any, content: bytes = b"<script>1</script>") -> Artifact:
    """Keep a file for a task, as a skill's run would."""
    path = f"artifacts/tasks/{task_id}/page.html"
    (root / path).parent.mkdir(parents=True)
    (root / path).write_bytes(content)
    return Artifact.objects.create(
        task_id=task_id, name="page.html", path=path, size_bytes=len(content), content_type="text/html",
        sha256=hashlib.sha256(content).hexdigest(), created_at=timezone.now(),
    )  # fmt: skip


def test_a_file_of_a_task_is_a_download_and_audited(olga: Api, settings: Any, tmp_path: Any) -> None:
    settings.WORKSPACE_ROOT = tmp_path
    task_id = submit(olga)["taskId"]
    make_artifact(task_id, tmp_path)
    answer = olga.get(f"tasks/{task_id}/artifacts/page.html")
    assert b"".join(answer.streaming_content) == b"<script>1</script>"
    assert answer["Content-Disposition"] == 'attachment; filename="page.html"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    [event] = events_of("artifact.read")
    assert (event.actor, event.task_id, event.agent_id) == ("user:olga", task_id, AGENT)


def test_a_file_that_was_changed_since_is_not_handed_out(olga: Api, settings: Any, tmp_path: Any) -> None:
    settings.WORKSPACE_ROOT = tmp_path
    task_id = submit(olga)["taskId"]
    artifact = make_artifact(task_id, tmp_path)
    (tmp_path / artifact.path).write_bytes(b"another page")
    problem_of(olga.get(f"tasks/{task_id}/artifacts/page.html"), 404, "not_found")
    (tmp_path / artifact.path).unlink()
    problem_of(olga.get(f"tasks/{task_id}/artifacts/page.html"), 404, "not_found")
    Artifact.objects.update(path="../../etc/hostname")
    problem_of(olga.get(f"tasks/{task_id}/artifacts/page.html"), 404, "not_found")
    assert not events_of("artifact.read")


def test_there_is_no_way_from_a_file_to_its_neighbours(olga: Api, settings: Any, tmp_path: Any) -> None:
    settings.WORKSPACE_ROOT = tmp_path
    task_id = submit(olga)["taskId"]
    make_artifact(task_id, tmp_path)
    for name in ("nope", "..%2fpage.html", "..", "%2e%2e", "page.html%00", "a/b"):
        assert olga.get(f"tasks/{task_id}/artifacts/{name}").status_code == 404, name
