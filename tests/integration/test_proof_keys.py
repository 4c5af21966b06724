"""The key that signs: one, the owner's alone, never replaced in silence."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from audit.models import TreeHead
from audit.proof.keys import load_key, load_verifier
from audit.status import get_checkpoint_status
from tests.integration.proof_cast import Hand, list_sizes, record_many, set_places

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def places(settings: Any, tmp_path: Path) -> None:
    set_places(settings, tmp_path)


@pytest.fixture
def sequencer(audit_store: Any) -> Hand:
    return Hand()


def test_without_a_key_numbering_goes_on_and_the_fault_is_seen_everywhere(sequencer: Hand, settings: Any) -> None:
    record_many(2)
    sequencer.drain()
    away = settings.AUDIT_KEY_FILE.rename(settings.AUDIT_KEY_FILE.with_suffix(".away"))
    record_many(600)
    sequencer.drain(after=2)
    status = get_checkpoint_status()
    assert (TreeHead.objects.get().seq, status.size, status.unsigned) == (602, 2, 600)
    assert "is not at" in status.fault == sequencer.sequencer.status().checkpoint_fault
    assert not settings.AUDIT_KEY_FILE.exists()  # no new one: nobody who verifies would know it
    away.rename(settings.AUDIT_KEY_FILE)
    sequencer.drain(after=2)
    assert list_sizes() == [2, 602]
    status = get_checkpoint_status()
    assert (status.size, status.unsigned, status.fault) == (602, 0, "")


def test_the_key_is_the_owners_alone_and_outlives_its_makers(settings: Any) -> None:
    key = load_verifier()
    path: Path = settings.AUDIT_KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_verifier() == key
    settings.AUDIT_SIGNING_KEY = path.read_text()
    path.unlink()
    assert load_verifier() == key


def test_processes_that_start_at_once_make_one_key(settings: Any) -> None:
    path: Path = settings.AUDIT_KEY_FILE
    path.parent.mkdir()
    program = (
        "import sys, pathlib, django; django.setup(); from audit.proof.keys import make_pem; "
        "sys.stdin.read(); make_pem(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(path)]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings"}
    makers = [subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) for _ in range(4)]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.close()  # lets it go
    assert [maker.wait(60) for maker in makers] == [0] * 4
    assert list(path.parent.iterdir()) == [path]
    assert load_verifier() == load_verifier()


@pytest.mark.parametrize("pem", ["no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "\0", "é"])
def test_what_is_no_key_is_said_to_be_none(settings: Any, pem: str) -> None:
    settings.AUDIT_SIGNING_KEY = pem
    with pytest.raises(ImproperlyConfigured, match="no Ed25519 key"):
        load_key()


def test_a_key_file_that_cannot_be_read_is_named(settings: Any) -> None:
    settings.AUDIT_KEY_FILE.parent.mkdir()
    settings.AUDIT_KEY_FILE.write_bytes(b"\xff\xfe")
    with pytest.raises(ImproperlyConfigured, match=r"cannot be read or made .it is no text"):
        load_key()
    settings.AUDIT_KEY_FILE = settings.AUDIT_KEY_FILE / "below-a-file.pem"
    with pytest.raises(ImproperlyConfigured, match=r"cannot be read or made .File exists"):
        load_key()


def test_a_log_whose_name_no_signature_can_bear_signs_nothing(settings: Any) -> None:
    settings.AUDIT_ORIGIN = "our fleet"
    with pytest.raises(ImproperlyConfigured, match="AUDIT_ORIGIN"):
        load_key()
