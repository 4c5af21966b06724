"""The rows themselves: who may look, that looking is told, and that nothing can be changed there."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from orchestrator_site.entering.raw_data import site
from orchestrator_site.models import ApiToken
from tests.integration.api_cast import events_of
from tests.integration.console_cast import make_task, sign_in, world
from tests.integration.entering_cast import Clock, code_at, door, enter, make_user, new_client, set_up_app

__all__ = ["door", "world"]


@pytest.fixture
def ada(world: None) -> Client:
    """Give ada, the admin."""
    return sign_in("ada")


def test_only_admins_by_role_look_whatever_flags_there_are(ada: Client) -> None:
    assert ada.get("/admin/").status_code == 200
    User.objects.filter(username="vera").update(is_staff=True, is_superuser=True)
    assert sign_in("vera").get("/admin/").status_code == 403
    Group.objects.get(name="admin").user_set.clear()
    assert ada.get("/admin/").status_code == 403


def test_every_table_is_listed_and_can_be_opened(ada: Client) -> None:
    index = ada.get("/admin/").content.decode()
    for model in site._registry:
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        assert f'href="{address}"' in index
    for table in ("auth/user", "audit/ledgerevent", "agents/step", "toolgate/decisionrecord"):
        assert ada.get(f"/admin/{table}/").status_code == 200, table


def test_to_open_a_row_is_an_event(ada: Client) -> None:
    task = make_task()
    page = ada.get(reverse("admin:agents_task_change", args=[task.id]))
    assert "https://example.com/page" in page.content.decode()
    assert [(event.actor, event.body) for event in events_of("payload.read")] == [
        ("user:ada", {"way": "raw", "row": f"agents_task {task.id}"})
    ]
    ada.get("/admin/agents/task/")
    assert len(events_of("payload.read")) == 1


def test_no_secret_is_in_a_row(ada: Client) -> None:
    owner = User.objects.get(username="ada")
    owner.set_password("correct-horse-battery")
    owner.save()
    row = {"prefix": "abcdefgh", "digest": "d1" * 32, "name": "x", "scopes": [], "created_at": owner.date_joined}
    token = ApiToken.objects.create(owner=owner, created_by="ada", **row)
    ada = sign_in("ada")
    pages = [reverse("admin:orchestrator_site_apitoken_change", args=[token.pk])]
    pages += [reverse("admin:auth_user_change", args=[owner.pk]), "/admin/auth/user/"]
    shown = "".join(ada.get(page).content.decode() for page in pages)
    assert "abcdefgh" in shown
    assert token.digest not in shown
    assert owner.password not in shown


def test_no_address_asks_how_a_hidden_column_begins(ada: Client) -> None:
    for asked in ("auth/user/?password__startswith=p", "orchestrator_site/apitoken/?digest__gt=0"):
        assert ada.get(f"/admin/{asked}").status_code == 400, asked
    assert ada.get("/admin/auth/user/?username__startswith=o").status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nothing_is_changed_there(ada: Client, method: str) -> None:
    task = make_task()
    for model in site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        for address in (reverse(f"{name}_changelist"), reverse(f"{name}_change", args=["x"])):
            assert getattr(ada, method)(address).status_code == 405, address
    for verb in ("add/", f"{task.id}/delete/", f"{task.id}/history/"):
        assert ada.get(f"/admin/agents/task/{verb}").status_code == 404


def test_its_own_login_leads_past_no_second_factor(door: Clock) -> None:
    make_user("ada", "admin")
    client = new_client()
    enter(client, "ada")
    secret, _ = set_up_app(client, door)
    other: Any = new_client()
    for answer in (
        other.get("/admin/"),
        other.get("/admin/login/"),
        other.post("/admin/login/", {"username": "ada", "password": "correct-horse-battery"}),
    ):
        assert answer["Location"].startswith("/accounts/login/")
    assert other.get("/admin/").status_code == 302
    enter(other, "ada")
    assert other.get("/admin/").status_code == 302  # the password alone
    other.post(reverse("mfa_authenticate"), {"code": code_at(secret, door.now)})
    assert other.get("/admin/").status_code == 200
    assert other.get("/admin/login/")["Location"] == "/admin/"
