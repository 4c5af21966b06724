"""Many processes behind a proxy, and what is done to them: kill -9 at the worst moments, Redis and PostgreSQL gone.

One installation for all, in the order of this file; in the end each event was on each screen once.
"""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import dying_server
from tests.bench.agent_runs import NORMALISE, NORMALISED, NORMALIZER_CALL, SUMMARISE, SUMMARY
from tests.bench.spoken import Script
from tests.deploy.scale_cast import SEQUENCERS, TASKS_PER_SECOND, WEBS, WORKERS, Scale, looking_on, run_scale
from tests.integration.screen import Screen
from tests.integration.test_faults import ORDER

THINK = Script(answer=NORMALISED, turns=1, tool="normalizer", arguments=NORMALIZER_CALL)
DISPATCHED_BY = """
SELECT COUNT(DISTINCT w.pid) FROM agents_reservation r JOIN agents_task t ON t.id = r.task_id AND t.fence = r.fence
JOIN agents_worker w ON w.id = t.worker_id WHERE r.state = 'dispatched' AND w.pid = ANY(%s)
"""
MORE_SECONDS = 1.5  # that a request may take while Redis is away, on a busy machine


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scale]:
    started = time.monotonic()
    with run_scale(tmp_path_factory.mktemp("scale")) as running:
        print(f"up after {time.monotonic() - started:.1f} s")
        yield running


@pytest.fixture(scope="module")
def screens(scale: Scale) -> Iterator[list[Screen]]:
    with looking_on(scale) as looking:
        yield looking


@pytest.fixture(autouse=True)
def all_is_well(scale: Scale, screens: list[Screen]) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"took {time.monotonic() - started:.1f} s")


def sign_in(scale: Scale) -> httpx2.Client:
    """Sign the first user in through the proxy, as a browser does."""
    logins = (Path(scale.town.environment["ORCHESTRATOR_VAR"]) / "run" / "logins.txt").read_text()
    found = re.search(r"^admin\s+(\S+)", logins, re.MULTILINE)
    assert found is not None
    client = httpx2.Client(base_url=scale.url, timeout=20, headers={"Origin": scale.url})
    page = client.get("/accounts/login/").text
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    sent = {"csrfmiddlewaretoken": token, "login": "admin", "password": found[1]}
    answer = client.post("/accounts/login/", data=sent)
    assert answer.status_code == 302, answer.text[:2000]
    return client


# --- one for all ----------------------------------------------------------------------------------------------
def test_whichever_process_answers_it_is_one_installation(scale: Scale) -> None:
    places = [f"http://127.0.0.1:{port}" for port in scale.town.ports]
    with closing(sign_in(scale)) as browser:
        assert {browser.get(f"{place}/tasks/").status_code for place in places} == {200}
        page = browser.get(f"{places[1]}/").text
        token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        assert browser.post("/accounts/logout/", data={"csrfmiddlewaretoken": token}).status_code == 302
        assert {browser.get(f"{place}/tasks/").status_code for place in places} == {302}
    (task_id,) = scale.order(ORDER)
    scale.wait_for_end([task_id])
    for place in places:
        with scale.client(place) as client:
            assert client.get(f"/api/tasks/{task_id}").json()["status"] == "succeeded"
            assert client.get("/api/health/deep").json()["status"] == "ok"
            scale.wait(partial(read_trail, client, task_id), "the trail")


def read_trail(client: httpx2.Client, task_id: str) -> Any:
    return client.get("/api/audit", params={"taskId": task_id}).json()["results"]


def test_admission_counts_for_all_processes_together(scale: Scale) -> None:
    with scale.client() as client, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: client.post("/api/tasks", json=ORDER), range(5 * TASKS_PER_SECOND)))
    taken = [answer.json()["taskId"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(taken) + len(refused) == len(answers)
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert len(refused) > 3
    scale.task_ids += taken
    scale.wait_for_end(taken)
    rows = scale.query("SELECT EXTRACT(EPOCH FROM created_at) FROM agents_task WHERE id = ANY(%s) ORDER BY 1", taken)
    assert_paced([float(at) for (at,) in rows], rate=TASKS_PER_SECOND, burst=TASKS_PER_SECOND)


def assert_paced(times: list[float], *, rate: float, burst: int) -> None:
    """See that in no span of time there were more than the burst and what the rate allows in it."""
    for first, began in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + rate * (times[last] - began) + 1, (first, last)


def test_an_agents_slots_and_its_cap_and_its_rate_hold_over_all_workers(scale: Scale) -> None:
    scale.provider.play(Script(answer=SUMMARY, hold=True))
    tasks = scale.order(SUMMARISE, count=14)
    scale.wait(lambda: len(scale.provider.seen()) == 10, "the agent's ten slots to fill")
    time.sleep(2.5)  # two sweeps of each worker
    assert len(scale.provider.seen()) == 10
    assert scale.query("SELECT COUNT(DISTINCT worker_id) FROM agents_task WHERE state = 'running'")[0][0] > 1
    cap = "from django.utils import timezone; from decimal import Decimal; from agents.money.caps import set_cap;"
    cap += "set_cap('agent:summarization-agent', Decimal('0.02'), author='ada', reason='a test', now=timezone.now())"
    scale.shell(cap)
    scale.provider.play(Script(answer=SUMMARY))
    tasks += scale.order(SUMMARISE, count=10)
    read = {"agentId": "data-extraction-agent", "skillId": "documentParser"}
    read["input"] = {"filePath": "examples/meeting-notes.md", "format": "markdown"}  # type: ignore[assignment]
    rated = scale.order(read, count=20)
    scale.wait_for_end(tasks + rated)
    print(scale.outcomes(tasks), scale.outcomes(rated))
    assert scale.outcomes(rated) == {"succeeded": 20}
    allowed = scale.query(
        "SELECT EXTRACT(EPOCH FROM at) FROM toolgate_decisionrecord WHERE agent_id = 'data-extraction-agent'"
        " AND effect = 'allow' ORDER BY 1"
    )
    assert_paced([float(at) for (at,) in allowed], rate=5, burst=5)


# --- the stores -----------------------------------------------------------------------------------------------
FAULTS: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "killed, and back empty": (lambda broker: broker.kill(), lambda broker: broker.start_empty()),
    "silent": (lambda broker: broker.fall_silent(), lambda broker: broker.answer_again()),
    "full": (lambda broker: broker.fill_up(), lambda broker: broker.make_room()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_without_redis_all_goes_on_and_afterwards_all_is_as_before(scale: Scale, fault: str) -> None:
    break_it, mend_it = FAULTS[fault]
    scale.provider.play(THINK)
    with closing(sign_in(scale)) as browser:
        before = measure(scale, browser)
        tasks = scale.order(ORDER, count=6)
        break_it(scale.broker)
        try:
            tasks += scale.order(ORDER, count=6) + scale.order(NORMALISE, count=3)
            during = measure(scale, browser)
            with closing(sign_in(scale)) as other:
                assert other.get("/").status_code == 200
            ended = scale.wait_for_end(tasks)
        finally:
            mend_it(scale.broker)
    assert scale.outcomes(tasks) == {"succeeded": len(tasks)}
    listens = scale.assert_engine_listens()
    print(f"Redis {fault}: p99 {before:.3f} s before, {during:.3f} s meanwhile; tasks ended {ended:.1f} s after their "
          f"order; afterwards a message starts a task in {listens:.3f} s")  # fmt: skip
    assert during < before + MORE_SECONDS


def measure(scale: Scale, browser: httpx2.Client) -> float:
    """Return the 99th percentile of the seconds that requests of several kinds take."""
    with scale.client() as client, ThreadPoolExecutor(6) as threads:
        kinds: list[Callable[[], httpx2.Response]] = [
            lambda: browser.get("/"),
            lambda: browser.get("/tasks/"),
            lambda: client.get("/api/tasks"),
            lambda: client.get("/api/budget"),
        ]

        def ask(number: int) -> float:
            started = time.perf_counter()
            answer = kinds[number % len(kinds)]()
            assert answer.status_code == 200, (answer.url, answer.status_code, answer.text[:500])
            return time.perf_counter() - started

        took = sorted(threads.map(ask, range(60)))
    return took[int(len(took) * 0.99)]


def test_a_restart_of_postgresql_under_load_is_got_over_by_all(scale: Scale) -> None:
    scale.provider.play(THINK)
    with ThreadPoolExecutor(1) as thread:
        ordering = thread.submit(scale.order, NORMALISE, count=30)
        time.sleep(0.7)
        scale.postgres.stop()
        time.sleep(1.0)
        scale.postgres.start()
        back_at = time.monotonic()
        tasks = ordering.result()
    scale.wait_for_end(tasks)
    print(f"PostgreSQL: all ended {time.monotonic() - back_at:.1f} s after it was back; {scale.outcomes(tasks)}")
    assert scale.outcomes(tasks) == {"succeeded": len(tasks)}
    assert all(part.poll() is None for part in scale.parts.values()), scale.tell()
    scale.assert_engine_listens()


def test_workers_stop_and_start_though_redis_is_silent(scale: Scale) -> None:
    scale.broker.fall_silent()
    try:
        started = time.monotonic()
        scale.end(WORKERS)
        print(f"workers stopped in {time.monotonic() - started:.1f} s with Redis silent")
        for name in WORKERS:
            scale.start(name)
        scale.wait_for_end(scale.order(ORDER, count=3))
    finally:
        scale.broker.answer_again()
    scale.assert_engine_listens()


# --- kill -9 --------------------------------------------------------------------------------------------------
def test_kills_at_each_moment_lose_nothing_and_do_nothing_twice(scale: Scale) -> None:
    scale.end(WORKERS)
    scale.provider.play(Script(**(vars_of(THINK) | {"hold": True})))
    doomed = {"worker 4": dying_server.HELD, "worker 5": dying_server.ANSWERED, "worker 6": dying_server.SETTLED}
    for name, moment in doomed.items():
        scale.start(name, "--slots", "2", program=("-m", "tests.dying_server"), DIES_AT=moment)
    scale.start("worker 7", "--slots", "2")
    tasks = scale.order(NORMALISE, count=9)
    scale.wait(lambda: scale.parts["worker 4"].poll() == -9, "the first to die")
    others = [scale.parts[name].pid for name in ("worker 5", "worker 6", "worker 7")]
    scale.wait(lambda: scale.query(DISPATCHED_BY, others) == [(3,)], "the others to wait for answers")
    scale.kill("worker 7")  # between dispatch and answer
    scale.provider.change(THINK)
    scale.wait(lambda: all(scale.parts[name].poll() == -9 for name in doomed), "the doomed to die")
    died_at = time.monotonic()
    for name in WORKERS:
        scale.start(name)
    kill_the_leader_in_its_batch(scale)
    kill_a_web(scale)
    scale.wait_for_end(tasks)
    print(f"workers: all ended {time.monotonic() - died_at:.1f} s after the last of four died; {scale.outcomes(tasks)}")
    assert scale.outcomes(tasks) == {"succeeded": len(tasks)}
    states = "SELECT COUNT(*) FROM agents_reservation WHERE task_id = ANY(%s) AND state = 'settled' AND is_estimate"
    assert scale.query(states, tasks)[0][0] >= 3  # what the dead had sent, or may have, is charged at its bound


def vars_of(script: Script) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(script)


def kill_the_leader_in_its_batch(scale: Scale) -> None:
    leader = scale.leader()
    trap = Path(scale.town.environment["ORCHESTRATOR_VAR"]) / "die-at"
    trap.write_text(dying_server.NUMBERED)
    scale.order(ORDER)
    scale.wait(lambda: scale.parts[leader].poll() == -9, "the leader to die")
    trap.unlink()
    standby = next(name for name in SEQUENCERS if name != leader)
    took = scale.wait(lambda: scale.leader() == standby, "the other to lead", seconds=20)
    print(f"sequencer: the other led {took:.1f} s after the leader had died")
    assert took < 12
    scale.start(leader, program=("-m", "tests.dying_server"))


def kill_a_web(scale: Scale) -> None:
    """Kill one of three while requests are made through the proxy."""
    failed: list[str] = []

    def ask(number: int) -> None:
        if number == 20:
            scale.kill(WEBS[1])
        try:
            answer = client.get("/api/tasks")
            if answer.status_code != 200:
                failed.append(f"{answer.status_code}")
        except httpx2.TransportError as error:
            failed.append(type(error).__name__)

    with scale.client() as client, ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(100)))
    scale.start(WEBS[1])
    scale.wait_for_web(WEBS[1])
    print(f"web: {len(failed)} of 100 requests failed as one of three was killed: {failed}")
    assert len(failed) <= 4  # those that it was answering


# --- the end --------------------------------------------------------------------------------------------------
def test_in_the_end_each_event_was_on_each_screen_once(scale: Scale, screens: list[Screen]) -> None:
    scale.wait(lambda: not scale.query("SELECT 1 FROM audit_ledgerevent WHERE seq IS NULL"), "all numbers")
    head = scale.query("SELECT seq FROM audit_treehead")[0][0]
    scale.wait(lambda: min(screen.head for screen in screens) >= head, "the screens", seconds=20)
    ledger = scale.query("SELECT seq, event_id FROM audit_ledgerevent ORDER BY seq")
    for screen in screens:
        print(screen)
        assert screen.shown[:head] == ledger[:head]
        assert (screen.lacking, screen.untold) == (0, 0)
    scale.assert_whole()
