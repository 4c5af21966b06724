"""Send a list as a file, and record that it left."""

from collections.abc import Callable

from django.http import FileResponse, Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_GET

from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.exports.tables import Table
from orchestrator_site.exports.writing import CONTENT_TYPES, Format, write_file


def make_export(table: Table) -> Callable[..., HttpResponseBase]:
    """Return the view that sends one list."""

    @require_GET
    def export(request: HttpRequest, format: str) -> HttpResponseBase:  # noqa: A002  (the address names it)
        if format not in set(Format):
            raise Http404("no such format")
        return _send(request, table, Format(format))

    return export


def _send(request: HttpRequest, table: Table, format_: Format) -> FileResponse:
    now, source = timezone.now(), table.read(request)
    written = write_file(table, source, format_, now=now)
    body = {
        "list": table.name,
        "format": format_.value,
        "filters": source.filters,
        "rows": written.rows,
        "isCut": written.is_cut,
        "sha256": written.sha256,
    }
    actor = f"user:{request.user.get_username()}"
    with write_transaction():
        record(Event(type=EventType.LIST_EXPORTED, at=now, actor=actor, body=body))
    name = f"{table.name}-{now:%Y%m%d-%H%M%S}.{format_}"
    return FileResponse(written.file, as_attachment=True, filename=name, content_type=CONTENT_TYPES[format_])
