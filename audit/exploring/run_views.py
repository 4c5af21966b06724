"""Verify a range, and export what a list shows: parse, one call, respond."""

from datetime import timedelta
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from audit import access, background
from audit.bodies import TrailExported
from audit.bundles.event_proof import make_event_proof
from audit.events import Event, EventType
from audit.exceptions import BadQuery, EventUnknown, NotSignedYet, RunUnknown, StoreUnavailable
from audit.exploring.exporting import BUNDLE, FETCH_WITHIN, is_cut, order_bundle, order_export
from audit.exploring.filters import DECISIONS, read_filters, read_seq
from audit.exploring.rows import Format
from audit.exploring.standing import count_findings, read_standing
from audit.exploring.verifying import get_run, list_runs, start_verification
from audit.exploring.views import KINDS
from audit.lease import get_head
from audit.ledger import record
from audit.models import RunState, TrailRun, TrailRunKind
from audit.transactions import write_transaction

PATIENCE: Final = timedelta(seconds=10)  # after it a page says that no worker takes a verification up
both = require_http_methods(["GET", "HEAD", "POST"])


def _user(request: HttpRequest) -> str:
    return str(request.user.get_username())


@both
def verify(request: HttpRequest) -> HttpResponse:
    """Ask for a verification of a range, or show the newest ones."""
    standing = read_standing()
    if request.method == "POST":
        first, last = (
            read_seq(request.POST.get("first") or "1"),
            read_seq(request.POST.get("last") or str(standing.size)),
        )
        try:
            if first is None or last is None:
                raise BadQuery("First and last are numbers of entries.")
            run = start_verification(first=first, last=last, asked_by=_user(request), now=timezone.now())
            return redirect("console:trail_run", run.id)
        except BadQuery as error:
            messages.error(request, str(error))
    runs = [_describe(run) for run in list_runs(TrailRunKind.VERIFY)]
    return render(request, "audit/verify.html", {"standing": standing, "runs": runs})


@both
def export(request: HttpRequest) -> HttpResponse:
    """Order an export of what the address's filters let through, or show the newest ones."""
    asked = read_filters(request.POST if request.method == "POST" else request.GET)
    if request.method == "POST":
        given = request.POST.get("format", "")
        sees_payload = access.may_read_payload(request.user)
        by_whom: dict[str, Any] = {"asked_by": _user(request), "sees_payload": sees_payload, "now": timezone.now()}
        try:
            if given == BUNDLE:
                run = order_bundle(after=_read_after(request.POST.get("after", "")), **by_whom)
            elif asked.problems or given not in set(Format):
                raise BadQuery("; ".join(asked.problems) or "The format is JSONL or CSV.")
            else:
                run = order_export(asked.filters, format_=Format(given), **by_whom)
            return redirect("console:trail_run", run.id)
        except (BadQuery, NotSignedYet, StoreUnavailable) as error:
            messages.error(request, f"Nothing was exported: {error}")
    runs = [_describe(run) for run in list_runs(TrailRunKind.EXPORT)]
    context = {"asked": asked, "kinds": KINDS, "decisions": DECISIONS, "runs": runs, "formats": list(Format)}
    context["archived"] = get_head().archived_seq
    return render(request, "audit/export.html", context | {"sees_payload": access.may_read_payload(request.user)})


def _read_after(text: str) -> int:
    after = read_seq(text.strip() or "0")
    if after is None:
        raise BadQuery("The size of a checkpoint is a whole number.")
    return after


@require_safe
def show_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Show how far a verification or an export is, then what came out; to htmx the part that changes alone."""
    try:
        run = get_run(run_id)
    except RunUnknown as error:
        raise Http404("no such run") from error
    is_part = bool(request.htmx)  # type: ignore[attr-defined]
    described = _describe(run) | {"is_mine": run.asked_by == _user(request)}
    return render(request, "audit/_run.html" if is_part else "audit/run.html", described)


@require_safe
def send_proof(request: HttpRequest, seq: int) -> HttpResponse:
    """Send the proof of one event as a file, with what it held for those who may read that; it is recorded."""
    redacted = not access.may_read_payload(request.user)
    try:
        proof = make_event_proof(seq, redacted=redacted)
    except EventUnknown as error:
        raise Http404("no such event") from error
    except NotSignedYet as error:
        messages.error(request, str(error))
        return redirect("console:event", seq)
    body = TrailExported(after=seq - 1, to=seq, format="proof", events=1, redacted=redacted)
    with write_transaction():
        record(Event(type=EventType.TRAIL_EXPORTED, at=timezone.now(), actor=f"user:{_user(request)}", body=body))
    answer = HttpResponse(proof.dump(), content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="audit-{seq}.proof.json"'
    return answer


def _describe(run: TrailRun) -> dict[str, Any]:
    now = timezone.now()
    is_export = run.kind == TrailRunKind.EXPORT
    is_stale = is_export and run.state == RunState.WAITING and now - run.created_at > FETCH_WITHIN
    cut = is_export and is_cut(run, now)
    return {
        "run": run,
        "is_export": is_export,
        "is_open": run.state in background.OPEN and not is_stale and not cut,
        "is_stale": is_stale,
        "is_cut": cut or (is_export and run.state == RunState.FAILED),
        "is_idle": not is_export and run.state == RunState.WAITING and now - run.created_at > PATIENCE,
        "percent": 100 * run.done // run.total if run.total else 0,
        "found": count_findings(run.result) if run.result and not is_export else 0,
        "event_type": EventType.TRAIL_EXPORTED if is_export else EventType.TRAIL_VERIFIED,
    }
