"""The bell between processes, through a real Valkey."""

import asyncio
from typing import Any

import pytest

from audit import bell
from audit.live.doorbell import hear_through_redis, ring_through_redis
from tests.servers import find_free_port


@pytest.fixture
async def heard(settings: Any, valkey: str) -> Any:
    """Give an event that is set by the bell of another process."""
    settings.REDIS_URL = valkey
    rung = asyncio.Event()
    task = asyncio.create_task(hear_through_redis(rung.set))
    yield rung
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_ring_is_heard_elsewhere_also_after_a_burst(heard: asyncio.Event) -> None:
    with ring_through_redis():
        async with asyncio.timeout(5):
            while not heard.is_set():  # until the subscription stands
                bell.shipped.ring()
                await asyncio.sleep(0.02)
            for _ in range(100):
                bell.shipped.ring()
            await asyncio.sleep(0.1)
            heard.clear()
            bell.shipped.ring()
            await heard.wait()


async def test_without_redis_nothing_rings(settings: Any) -> None:
    settings.REDIS_URL = ""
    with ring_through_redis():
        bell.shipped.ring()
    await hear_through_redis(lambda: None)


async def test_a_redis_that_is_away_disturbs_nobody(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{find_free_port()}/0"
    task = asyncio.create_task(hear_through_redis(lambda: None))
    with ring_through_redis():
        bell.shipped.ring()
        await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "audit doorbell is silent" in caplog.text
    assert "audit doorbell is not heard" in caplog.text
