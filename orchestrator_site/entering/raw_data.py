"""The rows themselves, for an administrator who looks for what no page shows. Nothing is changed here.

Every change has its event and its rules on the page or in the command that makes it; a form on the bare row would go
past both. To open a row is to read what it holds, so that is an event as well.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Final

from django.apps import apps
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import Field, JSONField, Model, TextField
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, include, path
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from audit import bodies
from audit.context import current_actor
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.entering.factors import lacks_factor
from orchestrator_site.roles import Role

_APPS: Final = ("audit", "toolgate", "agents", "orchestrator_site")
_HIDDEN: Final = ("password", "secret", "digest")  # parts of the names of columns that nobody need see
_COLUMNS: Final = 6  # of a list

View = Callable[..., HttpResponseBase]


def _go_in(request: HttpRequest) -> HttpResponseBase:
    return redirect("admin:index")


class RawDataSite(AdminSite):
    """Django's admin, for looking only, behind the console's own door."""

    site_title = site_header = "Raw data"
    index_title = "Tables"
    final_catch_all_view = False

    def has_permission(self, request: Any) -> bool:
        """Admit admins by role, who have the second factor that is asked of them; Django's own flags open nothing."""
        user = request.user
        is_admin = user.is_active and user.groups.filter(name=Role.ADMIN).exists()
        return is_admin and not lacks_factor(user)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Let a view be read, by whom this site admits."""

        @require_safe
        @never_cache
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not self.has_permission(request):
                raise PermissionDenied("It is open to those who have the role admin.")
            answer: HttpResponseBase = view(request, *args, **kwargs)
            return answer

        return checked

    @property
    def urls(self) -> tuple[list[URLPattern | URLResolver], str, str]:
        """Return the lists and rows; the login is one more page for who has signed in at the console's."""
        routes: list[URLPattern | URLResolver] = [
            path("", self.admin_view(self.index), name="index"),
            path("login/", self.admin_view(_go_in), name="login"),
            path("jsi18n/", self.admin_view(self.i18n_javascript), name="jsi18n"),
            path("<str:app_label>/", self.admin_view(self.app_index), name="app_list"),
        ]
        for model, rows in self._registry.items():
            routes.insert(-1, path(f"{model._meta.app_label}/{model._meta.model_name}/", include(rows.get_urls())))
        return routes, "admin", self.name


def _is_hidden(column: str) -> bool:
    return any(part in column for part in _HIDDEN)


class RawRows(ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """One table."""

    actions = None
    list_per_page = 50
    show_full_result_count = False
    ordering = ("-pk",)

    def get_urls(self) -> list[URLPattern]:
        """Return the list and the row."""
        name, view = f"{self.opts.app_label}_{self.opts.model_name}", self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            path("<path:object_id>/change/", view(self.change_view), name=f"{name}_change"),
        ]

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the short columns; a row's page has them all."""
        short = [field.attname for field in self._list_fields() if not isinstance(field, JSONField | TextField)]
        return short[:_COLUMNS]

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Return all columns but those that hold secrets."""
        return [field.name for field in self._list_fields()]

    def _list_fields(self) -> "Iterable[Field[Any, Any]]":
        return [field for field in self.opts.local_fields if not _is_hidden(field.name)]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Let no address ask how a hidden column begins, which would spell it out letter by letter."""
        return not _is_hidden(lookup) and super().lookup_allowed(lookup, value, request)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        """Show a row, and record who read it."""
        answer = super().change_view(request, object_id, *args, **kwargs)
        if answer.status_code == 200:
            body = bodies.PayloadRead(way="raw", row=f"{self.opts.db_table} {object_id}"[:200])
            with write_transaction():
                record(Event(type=EventType.PAYLOAD_READ, at=timezone.now(), actor=current_actor(), body=body))
        return answer

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Show everything to whom the site admits."""
        return self.admin_site.has_permission(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same of a whole app."""
        return self.admin_site.has_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Let nobody add a row."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Let nobody change one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Let nobody delete one."""
        return False


site = RawDataSite(name="admin")
site.register([User, Group, *(model for label in _APPS for model in apps.get_app_config(label).get_models())], RawRows)
