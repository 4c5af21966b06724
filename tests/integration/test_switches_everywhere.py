"""A switch that is turned in one process ends runs in all others; the times are printed, and are the bench's matter."""

import time
from collections import Counter

from tests.bench.agent_runs import SUMMARISE, SUMMARY, publish_config, run_against_standin
from tests.bench.spoken import Script
from tests.bench.switches import RUNS, measure, run_everywhere
from tests.integration.test_faults import query, wait_for_audit
from tests.running import RunningServer

FELT_SECONDS = 5.0  # of a machine that does much else


def test_two_workers_feel_what_a_third_process_turns() -> None:
    with run_everywhere() as everywhere:
        for name, took in measure(everywhere).items():
            print(name, {column: round(seconds, 2) for column, seconds in took.items()})
            assert max(took.values()) < FELT_SECONDS, name
        released = everywhere.query(
            "SELECT reason, COUNT(*) FROM audit_ledgerevent WHERE type = 'run.released' GROUP BY 1"
        )
        assert released == [("fleet_stopped", RUNS)]
        failed = Counter(
            row[0] for row in everywhere.query("SELECT error_code FROM agents_task WHERE state = 'failed'")
        )
        assert failed == {"agent_quarantined": RUNS, "skill_quarantined": 1}
        assert everywhere.query("SELECT COUNT(*) FROM agents_task WHERE state = 'succeeded'") == [(RUNS,)]
        assert everywhere.query("SELECT SUM(attempt) FROM agents_task WHERE state = 'succeeded'") == [(RUNS,)]
        assert everywhere.query("SELECT COUNT(*) FROM agents_reservation WHERE closed_at IS NULL") == [(0,)]


def states_of(server: RunningServer, tasks: list[str]) -> set[str]:
    marks = ", ".join("?" * len(tasks))
    return {state for (state,) in query(server, f"SELECT state FROM agents_task WHERE id IN ({marks})", *tasks)}


def wait_for(server: RunningServer, tasks: list[str], state: str) -> None:
    give_up_at = time.monotonic() + 30
    while states_of(server, tasks) != {state}:
        assert time.monotonic() < give_up_at, f"{states_of(server, tasks)}, not {state}"
        time.sleep(0.02)


def test_a_stop_by_command_holds_through_a_crash_until_it_is_resumed_in_stages() -> None:
    with run_against_standin(MAX_AGENTS="8") as (server, provider):
        publish_config(server, SUMMARISE["agentId"], concurrent=8)
        provider.play(Script(answer=SUMMARY, hold=True))
        with server.client() as client:
            tasks = [server.submit(client, **SUMMARISE) for _ in range(5)]
            while len(provider.seen()) < len(tasks):
                time.sleep(0.02)
            said = server.manage("fleet", "stop", "--reason", "odd mails")
            assert said.startswith("stopped, by admin: odd mails")
            wait_for(server, tasks, "queued")
            server.kill()
            server.start()
            tasks.append(server.submit(client, **SUMMARISE))
            asked = len(provider.seen())
            time.sleep(2)
            assert (states_of(server, tasks), len(provider.seen())) == ({"queued"}, asked)
            server.manage("fleet", "resume", "--slots", "1")
            give_up_at = time.monotonic() + 20
            while len(provider.seen()) == asked:
                assert time.monotonic() < give_up_at
                time.sleep(0.02)
            time.sleep(2)
            assert (len(provider.seen()), client.get("/api/fleet").json()["running"]) == (asked + 1, 1)
            provider.change(Script(answer=SUMMARY))
            server.manage("fleet", "resume")
            wait_for(server, tasks, "succeeded")
        wait_for_audit(server)
        server.manage("verify_audit")
        assert query(server, "SELECT COUNT(*) FROM agents_step WHERE state = 'intent'") == [(0,)]
