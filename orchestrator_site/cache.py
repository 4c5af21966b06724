"""The cache: Redis holds it for all processes, and each process for itself while Redis does not.

What is in it may be forgotten (attempts at a login, which sessions were seen), but a request must neither fail nor hang
for it. Whoever finds Redis away, mute or full waits for it once; for a while after that nobody asks it at all.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, override

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 0.5
REST_SECONDS: Final = 5.0
# With Django's 300 entries, whoever tries enough names would have the attempts at another forgotten.
MAX_ENTRIES: Final = 100_000
_PROBE: Final = "cache:probe"


class OwnCache(LocMemCache):
    """The cache of one process, large enough for what counts attempts."""

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        super().__init__(name, params | {"OPTIONS": {"MAX_ENTRIES": MAX_ENTRIES}})


class SharedCache(BaseCache):
    """A cache in Redis, `server` its address, with one of the process's own to fall back on."""

    _lock = threading.Lock()
    _asks_again_at: float | None = None  # of all instances: Django makes one a thread; None: Redis answers

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        from django_redis.cache import RedisCache
        from django_redis.exceptions import ConnectionInterrupted
        from redis import RedisError
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        patience = {"SOCKET_TIMEOUT": PATIENCE_SECONDS, "SOCKET_CONNECT_TIMEOUT": PATIENCE_SECONDS}
        options = patience | {"CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)}}
        self._shared: BaseCache = RedisCache(server, params | {"OPTIONS": options})
        self._own = OwnCache("beside-redis", params)
        self._troubles = (RedisError, ConnectionInterrupted, OSError)

    def _ask[T](self, question: Callable[[BaseCache], T]) -> T:
        """Ask Redis, or this process where Redis does not answer."""
        try:
            if self._is_well():
                return question(self._shared)
        except self._troubles as error:
            self._leave_alone(error)
        return question(self._own)

    def _is_well(self) -> bool:
        """Say whether Redis answers; one of those who come when it has had its rest finds out, by a write."""
        with self._lock:
            if self._asks_again_at is None or time.monotonic() < self._asks_again_at:
                return self._asks_again_at is None
            SharedCache._asks_again_at = time.monotonic() + REST_SECONDS
        self._shared.set(_PROBE, 1, timeout=60)  # one that is full still reads
        SharedCache._asks_again_at = None
        log.info("the cache is shared again", extra={"action": "cache.shared"})
        return True

    def _leave_alone(self, error: Exception) -> None:
        with self._lock:
            was_well, SharedCache._asks_again_at = self._asks_again_at is None, time.monotonic() + REST_SECONDS
        if was_well:
            log.warning(
                "Redis does not keep the cache (%s): this process has its own meanwhile", type(error).__name__,
                extra={"action": "cache.alone"},
            )  # fmt: skip

    @override
    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._ask(lambda cache: bool(cache.add(key, value, timeout=timeout, version=version)))

    @override
    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._ask(lambda cache: cache.get(key, default, version=version))

    @override
    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        self._ask(lambda cache: cache.set(key, value, timeout=timeout, version=version))

    @override
    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._ask(lambda cache: bool(cache.touch(key, timeout=timeout, version=version)))

    @override
    def delete(self, key: Any, version: int | None = None) -> bool:
        return self._ask(lambda cache: bool(cache.delete(key, version=version)))

    @override
    def clear(self) -> None:
        self._ask(lambda cache: cache.clear())
