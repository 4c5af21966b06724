"""Each attack on the stores, as an auditor sees it who has a bundle, the public key and the checkpoints of before."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as installed

from audit.bundles.bundle import Source
from audit.exceptions import NotSignedYet
from audit.models import Checkpoint
from audit.problems import Problem
from audit.proof.keys import load_verifier
from tests.audit_attacks import ATTACKS, cut_unexported, go_on, lay_trail
from tests.bundle_cast import Auditor, Verdict, export

pytestmark = pytest.mark.django_db(transaction=True)

NOT_IN_A_BUNDLE = {
    "insert"
}  # what stands behind the newest checkpoint: a bundle ends before it, and verify_audit finds it


@pytest.fixture(scope="module")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> Auditor:
    return Auditor(tmp_path_factory.mktemp("auditor"))


@pytest.fixture
def trail(audit_store: Any, settings: Any, tmp_path: Path) -> Any:
    settings.AUDIT_KEY_FILE = tmp_path / "keys" / "key.pem"
    settings.AUDIT_CHECKPOINT_DIR = tmp_path / "checkpoints"
    return lay_trail(audit_store)


def keep_checkpoints(auditor: Auditor) -> list[object]:
    """Copy what the second place holds now, and return the arguments that name it."""
    arguments: list[object] = ["--key", load_verifier()]
    for path in installed.AUDIT_CHECKPOINT_DIR.glob("*.checkpoints"):
        (auditor.folder / path.name).write_bytes(path.read_bytes())
        arguments += ["--known", auditor.folder / path.name]
    return arguments


def check(auditor: Auditor, arguments: list[object], source: Source) -> Verdict:
    (auditor.folder / "bundle").write_bytes(export(source=source))
    return auditor.run(auditor.folder / "bundle", *arguments)


def test_an_unattacked_trail_holds(trail: Any, auditor: Auditor) -> None:
    arguments = keep_checkpoints(auditor)
    for source in Source:
        verdict = check(auditor, arguments, source)
        assert verdict.code == 0, verdict.output


@pytest.mark.parametrize("source", Source)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_found_and_named(name: str, source: Source, trail: Any, auditor: Auditor) -> None:
    arguments = keep_checkpoints(auditor)
    attack = ATTACKS[name]
    words = {str(problem) for problem, _, _ in attack.named}
    attack.run(trail)
    if not Checkpoint.objects.exists():  # then nothing can be exported, until the product signs what it finds
        with pytest.raises(NotSignedYet):
            export(source=source)
        go_on(1)
        words |= {Problem.FORKED}
    verdict = check(auditor, arguments, source)
    if name in NOT_IN_A_BUNDLE:
        assert verdict.code == 0, verdict.output
        return
    assert verdict.code == 1, verdict.output
    assert set(verdict.problems) & words, verdict.output


def test_what_was_cut_before_it_was_signed_is_the_bound_that_remains(trail: Any, auditor: Auditor) -> None:
    arguments = keep_checkpoints(auditor)
    cut_unexported(trail)
    assert check(auditor, arguments, Source.LEDGER).code == 0
