"""The bell "the store has new events" between processes, over Redis. It may be lost: the hubs poll as well."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from django.conf import settings

from audit import bell

logger = logging.getLogger(__name__)

_CHANNEL: Final = "audit:shipped"
_MIN_INTERVAL_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 5.0


@contextmanager
def ring_through_redis() -> Iterator[None]:
    """While inside, pass each ring of `bell.shipped` on to the other processes; without REDIS_URL do nothing."""
    if not settings.REDIS_URL:
        yield
        return
    stop, rung = threading.Event(), threading.Event()
    thread = threading.Thread(target=_publish_rings, args=(rung, stop), name="audit-doorbell", daemon=True)
    thread.start()
    bell.shipped.listen(rung.set)
    try:
        yield
    finally:
        bell.shipped.unlisten(rung.set)
        stop.set()
        rung.set()
        thread.join(2.0)


def _publish_rings(rung: threading.Event, stop: threading.Event) -> None:
    """Publish at most 20 rings a second; one that comes in the pause is published after it."""
    from redis import Redis, RedisError
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = Redis.from_url(
        settings.REDIS_URL, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
    )
    while not stop.is_set():
        rung.wait()
        rung.clear()
        try:
            client.publish(_CHANNEL, b"")
            stop.wait(_MIN_INTERVAL_SECONDS)
        except RedisError as error:
            logger.warning(
                "audit doorbell is silent (%s); the hubs poll",
                type(error).__name__,
                extra={"action": "doorbell.silent"},
            )
            stop.wait(_RETRY_SECONDS)
    client.close()


async def hear_through_redis(ring: Callable[[], None]) -> None:
    """Call `ring` for each ring of another process, until cancelled; without REDIS_URL return at once."""
    if not settings.REDIS_URL:
        return
    from redis import RedisError
    from redis.asyncio import Redis

    while True:
        client = Redis.from_url(settings.REDIS_URL, socket_timeout=None, socket_connect_timeout=2.0)
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(_CHANNEL)
                async for _ in subscription.listen():
                    ring()
        except (RedisError, OSError) as error:
            logger.warning(
                "audit doorbell is not heard (%s); the hub polls",
                type(error).__name__,
                extra={"action": "doorbell.unheard"},
            )
        finally:
            await client.aclose()
        await asyncio.sleep(_RETRY_SECONDS)
