"""The console's socket beside what it is compared with, in one web process: `python -m tests.bench.live_server`.

On `/ws/naive/` each event is a message of the channel layer to a group, and each consumer passes it on, as Channels'
tutorial does it. `… publish RATE COUNT` sends such messages from a process of its own. `… whole` is `manage.py serve`
with a thread that writes events as a worker would, when the file `write` in the state folder says so.
"""

import asyncio
import os
import runpy
import sys
import threading
import time
from typing import Any

import django
import orjson
import uvicorn
import uvloop
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer

GROUP = "naive"


class NaiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One socket of a group; a message an event."""

    async def connect(self) -> None:
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def event(self, message: dict[str, Any]) -> None:
        await self.send(message["text"])


def serve(port: int) -> None:
    """Serve both kinds of sockets as the product's server would."""
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.urls import path

    from audit import access
    from audit.live.consumers import ConsoleConsumer
    from orchestrator_site.readers import check_stream, may_export, may_follow, may_read_payload
    from orchestrator_site.serve import web_config

    access.admit(readers=may_follow, payloads=may_read_payload, exporters=may_export, streams=check_stream)
    console: Any = ConsoleConsumer.as_asgi()
    naive: Any = NaiveConsumer.as_asgi()
    sockets = AuthMiddlewareStack(URLRouter([path("ws/console/", console), path("ws/naive/", naive)]))
    config = web_config(ProtocolTypeRouter({"websocket": sockets}))
    config.port = port
    asyncio.run(uvicorn.Server(config).serve(), loop_factory=uvloop.new_event_loop)


async def publish(rate: float, count: int) -> None:
    """Send `count` messages to the group, of the size of an item of the feed."""
    from datetime import UTC, datetime

    from audit.live.items import to_item
    from audit.wire import format_at
    from tests.unit.test_feed_hub import make_wire

    layer = get_channel_layer()
    started = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        item = to_item(make_wire(number + 1, taskId=f"t-{number}", at=format_at(datetime.now(UTC))))
        text = orjson.dumps({"op": "ev", "items": [item]}).decode()
        await layer.group_send(GROUP, {"type": "event", "text": text})


def write_when_told() -> None:
    """Wait for the file, and record what it says: rate, count and skill."""
    from django.conf import settings

    from tests.live_cast import write_events

    order = settings.VAR / "write"
    while not order.exists():
        time.sleep(0.05)
    rate, count, skill = order.read_text().split()
    write_events(float(rate), int(count), skill)


def prepare() -> None:
    """Set Django up, with a channel layer of as many connections to Redis as there are sockets: it takes one for each.

    redis-py 8 would time idle sockets out after 5 s, the length of the blocking pop.
    """
    from django.conf import settings

    django.setup()
    if settings.REDIS_URL:
        host = {"address": settings.REDIS_URL, "socket_timeout": None, "max_connections": 2_000}
        layer = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [host]}}
        settings.CHANNEL_LAYERS = {"default": layer}


if __name__ == "__main__":
    prepare()
    match sys.argv[1:]:
        case ["whole"]:
            threading.Thread(target=write_when_told, daemon=True).start()
            sys.argv = ["manage.py", "serve"]
            runpy.run_path("manage.py", run_name="__main__")
        case ["publish", rate, count]:
            asyncio.run(publish(float(rate), int(count)))
        case _:
            serve(int(os.environ["PORT"]))
