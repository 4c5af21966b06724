"""Which vendor is asked, and which is left alone."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from agents.breaker import CircuitState
from agents.providers import vendors
from agents.providers.base import (
    ProviderError,
    ProviderExhausted,
    ProviderInterrupted,
    ProviderMissing,
    ProviderMisspoke,
    ProviderOverloaded,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    StopReason,
)
from agents.providers.openai import OpenAIProvider
from agents.providers.switchboard import CircuitChange, ModelRef, Switchboard, parse_ref
from agents.providers.testing import ScriptedProvider, make_reply
from tests.providers.conftest import ask
from tests.providers.worlds import KEY
from tests.running import ROOT
from tests.servers import find_free_port

LUNA, HAIKU = parse_ref("openai:gpt-6-luna"), parse_ref("anthropic:claude-haiku-5-5")
TIERS = {"cheap": (LUNA, HAIKU)}


class Stage:
    """A switchboard over two scripted vendors, a clock, and what was told of circuits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.openai, self.anthropic = ScriptedProvider(name="openai"), ScriptedProvider(name="anthropic")
        self.told: list[tuple[str, str, str]] = []
        self.is_deaf = False
        named = {"openai": self.openai, "anthropic": self.anthropic}
        self.board = Switchboard(named, TIERS, tell=self._tell, clock=lambda: self.now)

    async def _tell(self, change: CircuitChange) -> None:
        if self.is_deaf:
            raise OSError("the store is away")
        self.told.append((change.provider, str(change.state), change.why))

    async def fail(self, fault: ProviderError, times: int = 5) -> None:
        for _ in range(times):
            self.openai.add(fault)
            with pytest.raises(type(fault)):
                await self.board.complete(LUNA, ask())

    async def answer(self) -> None:
        self.openai.add(make_reply("hello"))
        await self.board.complete(LUNA, ask())


@pytest.fixture
def stage() -> Stage:
    """Give a stage on which all is well."""
    return Stage()


# --- names ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "openai:llama3.2:8b"])
def test_a_model_is_named_as_it_is_written(text: str) -> None:
    assert str(parse_ref(text)) == text


@pytest.mark.parametrize("text", ["", "gpt-6-luna", "openai:", ":x", "mistral:large", "OpenAI:x", "openai: x"])
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no model"):
        parse_ref(text)


# --- candidates -----------------------------------------------------------------------------------------------
def test_the_tiers_own_model_comes_first(stage: Stage) -> None:
    assert stage.board.list_candidates("cheap") == [LUNA, HAIKU]
    assert stage.board.circuits() == {"openai": "closed", "anthropic": "closed"}


def test_a_vendor_that_is_not_configured_is_left_out() -> None:
    board = Switchboard({"anthropic": ScriptedProvider()}, TIERS)
    assert board.list_candidates("cheap") == [HAIKU]


def test_without_any_vendor_it_says_what_to_set() -> None:
    with pytest.raises(ProviderMissing, match="set OPENAI_API_KEY or ANTHROPIC_API_KEY") as caught:
        Switchboard({}, TIERS).list_candidates("cheap")
    assert "\n" not in caught.value.message
    assert (caught.value.code, caught.value.retryable, caught.value.billed) == ("provider_missing", False, False)


async def test_the_model_of_the_ref_is_asked(stage: Stage) -> None:
    await stage.answer()
    assert stage.openai.requests[0].model == "gpt-6-luna"


# --- circuits -------------------------------------------------------------------------------------------------
async def test_a_vendor_that_keeps_failing_gives_way_and_comes_back(stage: Stage) -> None:
    await stage.fail(ProviderOverloaded("busy"))
    assert stage.board.list_candidates("cheap") == [HAIKU]
    with pytest.raises(ProviderUnavailable, match="left alone"):
        await stage.board.complete(LUNA, ask())
    assert len(stage.openai.requests) == 5, "it was asked although its circuit is open"
    stage.now = 31
    assert stage.board.list_candidates("cheap") == [LUNA, HAIKU]
    await stage.answer()
    assert stage.told == [
        ("openai", "open", "provider_overloaded"), ("openai", "half_open", ""), ("openai", "closed", ""),
    ]  # fmt: skip


async def test_with_all_circuits_open_it_says_when_to_come_back(stage: Stage) -> None:
    await stage.fail(ProviderUnavailable("down", retry_after_seconds=100))
    stage.now = 10
    for _ in range(5):
        stage.anthropic.add(ProviderTimeout("late"))
        with pytest.raises(ProviderTimeout):
            await stage.board.complete(HAIKU, ask())
    with pytest.raises(ProviderUnavailable) as caught:
        stage.board.list_candidates("cheap")
    assert (caught.value.retryable, caught.value.billed) == (True, False)
    assert caught.value.retry_after_seconds == 30


@pytest.mark.parametrize("kind", [ProviderOverloaded, ProviderInterrupted, ProviderExhausted, ProviderTimeout])
async def test_what_says_that_a_vendor_is_down_counts(stage: Stage, kind: type[ProviderError]) -> None:
    await stage.fail(kind("x"))
    assert stage.board.circuits()["openai"] == "open"


@pytest.mark.parametrize("kind", [ProviderRejected, ProviderMisspoke])
async def test_what_says_nothing_of_the_kind_does_not(stage: Stage, kind: type[ProviderError]) -> None:
    await stage.fail(kind("x"), times=20)
    assert stage.board.circuits()["openai"] == "closed"


async def test_refusals_do_not_count(stage: Stage) -> None:
    for _ in range(20):
        stage.openai.add(make_reply("no", stop=StopReason.REFUSED))
        await stage.board.complete(LUNA, ask())
    assert stage.board.circuits()["openai"] == "closed"
    assert not stage.anthropic.requests


async def test_a_cancelled_probe_makes_way_for_another(stage: Stage) -> None:
    await stage.fail(ProviderUnavailable("down"))
    stage.now = 31
    stage.openai.add(make_reply("late"), after_seconds=60)
    probe = asyncio.create_task(stage.board.complete(LUNA, ask(timeout_seconds=60)))
    await asyncio.sleep(0.01)
    assert stage.board.list_candidates("cheap") == [HAIKU]
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert stage.board.list_candidates("cheap") == [LUNA, HAIKU]


async def test_the_first_answer_of_a_process_tells_that_all_is_well_and_a_first_failure_does_not(stage: Stage) -> None:
    await stage.fail(ProviderUnavailable("down"), times=1)
    assert stage.told == []
    await stage.answer()
    await stage.answer()
    assert stage.told == [("openai", "closed", "")]


async def test_an_answer_is_not_lost_with_the_note_of_it(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.is_deaf = True
    await stage.answer()
    assert "not noted" in caplog.text
    stage.is_deaf = False
    await stage.answer()
    assert stage.told == [("openai", "closed", "")]


async def test_real_calls_to_nobody_open_the_circuit() -> None:
    dead = OpenAIProvider(api_key=KEY, base_url=f"http://127.0.0.1:{find_free_port()}/v1")
    board = Switchboard({"openai": dead}, TIERS)
    for _ in range(5):
        with pytest.raises(ProviderUnavailable):
            await board.complete(LUNA, ask())
    assert board.circuits() == {"openai": CircuitState.OPEN}
    await board.aclose()


# --- settings -------------------------------------------------------------------------------------------------
@pytest.fixture
def bare(settings: Any) -> Any:
    """No vendor is configured."""
    settings.OPENAI_API_KEY = settings.OPENAI_BASE_URL = settings.ANTHROPIC_API_KEY = settings.ANTHROPIC_BASE_URL = ""
    return settings


def test_nothing_is_configured_without_key_and_address(bare: Any) -> None:
    assert not vendors.is_configured()


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("OPENAI_API_KEY", "openai"), ("OPENAI_BASE_URL", "openai"),
        ("ANTHROPIC_API_KEY", "anthropic"), ("ANTHROPIC_BASE_URL", "anthropic"),
    ],
)  # fmt: skip
async def test_a_key_or_an_address_configures_a_vendor(bare: Any, name: str, vendor: str) -> None:
    setattr(bare, name, "http://127.0.0.1:1")
    assert vendors.is_configured()
    board = vendors.build_switchboard(_ignore)
    assert board.circuits() == {vendor: "closed"}
    bare.MODEL_TIERS = {"cheap": "openai:a", "balanced": "anthropic:b"}
    bare.MODEL_FALLBACKS = {"cheap": "", "balanced": "openai:c"}
    assert vendors.read_tiers() == {
        "cheap": (ModelRef("openai", "a"),), "balanced": (ModelRef("anthropic", "b"), ModelRef("openai", "c")),
    }  # fmt: skip
    await board.aclose()


async def _ignore(_: CircuitChange) -> None: ...


def test_the_sdks_are_not_loaded_before_they_are_used() -> None:
    code = (
        "import sys\n"
        "from agents.providers.anthropic import AnthropicProvider\n"
        "from agents.providers.openai import OpenAIProvider\n"
        "AnthropicProvider(api_key='k'), OpenAIProvider(api_key='k')\n"
        "print({'anthropic', 'openai', 'httpx2', 'pydantic', 'django'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.strip() == "set()"
