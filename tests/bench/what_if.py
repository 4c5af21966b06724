"""A what-if over 200,000 recorded decisions, from the store to the page: `python -m tests.bench what_if`.

The history spreads over eleven agents and five skills, but for one pair that has two calls in five. *Cell* adds a deny
rule to one pair; *policy* changes every pair and is replayed by a worker's thread, while the page shows how far it is.
"""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROWS = 200_000
BUSIEST = ("data-extraction-agent", "documentParser")
AVERAGE = ("summarization-agent", "documentParser")
LOOK_SECONDS = 0.5


def run() -> list[dict[str, Any]]:
    """Return a row for each change: decisions replayed, calls turned, seconds of the wall and of CPU."""
    with _world() as client:
        return [
            _measure(client, "one cell, average", *AVERAGE),
            _measure(client, "one cell, the busiest", *BUSIEST),
            _measure(client, "whole policy", "*", "*"),
        ]


def _measure(client: Any, name: str, agent_id: str, skill_id: str) -> dict[str, Any]:
    from django.utils import timezone

    from toolgate.editing.drafts import discard_draft, put_rule
    from toolgate.models import WhatIf
    from toolgate.replay import runs

    conditions = {"readPaths": ["reports"]}
    rule = {"id": "bench", "agent": agent_id, "skill": skill_id, "effect": "deny", "conditions": conditions}
    put_rule("bench", rule, replaces=None, now=timezone.now())
    seen: list[int] = []
    started, cpu = time.perf_counter(), time.process_time()
    answer = client.post("/permissions/whatif/", follow=True)
    if b"data-follow" in answer.content:
        worker = threading.Thread(target=runs.run_due)
        worker.start()
        address = answer.redirect_chain[-1][0]
        while b"data-follow" in answer.content:
            time.sleep(LOOK_SECONDS)
            answer = client.get(address, headers={"HX-Request": "true"})
            seen.append(runs.get_what_if(address.split("/")[-2]).done)
        worker.join()
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert answer.status_code == 200, answer.status_code
    assert b"would have come out otherwise" in answer.content
    what_if = WhatIf.objects.latest("created_at")
    discard_draft("bench", now=timezone.now())
    return {
        "change": name,
        "replayed": f"{what_if.total:,}",
        "turned": f"{sum(what_if.result['flips'].values()):,}",
        "seconds to the page": took,
        "of CPU": cpu,
        "progress shown": f"{len(set(seen))} times" if seen else "at once",
    }


@contextmanager
def _world() -> Iterator[Any]:
    """Set up a store of its own with the history, and give a client that is signed in as an admin."""
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        database = settings.DATABASES["default"]
        before = database["NAME"]
        connections.close_all()
        database["NAME"] = connections["default"].settings_dict["NAME"] = str(Path(folder, "state.sqlite3"))
        try:
            call_command("migrate", verbosity=0)
            yield _fill(settings)
        finally:
            connections.close_all()
            database["NAME"] = connections["default"].settings_dict["NAME"] = before


def _fill(settings: Any) -> Any:
    from django.contrib.auth.models import Group, User
    from django.test import Client
    from django.utils import timezone

    from agents.registry import list_agents, seed_agents
    from tests.bench.history import make_calls, write_history, write_tasks
    from toolgate.in_force import policy_in_force
    from toolgate.seed import seed_policy

    settings.ALLOWED_HOSTS = ["testserver"]
    now = timezone.now()
    seed_agents(now=now)
    seed_policy(now=now)
    agents = [agent.id for agent in list_agents()]
    rows = write_history(make_calls(ROWS, agents=agents, end=now, busiest=BUSIEST), policy_in_force())
    print(
        f"  {rows:,} decisions of {write_tasks(now):,} tasks, {os.path.getsize(_database()) / 1e6:.0f} MB of SQLite\n"
    )
    user = User.objects.create_user("bench")
    user.groups.add(Group.objects.get_or_create(name="admin")[0])
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    client.get("/permissions/draft/")  # templates and caches are warm, as they are in a server
    return client


def _database() -> str:
    from django.db import connection

    return str(connection.settings_dict["NAME"])
