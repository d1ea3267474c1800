"""The scripted server itself: what it records, and its life as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai

from core.completion import CompletionRequest
from core.message import user
from core.provider_settings import ProviderSettings
from providers.factory import create_provider
from tests.fakes.credentials import credentials
from tests.fakes.model_server import FakeModelServer
from tests.fakes.scripts import echo
from tests.fakes.threaded import serve_in_thread

ROOT = Path(__file__).parents[2]


async def test_requests_are_recorded_with_their_times_and_outcome() -> None:
    async with FakeModelServer(echo) as server:
        for kind in ("openai", "anthropic"):
            keys = credentials(openai=server.openai_url, anthropic=server.anthropic_url)
            provider = create_provider(kind, ProviderSettings(kind=kind), keys)
            request = CompletionRequest(messages=(user(f"I am {kind}"),))
            answer = await provider.generate_completion(request, model="any")
            await provider.close()
            assert answer.text == f"echo: I am {kind}"
    assert [r.protocol for r in server.requests] == ["openai", "anthropic"]
    for request in server.requests:
        assert request.outcome == "answered"
        assert request.ended_monotonic is not None
        assert request.started_monotonic <= request.ended_monotonic


def test_it_serves_a_program_without_a_loop_from_a_thread() -> None:
    with (
        serve_in_thread(echo) as server,
        openai.OpenAI(api_key="key", base_url=server.openai_url, max_retries=0) as client,
    ):
        answer = client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "hello"}]
        )
    assert answer.choices[0].message.content == "echo: hello"
    assert [r.last_text for r in server.requests] == ["hello"]


def test_as_a_process_it_logs_arrivals_and_ends_with_its_stdin(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    command = [sys.executable, "-m", "tests.fakes.model_server", "--log", str(log)]
    command += ["--script", "tests.fakes.scripts:echo", "--latency", "0.01"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        url = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(api_key="key", base_url=url, max_retries=0) as client:
            answer = client.chat.completions.create(
                model="any", messages=[{"role": "user", "content": "first"}]
            )
        process.stdin.close()
        assert process.wait(timeout=20) == 0
    assert answer.choices[0].message.content == "echo: first"
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [(line["event"], line["index"]) for line in lines] == [("arrived", 0), ("ended", 0)]
    assert lines[0]["body"]["messages"][0]["content"] == "first"
    assert lines[1]["outcome"] == "answered"
    assert lines[1]["monotonic"] - lines[0]["monotonic"] >= 0.01
