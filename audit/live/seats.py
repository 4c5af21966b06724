"""How many sockets each user holds: over all processes where they share a Redis, else in this process.

A seat in Redis lapses unless its process renews it, so that a killed one keeps nobody out for long. A Redis that is
away keeps nobody out at all: then each process counts for itself.
"""

import asyncio
import logging
from collections import defaultdict
from typing import Any, Final
from uuid import uuid4
from weakref import WeakKeyDictionary

from django.conf import settings

logger = logging.getLogger(__name__)

MAX_SEATS: Final = 10
_RENEW_SECONDS: Final = 5.0
_LAPSE_SECONDS: Final = 15
_ANY_NUMBER: Final = 2**31
_CONNECTIONS: Final = 4

# KEYS: a user's seats. ARGV: seconds until they lapse, how many there may be, the seats that are taken or renewed.
_HOLD: Final = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) + #ARGV - 2 > tonumber(ARGV[2]) then return 0 end
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""


class Seats:
    """The seats of this process's users; Redis, where there is one, knows those of all processes."""

    def __init__(self) -> None:
        self._held: defaultdict[str, set[str]] = defaultdict(set)
        self._is_alone = False
        self._leaving = 0  # seats that are being given back in Redis
        self._redis: Any = None
        self._renewal: asyncio.Task[None] | None = None

    async def take(self, user: str) -> str | None:
        """Return a seat for one more socket of `user`, None if they hold all that they may."""
        if len(self._held[user]) >= MAX_SEATS:
            return None
        seat = uuid4().hex
        self._held[user].add(seat)  # before the first await, or two sockets could take the last one
        if settings.REDIS_URL and not await self._hold(user, [seat], most=MAX_SEATS):
            self._drop(user, seat)
            return None
        return seat

    async def leave(self, user: str, seat: str) -> None:
        """Give a seat back."""
        self._drop(user, seat)
        if self._redis is None:
            return
        self._leaving += 1
        try:
            await self._ask(self._redis.zrem(_key(user), seat))
        finally:
            self._leaving -= 1
        if not self._held and not self._leaving:  # all leave at once when the process ends
            await self._disconnect()

    def _drop(self, user: str, seat: str) -> None:
        self._held[user].discard(seat)
        if not self._held[user]:
            del self._held[user]

    async def _hold(self, user: str, seats: list[str], *, most: int) -> bool:
        """Take or renew seats in Redis; tell whether there was room, which there is if Redis does not answer."""
        if self._redis is None:
            self._connect()
        there_was = await self._ask(self._redis.eval(_HOLD, 1, _key(user), _LAPSE_SECONDS, most, *seats))
        return bool(there_was != 0)

    async def _ask(self, answer: Any) -> Any:
        from redis import RedisError

        try:
            answered = await answer
            self._is_alone = False
        except (RedisError, OSError) as error:
            if not self._is_alone:
                logger.warning(
                    "sockets are counted in this process alone (%s)",
                    type(error).__name__,
                    extra={"action": "seats.local"},
                )
            answered, self._is_alone = None, True
        return answered

    def _connect(self) -> None:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        pool: Any = BlockingConnectionPool.from_url(
            settings.REDIS_URL,
            max_connections=_CONNECTIONS,  # hundreds of tabs may come at once
            timeout=2.0,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            for user, seats in list(self._held.items()):
                await self._hold(user, list(seats), most=_ANY_NUMBER)

    async def _disconnect(self) -> None:
        redis, renewal, self._redis, self._renewal = self._redis, self._renewal, None, None
        if redis is None or renewal is None:
            return  # two left at once
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
        await redis.aclose()


def _key(user: str) -> str:
    return f"live:seats:{user}"


_seats: WeakKeyDictionary[asyncio.AbstractEventLoop, Seats] = WeakKeyDictionary()


def get_seats() -> Seats:
    """Return the seats of this process's loop."""
    return _seats.setdefault(asyncio.get_running_loop(), Seats())
