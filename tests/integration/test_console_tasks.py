"""Tasks in the console: the guided forms and the list."""

import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from agents.models import Task
from agents.registry import list_skills
from audit.models import LedgerEvent
from tests.integration.console_cast import (
    FETCH,
    FETCHER,
    make_refused_task,
    make_task,
    sign_in,
    text_of,
    world,
)

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")

FETCH_FORM = f"/tasks/new/{FETCHER}/{FETCH}/"
PARSE_FORM = "/tasks/new/data-extraction-agent/documentParser/"
NORMALISE_FORM = "/tasks/new/normalization-agent/normalizer/"
CSV = b'date,amount\n11/03/2026,"$1,200.50"\n2026-11-04,\xe2\x82\xac3\n'


def fill(client: Client, path: str, **changes: Any) -> dict[str, Any]:
    """Return what a browser would send of a form as it was served, with some fields changed."""
    form = client.get(path).context["form"]
    values = {bound.html_name: bound.value() for bound in form}
    return {name: value for name, value in (values | changes).items() if value not in (None, False)}


# --- the forms --------------------------------------------------------------------------------------------------
def test_each_skill_has_a_form_for_each_of_its_inputs() -> None:
    client = sign_in("olga")
    for skill in list_skills():
        page = text_of(client.get(f"/tasks/new/data-extraction-agent/{skill.id}/"))
        for name in skill.input_model.model_json_schema(by_alias=True)["properties"]:
            assert f'name="in_{name}"' in page, (skill.id, name)


def test_a_submitted_form_becomes_a_task_of_the_one_who_sent_it() -> None:
    client = sign_in("olga")
    answer = client.post(FETCH_FORM, fill(client, FETCH_FORM, in_url="https://arxiv.org/abs/1", priority="7"))
    task = Task.objects.get()
    assert answer["Location"] == f"/tasks/{task.id}/"
    assert (task.agent_id, task.skill_id, task.submitted_by, task.priority) == (FETCHER, FETCH, "olga", 7)
    assert task.input["url"] == "https://arxiv.org/abs/1"
    assert LedgerEvent.objects.filter(type="task.submitted", task_id=task.id, actor="user:olga").count() == 1


def test_an_unticked_box_is_false_and_an_empty_field_is_left_to_its_default() -> None:
    client = sign_in("olga")
    sent = fill(client, FETCH_FORM, in_url="https://arxiv.org/abs/1", in_stripScripts=False, in_timeoutMs="")
    client.post(FETCH_FORM, sent)
    assert Task.objects.get().input["stripScripts"] is False
    assert "timeoutMs" not in Task.objects.get().input


def test_the_same_form_sent_twice_is_one_task_and_changed_is_another() -> None:
    client = sign_in("olga")
    sent = fill(client, FETCH_FORM, in_url="https://arxiv.org/abs/1")
    first, second = client.post(FETCH_FORM, sent), client.post(FETCH_FORM, sent)
    assert first["Location"] == second["Location"]
    client.post(FETCH_FORM, sent | {"in_url": "https://arxiv.org/abs/2"})
    assert Task.objects.count() == 2


def test_the_same_upload_sent_twice_is_one_task_and_another_file_is_another(settings: Any, tmp_path: Any) -> None:
    settings.WORKSPACE_ROOT = tmp_path
    client = sign_in("olga")
    sent = fill(client, PARSE_FORM, in_format="csv")
    answers = [
        client.post(PARSE_FORM, sent | {"in_filePath_file": SimpleUploadedFile("a.csv", content)})["Location"]
        for content in (CSV, CSV, CSV.replace(b"3", b"4"))
    ]
    assert answers[0] == answers[1] != answers[2]


def test_an_order_with_other_options_is_another_order() -> None:
    client = sign_in("olga")
    sent = fill(client, FETCH_FORM, in_url="https://arxiv.org/abs/1")
    client.post(FETCH_FORM, sent)
    client.post(FETCH_FORM, sent | {"priority": "5"})
    assert sorted(Task.objects.values_list("priority", flat=True)) == [0, 5]


def test_an_input_that_would_be_too_large_by_the_api_is_too_large_here() -> None:
    client = sign_in("olga")
    names = ",".join(f"a-rather-long-name-of-a-column-{number}" for number in range(40))
    rows = SimpleUploadedFile("wide.csv", "\n".join([names, *[",".join("1" * 40)] * 4000]).encode())
    answer = client.post(NORMALISE_FORM, fill(client, NORMALISE_FORM, in_data_file=rows))
    assert answer.status_code == 422
    assert "larger than 1 MB" in text_of(answer)


def test_too_many_tasks_at_once_are_told_to_wait(settings: Any) -> None:
    settings.MAX_TASKS_PER_SECOND = 1
    client = sign_in("olga")
    sent = fill(client, FETCH_FORM, in_url="https://arxiv.org/abs/1")
    answers = [client.post(FETCH_FORM, sent | {"in_url": f"https://arxiv.org/abs/{n}"}) for n in range(3)]
    assert 422 in {answer.status_code for answer in answers}
    assert "Too many tasks at once" in text_of(answers[-1])


@pytest.mark.parametrize(
    ("path", "changes", "field", "words"),
    [
        (FETCH_FORM, {"in_url": ""}, "in_url", "required"),
        (FETCH_FORM, {"in_url": "https://arxiv.org/", "in_timeoutMs": "-1"}, "in_timeoutMs", "greater than"),
        (FETCH_FORM, {"in_url": "https://arxiv.org/", "priority": "101"}, "priority", "100"),
        (FETCH_FORM, {"in_url": "https://arxiv.org/", "run_at": "2999-01-01T00:00"}, "run_at", "a year ahead"),
        (NORMALISE_FORM, {"in_data": "{"}, "in_data", "not JSON"),
        (NORMALISE_FORM, {"in_data": '["\\u0000"]'}, "in_data", "NUL"),
        (NORMALISE_FORM, {"in_data": "[" * 101 + "]" * 101}, "in_data", "deeper"),
        (NORMALISE_FORM, {"in_schema": '{"a": {"type": "nonsense"}}'}, "in_schema", "a"),
        (PARSE_FORM, {"in_content": "x"}, "in_format", "required"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(path: str, changes: dict[str, Any], field: str, words: str) -> None:
    client = sign_in("olga")
    answer = client.post(path, fill(client, path, **changes))
    assert answer.status_code == 422
    told = " ".join(answer.context["form"].errors[field])
    assert words in told
    assert f'id="id_{field}_error"' in text_of(answer)
    assert not Task.objects.exists()


def test_an_uploaded_file_is_put_into_the_workspace_and_named_in_the_input(settings: Any, tmp_path: Any) -> None:
    settings.WORKSPACE_ROOT = tmp_path
    client = sign_in("olga")
    upload = SimpleUploadedFile("my expenses.csv", CSV)
    client.post(PARSE_FORM, fill(client, PARSE_FORM, in_format="csv", in_filePath_file=upload))
    path = Task.objects.get().input["filePath"]
    assert path.startswith("uploads/")
    assert (tmp_path / path).read_bytes() == CSV
    assert LedgerEvent.objects.filter(type="file.uploaded", actor="user:olga").count() == 1


def test_a_form_with_an_error_keeps_no_file(settings: Any, tmp_path: Any) -> None:
    settings.WORKSPACE_ROOT = tmp_path
    client = sign_in("olga")
    upload = SimpleUploadedFile("a.csv", CSV)
    answer = client.post(PARSE_FORM, fill(client, PARSE_FORM, in_format="", in_filePath_file=upload))
    assert answer.status_code == 422
    assert list(tmp_path.rglob("*.csv")) == []
    assert "Choose the file again" in text_of(answer)


def test_the_rows_of_a_csv_become_the_data() -> None:
    client = sign_in("olga")
    rows = SimpleUploadedFile("expenses.csv", CSV)
    client.post(NORMALISE_FORM, fill(client, NORMALISE_FORM, in_data_file=rows))
    assert Task.objects.get().input["data"] == [
        {"date": "11/03/2026", "amount": "$1,200.50"},
        {"date": "2026-11-04", "amount": "€3"},
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,a\n1,2\n", "only once"),
        (b"a,b\n1\n", "Row 2 has 1 values"),
        (b"a,b\n", "no rows"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"a\n\x00\n", "NUL"),
        (b"[1, 2", "not JSON"),
        (b'["\\u0000"]', "NUL"),
        (b"a\n" + b"x" * 900_001, "larger than"),
        (b'a,b\n"x,1\n', "not CSV"),
    ],
)
def test_a_file_without_rows_is_refused_with_the_reason(content: bytes, words: str) -> None:
    client = sign_in("olga")
    answer = client.post(
        NORMALISE_FORM, fill(client, NORMALISE_FORM, in_data_file=SimpleUploadedFile("rows.csv", content))
    )
    assert answer.status_code == 422
    assert words in " ".join(answer.context["form"].errors["in_data_file"])


def test_a_task_can_be_ordered_again_with_changes() -> None:
    task = make_task(input={"url": "https://arxiv.org/abs/9", "stripScripts": False})
    client = sign_in("olga")
    values = fill(client, f"{FETCH_FORM}?copy={task.id}")
    assert values["in_url"] == "https://arxiv.org/abs/9"
    assert "in_stripScripts" not in values


def test_the_form_tells_what_the_gate_says_today() -> None:
    client = sign_in("olga")
    assert "arxiv.org" in text_of(client.get(FETCH_FORM))
    refused = text_of(client.get(f"/tasks/new/content-agent/{FETCH}/"))
    assert "No rule lets content-agent use sourceFetch" in refused
    assert "may approve" not in refused
    assert "A person may have to approve" in text_of(client.get("/tasks/new/build-refactor-agent/workspacePatch/"))


# --- the list ---------------------------------------------------------------------------------------------------
def test_the_list_is_filtered_by_its_address() -> None:
    failed, other = make_refused_task(), make_task()
    page = text_of(sign_in("vera").get(f"/tasks/?status=failed&agent={FETCHER}"))
    assert failed.id in page
    assert other.id not in page


def test_the_list_goes_on_to_older_tasks_without_losing_or_repeating_one() -> None:
    made = {make_task().id for _ in range(120)}
    client, path, seen = sign_in("vera"), "/tasks/?skill=sourceFetch", []
    while path:
        page = text_of(client.get(path))
        seen += re.findall(r'href="/tasks/([0-9a-f]{32})/"', page)
        older = re.search(r'href="(\?[^"]*)"[^>]*>Older', page)
        path = "/tasks/" + older.group(1).replace("&amp;", "&") if older else ""
    assert len(seen) == 120
    assert set(seen) == made


@pytest.mark.parametrize("query", ["before=rubbish", "status=nonsense", "agent=%00", "before=" + "9" * 400])
def test_a_mistyped_address_is_no_error_of_ours(query: str) -> None:
    assert sign_in("vera").get(f"/tasks/?{query}").status_code in {200, 400}


def test_an_empty_list_says_why_and_what_to_do() -> None:
    client = sign_in("olga")
    assert "No task was submitted yet" in text_of(client.get("/tasks/"))
    assert "No task matches these filters" in text_of(client.get("/tasks/?status=failed"))
