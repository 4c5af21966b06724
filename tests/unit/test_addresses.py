"""An address in the open, its password in a file: put together, and never taken twice."""

from pathlib import Path

import pytest

from orchestrator_site.env import read_address


@pytest.mark.parametrize(
    ("address", "whole"),
    [
        ("redis://redis:6379/0", "redis://:p%40ss%2F1@redis:6379/0"),
        ("mongodb://app@mongo/?w=majority", "mongodb://app:p%40ss%2F1@mongo/?w=majority"),
        ("mongodb://app:other@mongo/", "mongodb://app:other@mongo/"),
        (
            "mongodb://app@one:27017,two:27017/?replicaSet=r",
            "mongodb://app:p%40ss%2F1@one:27017,two:27017/?replicaSet=r",
        ),
        ("", ""),
    ],
)
def test_a_password_of_its_own_completes_an_address_without_one(
    address: str, whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss/1\n")
    monkeypatch.setenv("STORE_URL", address)
    monkeypatch.setenv("STORE_PASSWORD_FILE", str(secret))
    assert read_address("STORE_URL", completed_by="STORE_PASSWORD") == whole


def test_without_a_password_the_address_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_URL", "redis://redis:6379/0")
    assert read_address("STORE_URL", completed_by="STORE_PASSWORD") == "redis://redis:6379/0"
