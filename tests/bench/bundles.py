"""A million events: their export, its verification by the auditor's program, and the proof of one among them."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.running import ROOT

EVENTS = 1_000_000
PROOFS = 500
LOOK_SECONDS = 0.02
PROGRAM = ROOT / "audit" / "bundles" / "verify_trail.py"


def run() -> list[dict[str, Any]]:
    """Return a row for each step: seconds, events a second, and the size that it has on disk or in memory."""
    from tests.bench.long_trail import empty_state, write_trail

    with empty_state() as folder:
        started = time.perf_counter()
        write_trail(EVENTS)
        print(f"  {EVENTS:,} events were written to a ledger in {time.perf_counter() - started:.0f} s\n")
        return [
            *_measure_bundle(folder / "whole.gz", "whole", redacted=False),
            *_measure_bundle(folder / "redacted.gz", "redacted", redacted=True),
            _measure_proofs(folder / "proof.json"),
        ]


def _measure_bundle(file: Path, name: str, *, redacted: bool) -> list[dict[str, Any]]:
    from audit.bundles.bundle import prepare_bundle, write_bundle

    started, cpu = time.perf_counter(), time.process_time()
    bundle = prepare_bundle(made_by="system", redacted=redacted)
    with file.open("wb") as stream:
        write_bundle(stream, bundle)
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    seconds, program_cpu, memory_mb = _time_program(file)
    return [
        _row(f"export, {name}", took, cpu, f"{file.stat().st_size / 1e6:.0f} MB of file"),
        _row(f"verify offline, {name}", seconds, program_cpu, f"{memory_mb:.0f} MB of memory at most"),
    ]


def _time_program(file: Path) -> tuple[float, float, float]:
    """Return the program's seconds of the wall and of CPU, and the most MB that it held."""
    from audit.proof.keys import load_verifier

    started, before, most = time.perf_counter(), os.times(), 0
    command = [sys.executable, "-I", str(PROGRAM), str(file), "--key", str(load_verifier())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            most = max(most, _read_peak_kb(process.pid))
            time.sleep(LOOK_SECONDS)
        assert process.stdout is not None
        assert process.returncode == 0, process.stdout.read()
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu, most / 1e3


def _read_peak_kb(pid: int) -> int:
    """Return the most memory that a process held: what `getrusage` says of a child includes its parent's."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _measure_proofs(file: Path) -> dict[str, Any]:
    from audit.bundles.event_proof import make_event_proof

    draw, slowest, total, cpu = random.Random(1), 0.0, 0.0, time.process_time()
    for seq in (draw.randint(1, EVENTS) for _ in range(PROOFS)):
        started = time.perf_counter()
        content = make_event_proof(seq, redacted=False).dump()
        took = time.perf_counter() - started
        slowest, total = max(slowest, took), total + took
    cpu = (time.process_time() - cpu) / PROOFS * 1_000
    file.write_bytes(content)
    _time_program(file)
    says = f"{slowest * 1_000:.1f} ms at most, {cpu:.1f} ms of CPU"
    return {"step": "prove one event", "seconds": f"{total / PROOFS:.4f}", "": says}


def _row(step: str, seconds: float, cpu: float, size: str) -> dict[str, Any]:
    return {
        "step": step,
        "seconds": f"{seconds:.1f}",
        "events/s": f"{EVENTS / seconds:,.0f}",
        "CPU µs/event": f"{cpu / EVENTS * 1_000_000:.1f}",
        "": size,
    }
