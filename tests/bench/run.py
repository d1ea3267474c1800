"""``make bench``: how much of a run's time is ours, as a ratio to its critical path.

A diamond (1 -> n-2 -> 1) against a fake model that takes 0.3 s a call, each step one
``python_execute`` and one ``terminate``, with a real Prefect server, sandbox and provider SDK. The
critical path is what the model alone would take with the same concurrency. Timings depend on the
machine: compare ratios of one run.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

LATENCY_SECONDS = 0.3
PARALLEL = 16


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: seconds from the first model call to the end of the last, and CPU seconds."""

    steps: int
    calls: int
    makespan: float
    client_cpu: float
    server_cpu: float

    @property
    def ratio(self) -> float:
        return self.makespan / critical_path(self.steps)


def critical_path(steps: int) -> float:
    """Plan, two calls of the first step, of each wave, of the last step, and the summary."""
    waves = -(-(steps - 2) // PARALLEL)
    return LATENCY_SECONDS * (1 + 2 + 2 * waves + 2 + 1)


def _calls(log: Path, skip: int) -> tuple[int, float]:
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()][skip:]
    times = [e["monotonic"] for e in events]
    return sum(e["event"] == "arrived" for e in events), max(times) - min(times)


def _cpu_of(pid: int | None) -> float:
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(steps: int, log: Path, server_pid: int | None) -> Measured:
    from core.run import RunOptions
    from flows.planning import plan_and_run

    skip = len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0
    own, server = _own_cpu(), _cpu_of(server_pid)
    options = RunOptions(max_parallel_steps=PARALLEL)
    await plan_and_run(goal=f"A diamond of {steps} steps", options=options)
    calls, makespan = _calls(log, skip)
    return Measured(steps, calls, makespan, _own_cpu() - own, _cpu_of(server_pid) - server)


async def bench(log: Path, repeats: int) -> None:
    from prefect.logging.handlers import APILogHandler

    from core.settings import load_settings
    from gateway.server import ensure_server, point_prefect_at, server_status, stop_server

    settings = load_settings()
    address = ensure_server(settings, port=0)
    pid = server_status(settings).pid
    point_prefect_at(address, settings)
    try:
        await measure(3, log, pid)  # imports and first connections
        for steps in (10, 100):
            show([await measure(steps, log, pid) for _ in range(repeats)])
    finally:
        await APILogHandler.aflush()
        stop_server(settings)


def show(runs: list[Measured]) -> None:
    ratios = sorted(r.ratio for r in runs)
    first = runs[0]
    sys.stdout.write(
        f"{first.steps:4d} steps, {first.calls} calls: {statistics.median(ratios):.2f} x the "
        f"critical path of {critical_path(first.steps):.1f} s "
        f"(all: {', '.join(f'{r:.2f}' for r in ratios)}); CPU s: "
        f"client {statistics.median(r.client_cpu for r in runs):.1f}, "
        f"server {statistics.median(r.server_cpu for r in runs):.1f}\n"
    )
    sys.stdout.flush()


@contextmanager
def fake_model(log: Path) -> Generator[str]:
    """The model server in a process of its own; its address."""
    command = [sys.executable, "-m", "tests.fakes.model_server", "--script"]
    command += ["tests.fakes.diamond:script", "--latency", str(LATENCY_SECONDS), "--log", str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as fake:
        assert fake.stdout is not None
        yield f"http://127.0.0.1:{json.loads(fake.stdout.readline())['port']}/v1"
        fake.terminate()


def main() -> None:
    """Prints one line per plan size. ``BENCH_REPEATS`` runs of each, 3 by default."""
    with TemporaryDirectory(prefix="manus-bench-") as directory:
        log = Path(directory) / "calls.jsonl"
        with fake_model(log) as url:
            own = {"MANUS_HOME": directory, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none"}
            os.environ.update(own)
            os.environ.pop("PREFECT_API_URL", None)
            asyncio.run(bench(log, int(os.environ.get("BENCH_REPEATS", "3"))))


if __name__ == "__main__":
    main()
