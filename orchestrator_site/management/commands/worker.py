"""`manage.py worker`: run tasks, and send webhooks, in a process of its own."""

import asyncio
import signal
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from agents.worker import Worker
from orchestrator_site.parts import WebhooksPart

_END_SECONDS = 2.0


class Command(BaseCommand):
    help = "Run tasks until SIGTERM or Ctrl-C; for Redis and PostgreSQL (on a laptop `serve` has a worker inside)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--slots", type=int, default=settings.MAX_AGENTS, help="tasks at once (default MAX_AGENTS)")

    def handle(self, *args: Any, slots: int, **options: Any) -> None:
        webhooks = WebhooksPart()
        webhooks.start()
        try:
            asyncio.run(_work(slots))
        finally:
            webhooks.stop()
            webhooks.join(_END_SECONDS)


async def _work(slots: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await Worker(slots=slots).run(stop)
