"""The redactor: what it takes out, what it leaves alone, and that a second time changes nothing."""

import base64
import hashlib
import json
import random
import string
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.redaction import Redactor, find_problem
from orchestrator_site.tokens import MARK

# Assembled here, so that no scanner takes this file for a leak.
BODY = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7d"
PEM = "\n".join(
    ["-----BEGIN RSA PRIVATE " + "KEY-----", "MIIEpAIBAAKCAQEA" + BODY, BODY, "-----END RSA PRIVATE KEY-----"]
)
JWT = ".".join(
    ["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"]
)
SECRETS = {
    "openai key": "sk-" + "proj-" + BODY,
    "anthropic key": "sk-" + "ant-api03-" + BODY,
    "api token": MARK + BODY + "9_-",
    "github token": "ghp" + "_" + BODY[:36],
    "gitlab token": "glpat" + "-" + BODY[:20],
    "aws key id": "AKIA" + "IOSFODNN7EXAMPLE",
    "slack token": "xoxb" + "-123456789012-" + BODY[:24],
    "google key": "AIza" + BODY[:35],
    "google token": "ya29." + BODY,
    "stripe key": "sk_live" + "_" + BODY[:24],
    "hugging face token": "hf" + "_" + BODY[:34],
    "jwt": JWT,
    "private key": PEM,
}
ASSIGNED = [
    "DB_PASSWORD={}", "password: {}", "client_secret = '{}'", '{{"apiKey": "{}"}}', "x-api-key: {}",
    "postgres://orders:{}@db.example/orders", "Authorization: Bearer {}", "authorization: basic {}",
    'AWS_SECRET_ACCESS_KEY="{}"', "?api_key={}&page=2", "Uid=sa;Pwd={};", '{{\\"password\\": \\"{}\\"}}',
]  # fmt: skip
INNOCENT = [
    "The secret of a good summary is brevity; the password to a reader's heart is a short sentence.",
    "Bearer authentication is described below, and bearer responsibilities after it.",
    "Ask the task-0123456789abcdef0123456789abcdef worker; risk-assessment-of-the-whole-department is due.",
    "class=\"sk-folding-cube sk-loading-spinner-container\"",
    "password = get_password(user)\nsecret: str = Field(min_length=12)\napi_key=os.environ['API_KEY1']",
    "password=settings.DATABASES2.password, token=next_token, secret = data[12]",
    "const { password, apiKey } = props; type Login = { password: string; secret?: string2 }",
    "PASSWORD=${DB_PASSWORD_1} SECRET=<your-secret-1> api_key=xxxxxxxxxxxxxxxx password: '********'",
    "postgres://user:password@localhost/db and https://example.com:8443/a?b=c@d",
    "PWD=/home/user1/project; the access key is in the safe; a private key: none",
    "def access_key(self) -> str:  # secret sauce v2",
    "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 40).decode(),
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 by olga",
    "-----BEGIN CERTIFICATE-----\nMIIB" + BODY + "\n-----END CERTIFICATE-----",
    "[redacted: openai key sk-p…]",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("frame", ["{}", "see {}.", '"{}"', "(key={})", "first line\n{}\nlast line"])
def test_it_takes_out_the_well_known_shapes(name: str, frame: str) -> None:
    secret = SECRETS[name]
    found = Redactor().text(frame.format(secret))
    assert secret[6:] not in found
    assert "[redacted: " in found
    assert frame.partition("{}")[0] in found
    assert frame.partition("{}")[2] in found


@pytest.mark.parametrize("name", SECRETS)
def test_the_marker_names_what_it_was_and_shows_four_characters_at_most(name: str) -> None:
    shown = "" if name == "private key" else f" {SECRETS[name][:4]}…"
    assert Redactor().text(f"see {SECRETS[name]} there") in {
        f"see [redacted: {name}{shown}] there",
        f"see [redacted: {name} ----…] there",
    }


@pytest.mark.parametrize("frame", ASSIGNED)
@pytest.mark.parametrize("secret", ["hunter2hunter2", "S3cret+pass/word=="])
def test_it_takes_out_what_is_assigned_to_a_password(frame: str, secret: str) -> None:
    text = frame.format(secret.replace("/", "%2F") if "postgres" in frame else secret)
    found = Redactor().text(text)
    assert secret[4:] not in found
    assert secret[4:8] not in found
    assert "[redacted: " in found
    assert Redactor().text(found) == found


@pytest.mark.parametrize("text", INNOCENT)
def test_it_leaves_prose_code_and_hashes_alone(text: str) -> None:
    assert Redactor().text(text) == text
    assert Redactor().value({"content": text, "list": [text, 7, None, True]}) == {
        "content": text, "list": [text, 7, None, True],
    }  # fmt: skip


def test_it_leaves_ids_digests_and_pictures_alone() -> None:
    draw = random.Random(7)
    for _ in range(300):
        noise = draw.randbytes(48)
        for text in (
            str(uuid.UUID(bytes=noise[:16])), noise.hex(), hashlib.sha256(noise).hexdigest(),
            base64.b64encode(noise).decode(), base64.b64encode(draw.randbytes(3000)).decode(),
        ):  # fmt: skip
            assert Redactor().text(f"id {text}, content: {text}") == f"id {text}, content: {text}"


def test_it_leaves_this_houses_own_source_alone() -> None:
    """A thousand lines a file of ordinary code: what it takes out of them it would take out of any code."""
    root = Path(__file__).parents[2]
    redactor, changed = Redactor(), {}
    for path in [*root.glob("[ato]*/**/*.py"), *root.glob("docs/**/*.md"), root / "README.md"]:
        if "tests" not in path.parts and redactor.text(text := path.read_text()) != text:
            changed[str(path.relative_to(root))] = redactor.text(text)
    assert set(changed) == set()


# --- exact secrets and own patterns ---------------------------------------------------------------------------
def test_it_takes_out_configured_secrets_wherever_and_however_they_stand() -> None:
    secret = 'pa ss/"w\\rd'
    redactor = Redactor(secrets=[secret])
    for text in (secret, f"x{secret}y", json.dumps({"a": secret}), "mongodb://u:pa%20ss%2F%22w%5Crd@h/"):
        found = redactor.text(text)
        assert "ss" not in found.replace("password", "")
        assert found.count("[redacted: ") == 1


def test_a_short_secret_does_not_tear_words_apart() -> None:
    assert Redactor(secrets=["orders"]).text("all orders of the month") == "all orders of the month"


def test_a_longer_secret_goes_before_the_one_it_contains() -> None:
    found = Redactor(secrets=["canary-one", "canary-one-and-more"]).text("canary-one-and-more")
    assert found == "[redacted: secret cana…]"


def test_an_operators_pattern_is_taken_out_whole_or_its_group() -> None:
    redactor = Redactor([r"CUST-\d{6}", r"badge no\. (\d+)|visitor"])
    assert redactor.text("CUST-123456, badge no. 4711, visitor") == (
        "[redacted: pattern CU…], badge no. [redacted: pattern 4…], [redacted: pattern v…]"
    )


@pytest.mark.parametrize("pattern", ["(", "(?=a)b", r"\Qabc", "a*", "(?P<name>abcd)", r"(a)\1", "[z-a]", "(" * 2000])
def test_a_pattern_that_cannot_be_used_is_named(pattern: str, capfd: Any) -> None:
    assert find_problem(pattern)
    with pytest.raises(ValueError, match="google-re2"):
        Redactor([pattern])
    assert capfd.readouterr().err == ""


# --- JSON -----------------------------------------------------------------------------------------------------
def test_it_walks_through_json() -> None:
    key = SECRETS["openai key"]
    found = Redactor().value({"a": [{"b": key}, (key, 1)], key: "k", "n": 2**70, "f": 0.5, "none": None})
    assert key[8:] not in json.dumps(found)
    assert (found["n"], found["f"], found["none"]) == (2**70, 0.5, None)
    assert found["[redacted: openai key sk-p]"] == "k"
    assert all(name.isascii() for name in found)
    assert Redactor().value(found) == found


def test_what_stands_under_the_name_of_a_secret_goes_without_a_context_of_its_own() -> None:
    found = Redactor().value({"password": "correcthorse", "DB_SECRET": "swordfish", "secret": {"type": "string"}})
    assert found == {
        "password": "[redacted: password cor…]",
        "DB_SECRET": "[redacted: password sw…]",
        "secret": {"type": "string"},
    }
    assert Redactor().value(found) == found
    assert Redactor().value({"password": "at least twelve characters"})["password"] == "at least twelve characters"


# --- properties -----------------------------------------------------------------------------------------------
PIECES = st.one_of(
    st.sampled_from([*SECRETS.values(), *ASSIGNED, *INNOCENT, "hunter2hunter2", "password=", "\ud800"]),
    st.just("canary-secret-1"),
    st.text(max_size=12),
    st.text(string.ascii_letters + string.digits + "_-=/+.:'\"\\ ", max_size=40),
)  # fmt: skip
FULL = Redactor([r"CUST-\d{6}", r"\bX+?"], ["canary-secret-1"])


@given(st.lists(PIECES, max_size=8))
def test_twice_is_once(pieces: list[str]) -> None:
    once = FULL.text("".join(pieces))
    assert FULL.text(once) == once
    assert "canary-secret-1" not in once


VALUES = st.recursive(
    st.one_of(PIECES, st.integers(), st.none(), st.booleans()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PIECES, inner, max_size=4),
)


@given(VALUES)
def test_twice_is_once_in_json_too(value: Any) -> None:
    once = FULL.value(value)
    assert FULL.value(once) == once
    assert "canary-secret-1" not in json.dumps(once)


@given(st.text(string.ascii_letters + " .,;!?\n'", max_size=400))
def test_words_alone_are_never_touched(text: str) -> None:
    assert Redactor().text(text) == text


def test_its_time_grows_with_the_text_and_no_faster() -> None:
    hostile = [
        "password=",
        "sk-",
        "-----BEGIN PRIVATE KEY-----",
        "eyJaaaaaaaaa.",
        "a://b:",
        "Bearer ",
        "x_password=none1 ",
    ]
    redactor = Redactor([r"(a+)+$", r"\bX"], ["canary-secret-1"])
    for piece in [*hostile, "aaaa", "XX", "canary-secret-1"]:
        took = []
        for count in (2_000, 16_000):
            started = time.perf_counter()
            redactor.text(piece * count)
            took.append(time.perf_counter() - started)
        assert took[1] < 0.5 + 20 * took[0], (piece, took)  # eight times the text
