"""Whatever is done to the trail with full rights on ledger and store, and no key, is found and named."""

from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import call_command

from audit.checking.report import load_report
from audit.models import LedgerEvent
from audit.problems import Problem
from tests.audit_attacks import ATTACKS, COUNT, Trail, cut_unexported, lay_trail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.unrecorded]


@pytest.fixture
def trail(audit_store: Any, settings: Any, tmp_path: Path) -> Trail:
    """A trail of 600 events, its checkpoints in the second place."""
    settings.AUDIT_CHECKPOINT_DIR = tmp_path / "second"
    settings.AUDIT_KEY_FILE = tmp_path / "keys" / "audit.pem"
    return lay_trail(audit_store)


def run_verify(*arguments: str) -> tuple[int, str]:
    """Return the exit code and the output of the command."""
    out = StringIO()
    try:
        call_command("verify_audit", *arguments, stdout=out, stderr=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def named_by(output: str) -> set[tuple[Problem, int, int]]:
    report = load_report(orjson.loads(output))
    return {(finding.problem, finding.first, finding.last) for finding in report.findings}


def test_a_trail_that_nobody_touched_holds(trail: Trail) -> None:
    code, output = run_verify()
    assert code == 0, output
    assert f"OK: the log holds up to event {COUNT}" in output


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_found_and_named(name: str, trail: Trail) -> None:
    attack = ATTACKS[name]
    attack.run(trail)
    code, output = run_verify("--json")
    assert code == 1, output
    assert set(attack.named) <= named_by(output), output
    recorded = LedgerEvent.objects.filter(type="trail.verified").latest("id").body
    assert recorded["holds"] is False
    code, output = run_verify("--json", "--since", "256")  # all of it happened after that checkpoint
    assert code == 1, output
    assert set(attack.named) <= named_by(output), output


def test_what_no_checkpoint_covers_can_be_cut_unseen(trail: Trail) -> None:
    """The one bound that remains; how short it is, the bench measures."""
    cut_unexported(trail)
    code, output = run_verify()
    assert code == 0, output
