"""What rests on Redis while it is mute, full or gone: the cache, and the engine. Neither fails, hangs or stays so."""

import asyncio
import atexit
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from agents import engine
from orchestrator_site import cache as caching
from orchestrator_site.cache import PATIENCE_SECONDS, SharedCache
from tests import servers


class Broker:
    """A Valkey of one test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.redis: Redis = Redis.from_url(url)
        self.pid: int = self.redis.info("server")["process_id"]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def fill_up(self) -> None:
        self.redis.config_set("maxmemory", "1kb")

    def make_room(self) -> None:
        self.redis.config_set("maxmemory", "0")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    monkeypatch.setattr(SharedCache, "_asks_again_at", None)
    monkeypatch.setattr(caching, "REST_SECONDS", 0.3)
    with servers.run_valkey() as url:
        yield Broker(url)


def open_cache(broker: Broker) -> SharedCache:
    cache = SharedCache(broker.url, {})
    cache._own.clear()  # all that this process ever made share it
    return cache


FAULTS: dict[str, tuple[Callable[[Broker], None], Callable[[Broker], None]]] = {
    "mute": (lambda broker: broker.signal(signal.SIGSTOP), lambda broker: broker.signal(signal.SIGCONT)),
    "full": (Broker.fill_up, Broker.make_room),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cache_without_redis_counts_on_and_is_shared_again(broker: Broker, fault: str) -> None:
    break_it, mend_it = FAULTS[fault]
    cache, other = open_cache(broker), open_cache(broker)
    assert cache.add("seen", 1)
    assert not other.add("seen", 1)
    break_it(broker)
    started = time.monotonic()
    cache.set("attempts", [1, 2])
    assert time.monotonic() - started < PATIENCE_SECONDS + 0.5
    for _ in range(50):
        assert other.get("attempts") == [1, 2]  # Django makes one a thread
    assert (cache.add("attempts", 0), cache.delete("attempts"), cache.get("attempts", "none")) == (False, True, "none")
    assert time.monotonic() - started < 2 * PATIENCE_SECONDS + 0.5
    mend_it(broker)
    time.sleep(0.4)
    cache.set("attempts", [3])
    assert open_cache(broker).get("attempts") == [3]  # which what a process has of its own does not hold


def test_a_cache_whose_redis_was_gone_from_the_start_works(broker: Broker) -> None:
    cache = open_cache(broker)
    broker.signal(signal.SIGKILL)
    assert cache.add("seen", 1, timeout=60)
    assert not cache.add("seen", 1, timeout=60)
    assert cache.touch("seen", 5)
    cache.clear()
    assert cache.get("seen") is None


# --- the engine -----------------------------------------------------------------------------------------------
async def none_due() -> bool:
    """Stand in for a worker that finds nothing."""
    return False


@pytest.fixture
def docket(broker: Broker, settings: Any) -> Iterator[Broker]:
    settings.REDIS_URL = broker.url
    engine._get_producer.cache_clear()
    yield broker
    producer = engine._get_producer()
    producer.close()
    atexit.unregister(producer.close)
    engine._get_producer.cache_clear()


async def consume(seconds: float, run_next: Callable[[], Any] = none_due) -> float:
    """Consume for a while; return how long the end took."""
    stop = asyncio.Event()
    consuming = asyncio.create_task(engine.DocketBackend("default", {}).consume(run_next, slots=2, stop=stop))
    await asyncio.sleep(seconds)
    assert not consuming.done()
    stop.set()
    started = time.monotonic()
    await consuming
    return time.monotonic() - started


def test_an_engine_starts_and_ends_in_time_though_redis_is_mute(docket: Broker) -> None:
    docket.signal(signal.SIGSTOP)
    started = time.monotonic()
    assert asyncio.run(consume(1.0)) < engine.CLOSE_SECONDS + 0.5
    assert time.monotonic() - started < 5.0


def test_docket_that_fails_for_whatever_reason_is_begun_anew(docket: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    import docket as library

    monkeypatch.setattr(engine, "RESTART_SECONDS", 0.1)
    begun, asked, run_forever = list[float](), list[float](), library.Worker.run_forever

    async def fail_twice(worker: Any) -> None:
        begun.append(time.monotonic())
        if len(begun) <= 2:
            raise RuntimeError("a defect")
        await run_forever(worker)

    async def ask() -> bool:
        asked.append(time.monotonic())
        return False

    monkeypatch.setattr(library.Worker, "run_forever", fail_twice)
    engine._get_producer().send("some-task", "some-key", None)
    asyncio.run(consume(3.0, ask))
    assert len(begun) == 3
    assert len(asked) == 1


def test_messages_to_a_mute_redis_are_given_up_and_the_next_ones_arrive(
    docket: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "SEND_SECONDS", 0.5)
    producer = engine._get_producer()
    producer.send("first", "first", None)
    wait_until(lambda: docket.redis.xlen(f"{engine.DOCKET_NAME}:stream") == 1)
    docket.signal(signal.SIGSTOP)
    started = time.monotonic()
    for number in range(100):
        producer.send(f"lost-{number}", f"lost-{number}", None)
    assert time.monotonic() - started < 0.5  # nobody waits for a message
    time.sleep(1.2)
    docket.signal(signal.SIGCONT)
    producer.send("last", "last", None)
    wait_until(lambda: docket.redis.exists(f"{engine.DOCKET_NAME}:runs:last"))
    assert [record.message for record in caplog.records if "unreachable" in record.message] == [
        "engine unreachable (TimeoutError); workers' sweeps find what is due"
    ]


def wait_until(reached: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
