"""`manage.py worker`: run tasks, and send webhooks, in a process of its own."""

import asyncio
import signal
from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agents.worker import Worker
from orchestrator_site import draining, stores
from orchestrator_site.observing.port import open_port
from orchestrator_site.observing.standing import standing_of_worker
from orchestrator_site.parts import WebhooksPart, running
from orchestrator_site.preflight import PreflightError

_GIVE_BACK_SECONDS = 5.0  # after the last run; then the process ends whatever still goes on


class Command(BaseCommand):
    help = (
        "Run tasks until SIGTERM or Ctrl-C, or the second of them; for Redis and PostgreSQL (`serve` has one inside)."
    )
    requires_system_checks: list[str] = []  # ours are run below, and logged

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--slots", type=int, default=settings.MAX_AGENTS, help="tasks at once (default MAX_AGENTS)")

    def handle(self, *args: Any, slots: int, **options: Any) -> None:
        worker = Worker(slots=slots)
        try:
            stores.refuse_wrong_settings()
            port = open_port(standing_of_worker(worker))
        except PreflightError as error:
            raise CommandError(str(error)) from error
        with ExitStack() as parts:
            for part in (*port, WebhooksPart()):
                parts.enter_context(running(part))
            asyncio.run(_work(worker))


async def _work(worker: Worker) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            hurry.set()
            return
        stop.set()
        draining.announce()
        draining.end_within(settings.WORKER_DRAIN_SECONDS + _GIVE_BACK_SECONDS)

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, end)
    await worker.run(stop, hurry)
