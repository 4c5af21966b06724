"""What `make run` prints once it is ready: the address, the generated logins, and a command to paste."""

import logging
import shlex
import sys
import time

from django.utils import timezone

from agents.providers.vendors import is_configured
from orchestrator_site.bootstrap import logins_path, read_logins
from orchestrator_site.exceptions import NoOwner
from orchestrator_site.launch import Launch
from orchestrator_site.management.commands.issue_token import find_owner
from orchestrator_site.models import ApiToken
from orchestrator_site.roles import Permission
from orchestrator_site.tokens import issue_token, revoke_token

log = logging.getLogger(__name__)

TOKEN_NAME = "quickstart"  # noqa: S105  (a label)
NO_MODEL = (
    "No model is configured, so agents cannot think yet: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or OPENAI_BASE_URL "
    "for a server of your own. `make demo` shows agents without a key."
)
SCOPES = (
    Permission.AGENTS_READ,
    Permission.BUDGET_READ,
    Permission.FILES_WRITE,
    Permission.TASKS_READ,
    Permission.TASKS_WRITE,
)
ORDER = (
    '{"agentId": "normalization-agent", "skillId": "normalizer", "input": {"data": {"due": "4/1/26", "amount": '
    '"£1,204.00"}, "schema": {"due": {"type": "date"}, "amount": {"type": "currency"}}}}'
)


def welcome(launch: Launch) -> None:
    """Say that the server is ready: to a person, or in the log, where it is one of several processes."""
    seconds = time.monotonic() - launch.started_at
    ready = f"Ready after {seconds:.1f} s at {launch.claim.address}"
    if launch.claim.web_only:
        log.info(ready, extra={"action": "serve.ready"})
        return
    lines = ["", ready, "", *_logins(), *_curl(launch.claim.address), *_models(), "Stop it with Ctrl-C.", ""]
    print("\n".join(lines), file=sys.stdout, flush=True)  # noqa: T201


def _logins() -> list[str]:
    logins = read_logins()
    if not logins:
        return []
    shown = [f"    {name:<10} {password}" for name, password in logins]
    return [f"Log in as (kept in {logins_path()})", *shown, ""]


def _models() -> list[str]:
    return [] if is_configured() else [NO_MODEL, ""]


def _curl(address: str) -> list[str]:
    try:
        token = issue_quickstart_token()
    except NoOwner:  # its admin was locked out; that is no reason not to serve
        return []
    command = [
        f"curl -sS {address}/api/tasks",
        f'-H "Authorization: Bearer {token}"',
        '-H "Content-Type: application/json"',
        f"-d {shlex.quote(ORDER)}",
    ]
    return ["Or paste this, with a token that the next start replaces", "    " + " \\\n        ".join(command), ""]


def issue_quickstart_token() -> str:
    """Return a fresh token, and revoke those of earlier starts."""
    now = timezone.now()
    for prefix in ApiToken.objects.filter(name=TOKEN_NAME, revoked_at=None).values_list("prefix", flat=True):
        revoke_token(prefix, reason="replaced at the next start", revoked_by="system", now=now)
    _, token = issue_token(TOKEN_NAME, owner=find_owner(None), scopes=SCOPES, now=now)
    return token
