"""Killed anywhere and resumed: everything completes and nothing is paid twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.result import RunReport
from tests.conftest import PrefectServer
from tests.fakes import diamond
from tests.fakes.model_server import FakeModelServer
from tests.flows.evidence import Moment, assert_nothing_was_paid_twice, moment

GOAL = "A diamond of 6 steps, tools of 0.3 s"
KILLS = 10


@dataclass
class Scene:
    """One run under attack."""

    home: Path
    fake: FakeModelServer
    environment: dict[str, str]
    moments: list[Moment] = field(default_factory=list[Moment])

    async def start(self, *arguments: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )

    def manus(self, *arguments: str) -> tuple[str, ...]:
        return ("-c", "from gateway.cli.main import main; main()", *arguments)

    @property
    def run_key(self) -> str:
        (run,) = (self.home / "runs").iterdir()
        return run.name

    def note_moment(self) -> None:
        self.moments.append(moment(self.home, self.run_key))

    async def finish(self) -> None:
        """Resumes to the end and checks all that must be true then."""
        process = await self.start(*self.manus("resume", self.run_key, "--json"))
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        report = RunReport.model_validate_json(out)
        assert report.status == "completed"
        assert len(report.steps) == 6
        requests = self.fake.requests
        assert_nothing_was_paid_twice(self.moments, requests, self.home, self.run_key)


@pytest.fixture
async def scene(prefect_server: PrefectServer, flow_home: Path) -> AsyncIterator[Scene]:
    async with FakeModelServer(diamond.script, latency_seconds=0.2) as fake:
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": fake.openai_url,
            "OPENAI_API_KEY": "none",
            "PREFECT_API_URL": prefect_server.address.api_url,
        }
        yield Scene(flow_home, fake, environment)


@pytest.mark.timeout(400)
async def test_killed_at_ten_random_moments_and_resumed_each_time(scene: Scene) -> None:
    # Each life is short enough that ten of them together cannot finish the run.
    scene.fake.latency_seconds = 0.5
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    arguments = scene.manus("run", GOAL, "--parallel", "2", "--json")
    for _ in range(KILLS):
        before = len(scene.fake.requests)
        process = await scene.start(*arguments)
        await _first_request_after(scene, before, process)
        await asyncio.sleep(chance.uniform(0, 0.45))
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        assert process.returncode == -signal.SIGKILL
        scene.note_moment()
        arguments = scene.manus("resume", scene.run_key, "--json")
    await scene.finish()


async def _first_request_after(scene: Scene, before: int, process: Process) -> None:
    """Waits until the process asks the model something, so that the kill meets a run at work."""
    async with asyncio.timeout(60):
        while len(scene.fake.requests) == before:
            if process.returncode is not None:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("point", ["answered", "committed", "tool", "writing"])
async def test_killed_at_a_named_point_and_resumed(scene: Scene, point: str) -> None:
    driver = ("-m", "tests.flows.kill_driver", point)
    process = await scene.start(*driver, "3", GOAL)
    _, err = await process.communicate()
    assert process.returncode == -signal.SIGKILL, err.decode()
    scene.note_moment()
    process = await scene.start(*driver, "2", "--resume", scene.run_key)
    _, err = await process.communicate()
    assert process.returncode == -signal.SIGKILL, err.decode()
    scene.note_moment()
    await scene.finish()


async def test_of_two_resumes_at_once_one_is_refused(scene: Scene) -> None:
    process = await scene.start("-m", "tests.flows.kill_driver", "answered", "2", GOAL)
    await process.communicate()
    scene.note_moment()
    resume = scene.manus("resume", scene.run_key, "--json")
    both = [await scene.start(*resume) for _ in range(2)]
    ended = [(await p.communicate(), p.returncode) for p in both]
    codes = sorted(code or 0 for _, code in ended)
    assert codes == [0, 2], ended
    refused = next(out for out, code in ended if code == 2)
    assert b"is being worked on" in refused[1]
    await scene.finish()
