"""What governing adds to one model call: gate, reservation, step ledger, audit and transcript, over the SDK alone.

All that is measured asks the same stand-in, one call after the other, and is measured there: a cycle is the time from
one request's arrival to the arrival of the next of the same conversation. So it holds everything that happens in
between, the provider's own time too, which is the same for all. Rounds of each take turns.

*Governed* is a task of an agent on the real server (SQLite, one process with web server, worker and sequencer): its
model wants one skill call in each turn, or two. What the second call adds is what a call costs; the first one's
share taken off leaves the turn alone. A turn reserves the worst case, writes its step, asks, settles, and writes
reply, audit and transcript: two transactions. A call is judged by the gate, run, and written down: two more.
*Direct* sends the very bodies that the governed runs sent, with the same SDK in a process that does nothing else:
by the SDK's own `responses.create`, and as our workers call it, which is the base of what is added. LiteLLM is asked
as our workers ask, with the same bodies.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import uvloop

from agents.providers.calling import open_stream
from tests.bench.agent_runs import NORMALISE, NORMALISED, NORMALIZER_CALL, run_against_standin
from tests.bench.provider import Provider, Seen
from tests.bench.rival import Rival, run_rival
from tests.bench.rivals import RivalMissing
from tests.bench.spoken import Script
from tests.bench.throughput import COUNT, count_sqlite, wait_until
from tests.running import RunningServer

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MODEL = "gpt-6-luna"
TURNS = 25
ROUNDS = 10

Cycles = dict[str, list[float]]  # milliseconds, by what was measured


def run() -> list[dict[str, Any]]:
    """Return one row for each way of calling, and what was measured of the rival."""
    cycles: Cycles = {}
    with ExitStack() as stack:
        server, provider = stack.enter_context(run_against_standin())
        try:
            rival = stack.enter_context(run_rival(MODEL, provider.base_url))
        except RivalMissing as missing:
            print(f"  LiteLLM is left out: {missing}")
            rival = None
        bodies = {calls: warm_up(server, provider, calls) for calls in (1, 2)}
        for _ in range(ROUNDS):
            for calls in (1, 2):
                provider.play(make_script(calls))
                run_task(server)
                note(cycles, f"governed {calls}", provider)
                for name, url, key, is_plain in list_direct(provider, rival, calls):
                    provider.play(make_script(calls))
                    asyncio.run(send_all(bodies[calls], url, key, is_plain), loop_factory=uvloop.new_event_loop)
                    note(cycles, f"{name} {calls}", provider)
        return list(make_rows(cycles, f"LiteLLM {rival.version}" if rival else ""))


def make_script(calls: int) -> Script:
    """Return a conversation of `TURNS` turns with `calls` skill calls each, and its answer."""
    return Script(turns=TURNS, calls=calls, tool="normalizer", arguments=NORMALIZER_CALL, answer=NORMALISED)


def warm_up(server: RunningServer, provider: Provider, calls: int) -> list[dict[str, Any]]:
    """Run one task and return the bodies that it sent."""
    provider.play(make_script(calls))
    run_task(server)
    return provider.bodies()


def run_task(server: RunningServer) -> None:
    """Run one task of the agent, watching it from outside the process."""
    before = count_sqlite(server.var, COUNT)
    with server.client() as client:
        server.submit(client, **NORMALISE)
    wait_until(lambda: count_sqlite(server.var, COUNT) > before)


def list_direct(provider: Provider, rival: Rival | None, calls: int) -> Iterator[tuple[str, str, str, bool]]:
    """Give name, address, key and whether by the SDK's own method of each that is asked without our worker."""
    yield "direct", provider.base_url, "none", False
    if calls == 1:
        yield "create", provider.base_url, "none", True
        if rival:
            yield "rival", rival.base_url, rival.key, False


async def send_all(bodies: list[dict[str, Any]], url: str, key: str, is_plain: bool) -> None:
    """Send the bodies one after the other, each once the answer before is whole."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key=key, base_url=url, max_retries=0) as client:
        for body in bodies:
            await (_create(client, body) if is_plain else _post(client, body))


async def _create(client: "AsyncOpenAI", body: dict[str, Any]) -> None:
    async with await client.responses.create(**body) as stream:
        async for event in stream:
            if event.type == "response.completed":
                event.to_dict(mode="json")


async def _post(client: "AsyncOpenAI", body: dict[str, Any]) -> None:
    from openai import AsyncStream

    async with open_stream(client, "/responses", body, stream_class=AsyncStream, timeout_seconds=60) as stream:
        async for event in stream:
            if event["type"] == "response.completed":
                return


def note(cycles: Cycles, name: str, provider: Provider) -> None:
    """Add the cycles of what was asked since the script was set."""
    found = [(then.at - first.at) * 1000 for first, then in pairwise(provider.seen()) if _follows(first, then)]
    if len(found) != TURNS:
        raise RuntimeError(f"{name}: {len(found)} of {TURNS} turns followed one another")
    cycles.setdefault(name, []).extend(found)


def _follows(first: Seen, then: Seen) -> bool:
    return then.turn == first.turn + 1


def make_rows(cycles: Cycles, rival: str) -> Iterator[dict[str, Any]]:
    """Give the rows: what each adds is over the direct call, medians and means apart."""
    middles = {name: {"p50": median(found), "mean": mean(found)} for name, found in cycles.items()}
    base, one, two = (middles[name] for name in ("direct 1", "governed 1", "governed 2"))
    both = {kind: one[kind] - base[kind] for kind in base}
    call = {kind: (two[kind] - middles["direct 2"][kind]) - both[kind] for kind in base}
    turn = {kind: both[kind] - call[kind] for kind in base}
    theirs = {kind: middles["rival 1"][kind] - base[kind] for kind in base} if rival else None
    plain = {kind: middles["create 1"][kind] - base[kind] for kind in base}
    yield _row("direct, as our workers call", base, None, None)
    yield _row("direct, by responses.create", middles["create 1"], plain, None)
    yield _row("governed turn", {kind: base[kind] + turn[kind] for kind in base}, turn, theirs)
    yield _row("governed turn and one gated call", one, both, theirs)
    if rival and theirs:
        yield _row(f"{rival} with otel", middles["rival 1"], theirs, None)


def _row(
    name: str, cycle: dict[str, float], added: dict[str, float] | None, theirs: dict[str, float] | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"one call": name, "p50 ms": cycle["p50"], "mean ms": cycle["mean"]}
    row |= {f"adds, {kind}": added[kind] if added else "" for kind in ("p50", "mean")}
    return row | {"of LiteLLM's": added["p50"] / theirs["p50"] if added and theirs else ""}
