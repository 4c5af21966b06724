"""This machine and its settings: what needs no database."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.checks import ERROR, CheckMessage, run_checks

from agents.skills.sandbox import sandbox_status
from orchestrator_site import checks, preflight, stores
from orchestrator_site.doctor.findings import Finding, fine, judge, problem, warn

_LOW_BYTES: Final = 2_000_000_000
_FULL_BYTES: Final = 200_000_000
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
# Of Django's checks for deployment: the others are a proxy's matter, or hold by construction.
_DEPLOYMENT: Final = frozenset({"security.W009", "security.W018", "security.W020"})
_COOKIES: Final = "security.W012"  # the session's; on loopback nobody listens in


def examine_settings() -> Iterator[Finding]:
    """Run our own checks, and those of Django's for deployment that matter here."""
    found = [*run_checks(tags=[checks.TAG]), *_list_deployment_checks()]
    for message in found:
        stands = problem if message.level >= ERROR else warn
        yield stands(str(message.id), message.msg, message.hint or "See docs/operations.md.")
    if not found:
        yield fine("settings", "The settings fit together.")


def _list_deployment_checks() -> list[CheckMessage]:
    is_local = set(settings.ALLOWED_HOSTS) <= _LOOPBACK
    wanted = _DEPLOYMENT if is_local else _DEPLOYMENT | {_COOKIES}
    found = run_checks(tags=["security"], include_deployment_checks=True)
    return [_reword(message) for message in found if message.id in wanted]


def _reword(message: CheckMessage) -> CheckMessage:
    if message.id == _COOKIES:
        message.msg = "It is reached by other names than this machine's own, and cookies also go over plain http"
        message.hint = "Serve it behind a proxy that speaks https, and set HTTPS_ONLY=1."
    return message


def examine_port() -> Iterator[Finding]:
    """See that the port is this server's, or free."""
    if holder := preflight.find_holder(settings.VAR):
        yield fine("port", f"It is served: {holder}.")
        return
    try:
        preflight.listen("127.0.0.1", settings.PORT).close()
    except preflight.PreflightError as error:
        what, _, cure = str(error).partition(": ")
        yield problem("port", what, f"{cure[:1].upper()}{cure[1:]}; or is it `serve --only web` of this installation?")
    else:
        yield warn("port", f"Nothing serves here; port {settings.PORT} is free.", "Start it: make run.")


def examine_disk() -> Iterator[Finding]:
    """Look at the space that is left where state is kept."""
    folders = {"state": settings.VAR, "workspace": settings.WORKSPACE_ROOT, "archives": settings.AUDIT_ARCHIVE_DIR}
    folders["checkpoints"] = settings.AUDIT_CHECKPOINT_DIR
    seen: set[int] = set()
    for name, folder in folders.items():
        place = _find_existing(folder)
        if place.stat().st_dev not in seen:
            seen.add(place.stat().st_dev)
            yield _judge_disk(f"disk.{name}", place)


def _find_existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _judge_disk(id_: str, place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    what = f"{free / 1e9:,.1f} GB are free at {place}."
    cure = "Make room: docs/retention.md says what may go. A full disk refuses every change."
    if free < _FULL_BYTES:
        return problem(id_, what, cure)
    return warn(id_, what, cure) if free < _LOW_BYTES else fine(id_, what)


def examine_static_files() -> Iterator[Finding]:
    """See that pages will have their style."""
    try:
        stores.refuse_missing_static_files()
    except preflight.PreflightError as error:
        yield problem("static", str(error).partition(":")[0] + ".", "Run make static, then start again.")
    else:
        yield fine("static", "The static files are collected.")


def examine_sandbox() -> Iterator[Finding]:
    """See that testRunner can lock in what it runs."""
    available, what = sandbox_status()
    cure = "Run workers on Linux 5.13 or newer with Landlock enabled; every other skill works without."
    yield fine("sandbox", what) if available else warn("sandbox", what, cure)


def examine_redis() -> Iterator[Finding]:
    """Ask Redis, where there is one."""
    if settings.REDIS_URL:
        from orchestrator_site.health import redis_probe

        cure = "Start Redis or mend REDIS_URL; orders are taken meanwhile and run later."
        yield judge("redis", redis_probe.read().fault, well="Redis answers.", cure=cure)
