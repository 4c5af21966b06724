"""`manage.py policy`: rules out to a file and in from one, looked over and held against history; for rules in git."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from time import sleep
from typing import Any, Final, override

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import pluralize
from django.utils import timezone

from audit.models import RunState
from orchestrator_site.roles import Permission
from orchestrator_site.terminal.acting import add_user, find_actor
from orchestrator_site.terminal.refusals import refusals
from toolgate.editing.diff import RulesDiff, diff_rules
from toolgate.editing.files import read_file, write_json, write_toml
from toolgate.editing.findings import lint_rules
from toolgate.editing.versions import find_conflict, get_newest, get_version
from toolgate.exceptions import PolicyConflict
from toolgate.explaining.lint import Finding
from toolgate.lines import dump_plain
from toolgate.models import PolicyVersion, WhatIf
from toolgate.policy import Policy, dump_policy, policy_digest, read_policy
from toolgate.publishing import publish_policy, record_export
from toolgate.replay.runs import get_what_if, run_what_if, start_what_if

_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_LOOK_AGAIN_SECONDS: Final = 0.5
_KINDS: Final = {
    "allow_deny": "allowed, would be denied",
    "ask_deny": "asked, would be denied",
    "allow_ask": "allowed, would be asked",
    "deny_ask": "denied, would be asked",
    "ask_allow": "asked, would be allowed",
    "deny_allow": "denied, would be allowed",
}


class Command(BaseCommand):
    help = "Export, import and judge the rules of the gate as a file."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        out = verbs.add_parser("export", help="write the rules of a version; audited")
        out.add_argument("--version", type=int, dest="number", help="which version (the one in force)")
        out.add_argument("--format", choices=["toml", "json"], default="toml")
        out.add_argument("--output", type=Path, help="where to (stdout)")
        take = verbs.add_parser("import", help="publish the rules of a file as the next version")
        take.add_argument("file", type=Path)
        take.add_argument("--reason", required=True, help="why; kept with the version and in the audit trail")
        take.add_argument("--base", type=int, help="the version that was edited: refused if another one is in force")
        take.add_argument("--dry-run", action="store_true", help="show what it would change, and publish nothing")
        lint = verbs.add_parser("lint", help="say what is odd about the rules of a file; 1 if anything is an error")
        lint.add_argument("file", type=Path)
        replay = verbs.add_parser("whatif", help="say what the rules of a file would have made of the recorded history")
        replay.add_argument("file", type=Path)
        replay.add_argument("--since", type=int, metavar="DAYS", help="how far back (all of it)")
        replay.add_argument("--json", action="store_true", help="the whole report, for programs")
        add_user(out, Permission.POLICY_READ)
        add_user(take, Permission.POLICY_WRITE)
        add_user(replay, Permission.POLICY_READ)

    @override
    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        acts = {"export": self._export, "import": self._import, "lint": self._lint, "whatif": self._replay}
        try:
            with refusals():
                acts[verb](options)
        except OSError as error:
            raise CommandError(str(error)) from error

    def _export(self, options: dict[str, Any]) -> None:
        user = _find_author(options["user"], Permission.POLICY_READ)
        version = get_version(options["number"]) if options["number"] is not None else get_newest()
        policy = read_policy(version.rules)
        text = write_json(policy) if options["format"] == "json" else write_toml(policy, heading=_describe(version))
        record_export(version.number, author=user, now=timezone.now())
        if options["output"] is None:
            self.stdout.write(text, ending="")
        else:
            options["output"].write_text(text, encoding="utf-8")

    def _import(self, options: dict[str, Any]) -> None:
        user = _find_author(options["user"], Permission.POLICY_WRITE)
        policy, newest = _read(options["file"]), get_newest()
        base = newest.number if options["base"] is None else options["base"]
        self._refuse_conflict(policy, base)
        self._show(diff_rules(newest.rules, dump_policy(policy)), none=f"Version {base} says just this.")
        self._refuse_errors(lint_rules(policy.rules, now=timezone.now()))
        if policy_digest(policy) == newest.digest:
            self.stdout.write("Nothing was published.")
        elif options["dry_run"]:
            self.stdout.write(f"Nothing was published: without --dry-run this becomes version {base + 1}.")
        else:
            reason, now = options["reason"], timezone.now()
            version = publish_policy(policy.rules, author=user, reason=reason, base_version=base, now=now)
            self.stdout.write(f"Policy version {version.number} is in force.")

    def _refuse_conflict(self, policy: Policy, base: int) -> None:
        conflict = find_conflict(dump_policy(policy), base_version=base)
        if conflict is None:
            return
        self.stdout.write(f"The file changed this of version {conflict.base_version}:")
        self._show(conflict.mine, none="  nothing")
        self.stdout.write(f"Version {conflict.current_version}, which is in force, changed this of it:")
        self._show(conflict.theirs, none="  nothing")
        if conflict.clashes:
            self.stdout.write(f"Both changed: {', '.join(clash.rule_id for clash in conflict.clashes)}")
        raise PolicyConflict(base_version=conflict.base_version, current_version=conflict.current_version)

    def _lint(self, options: dict[str, Any]) -> None:
        findings = lint_rules(_read(options["file"]).rules, now=timezone.now())
        self._refuse_errors(findings)
        if not findings:
            self.stdout.write("Nothing is odd about these rules.")

    def _refuse_errors(self, findings: Iterable[Finding]) -> None:
        found = list(findings)
        for finding in found:
            rules = f" [{', '.join(finding.rule_ids)}]" if finding.rule_ids else ""
            self.stdout.write(f"{finding.severity}: {finding.sentence} ({finding.code}){rules}")
        errors = sum(finding.severity == "error" for finding in found)
        if errors:
            raise CommandError(
                f"{errors} of the findings {'is an error' if errors == 1 else 'are errors'}: mend the file first."
            )

    def _show(self, diff: RulesDiff, *, none: str) -> None:
        for change in diff.changes:
            self.stdout.write(f"{_SIGNS[change.kind]} {change.rule_id}: {change.sentence}")
            for field in change.fields if change.kind == "changed" else ():
                self.stdout.write(f"    {field.label}: {field.old or 'not set'} → {field.new or 'not set'}")
        if not diff:
            self.stdout.write(none)

    def _replay(self, options: dict[str, Any]) -> None:
        user, now = _find_author(options["user"], Permission.POLICY_READ), timezone.now()
        since = None if options["since"] is None else now - timedelta(days=options["since"])
        rules = _read(options["file"]).rules
        what_if = self._wait(start_what_if(rules, base_version=None, asked_by=user, since=since, now=now))
        if what_if.state == RunState.FAILED:
            raise CommandError(f"The replay failed: {what_if.error}")
        if options["json"]:
            self.stdout.write(dump_plain(what_if.result, indent=2))
        else:
            self.stdout.write("\n".join(_summarise(what_if)))

    def _wait(self, what_if: WhatIf) -> WhatIf:
        """Run it here if nobody does, and wait for its end."""
        while what_if.state in {RunState.WAITING, RunState.RUNNING}:
            run_what_if(what_if.id)
            what_if = get_what_if(what_if.id)
            if what_if.state == RunState.RUNNING:  # a worker has it
                self.stderr.write(f"{what_if.done:,} of {what_if.total:,} decisions")
                sleep(_LOOK_AGAIN_SECONDS)
        return what_if


def _find_author(name: str, permission: Permission) -> str:
    return find_actor(name, permission).get_username()


def _read(file: Path) -> Policy:
    return read_file(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())


def _describe(version: PolicyVersion) -> list[str]:
    if not version.number:
        return ["No policy was published yet: every call is refused"]
    by = f"Policy version {version.number}, published {version.created_at:%Y-%m-%d %H:%M} UTC by {version.author}"
    return [f"{by}: {version.reason}", f"Digest {version.digest}"]


def _summarise(what_if: WhatIf) -> list[str]:
    report: Any = what_if.result
    flips = {kind: count for kind, count in report["flips"].items() if count}
    days = report["asks"]["days"]
    before, after = (f"{report['asks'][name] / days:.1f}" for name in ("before", "after"))
    calls = _count(report["calls"], "call")
    return [
        f"Beside version {what_if.base_version}: {calls} replayed, {sum(flips.values()):,} turned",
        *(f"  {count:,} {_KINDS.get(kind, kind)}" for kind, count in flips.items()),
        *(f"  by rule {row['key'] or 'none (default deny)'}: {row['total']:,}" for row in report["byRule"]),
        f"{_count(report['broken']['count'], 'task')} that succeeded would have broken",
        f"{_count(report['passing'], 'denied call')} would pass",
        f"{before} approvals a day before, {after} after",
        f"{report['coverage']['unrecordable']:,} of {report['coverage']['recorded']:,} decisions cannot be replayed",
    ]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{pluralize(number)}"
