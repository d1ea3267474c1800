"""``manus chat`` as a program and as a person see it: over pipes and at a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import pytest

from core.errors import CorruptRecordError, RunLockedError
from core.result import RunReport
from gateway.cli.chat_log import Answered, Asked, opened_chat
from tests.conftest import PrefectServer
from tests.fakes.script import Answer, RecordedRequest, ScriptedCall
from tests.fakes.scripts import always
from tests.flows.conftest import Stage
from tests.flows.test_cancel import sleepers, sleeping
from tests.flows.test_planning import ends

COMMAND = (sys.executable, "-c", "from gateway.cli.main import main; main()")


def remembering(request: RecordedRequest) -> Answer:
    """Appends each message to a file, then says how many messages it was shown."""
    if request.messages[-1]["role"] == "tool":
        said = sum(m["role"] == "user" for m in request.messages)
        return ends("success", f"heard {said}")
    save = ScriptedCall("bash", {"command": "echo line >> log.txt; wc -l < log.txt"})
    return Answer(tool_calls=(save,))


class Terminal:
    """Starts ``manus`` while the fake model answers from this process."""

    def __init__(self, stage: Stage, server: PrefectServer) -> None:
        self.stage = stage
        self._environment = {**os.environ, "PREFECT_API_URL": server.address.api_url}

    async def start(self, *arguments: str, on: int = asyncio.subprocess.PIPE) -> Process:
        """``on`` is a terminal, or pipes."""
        return await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, env=self._environment, stdin=on, stdout=on, stderr=on
        )

    async def say(self, *lines: str, arguments: tuple[str, ...] = ()) -> tuple[int, str, str]:
        process = await self.start("chat", "--session", "s", *arguments)
        out, err = await process.communicate("".join(f"{line}\n" for line in lines).encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    @property
    def log(self) -> list[dict[str, Any]]:
        path = self.stage.home / "chats" / "s.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def terminal(stage: Stage, prefect_server: PrefectServer) -> Terminal:
    return Terminal(stage, prefect_server)


async def test_each_line_is_a_message_and_a_session_goes_on_with_its_words_and_files(
    terminal: Terminal,
) -> None:
    terminal.stage.model.script = remembering
    code, out, err = await terminal.say(
        "one", "", "two", "/cost", "/nothing", arguments=("--json",)
    )
    assert code == 0, err
    *documents, cost = out.splitlines()
    answers = [json.loads(line) for line in documents]
    assert [a["text"] for a in answers] == ["heard 1", "heard 2"]
    assert [a["status"] for a in answers] == ["completed", "completed"]
    assert cost.startswith("2 answers, 4 model calls")
    assert "  turn 1" in err.splitlines()
    assert "  bash" in err.splitlines()
    code, out, err = await terminal.say("three", "/files")
    assert code == 0, err
    assert out.splitlines()[0] == "heard 3"
    assert Path(out.splitlines()[-1]).read_text(encoding="utf-8") == "line\n" * 3
    shown = terminal.stage.model.requests[-1].messages
    assert [m["role"] for m in shown[:5]] == ["system", "user", "assistant", "user", "assistant"]
    assert [e["entry"] for e in terminal.log] == ["asked", "answered"] * 3


async def test_ctrl_c_stops_the_present_answer_only(terminal: Terminal) -> None:
    def script(request: RecordedRequest) -> Answer:
        return ends("success", "awake") if "the next one" in request.text else sleeping(request)

    terminal.stage.model.script = script
    process = await terminal.start("chat", "--session", "s")
    assert process.stdin
    process.stdin.write(b"first\nthe next one\n")
    process.stdin.write_eof()
    await _until_sleeping()
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == 1, err.decode()
    assert out.decode().splitlines()[0] == "awake"
    assert not sleepers()
    assert [e.get("status") for e in terminal.log] == [None, "cancelled", None, "completed"]
    assert "(no answer: cancelled" in terminal.stage.model.requests[-1].text


async def test_an_answer_that_was_cut_off_by_a_kill_is_finished_first_and_not_paid_twice(
    terminal: Terminal,
) -> None:
    terminal.stage.model.script = sleeping
    process = await terminal.start("chat", "--session", "s")
    assert process.stdin
    process.stdin.write(b"first\n")
    await process.stdin.drain()
    await _until_sleeping()
    process.kill()
    await process.communicate()
    asked = len(terminal.stage.model.requests)
    terminal.stage.model.script = always(ends("success", "after all"))
    code, out, err = await terminal.say()
    assert code == 0, err
    assert out.splitlines()[0] == "after all"
    assert "going on with the answer to: first" in err
    assert len(terminal.stage.model.requests) == asked + 1
    assert len({e["run_key"] for e in terminal.log}) == 1


async def test_a_person_at_a_terminal_is_prompted_answered_and_leaves_with_exit(
    terminal: Terminal,
) -> None:
    terminal.stage.model.script = always(ends("success", "Good day."))
    ours, theirs = pty.openpty()
    process = await terminal.start("chat", "--session", "s", on=theirs)
    os.close(theirs)
    seen = await _read_until(ours, "> ")
    assert "chat s with manus" in seen
    os.write(ours, b"hello\n")
    assert "Good day." in await _read_until(ours, "> ")
    process.send_signal(signal.SIGINT)
    assert "/exit or Ctrl-D leaves" in await _read_until(ours, "leaves")
    os.write(ours, b"/exit\n")
    assert await asyncio.wait_for(process.wait(), 60) == 0
    os.close(ours)


async def test_run_with_an_agent_gives_it_the_goal_without_a_plan(terminal: Terminal) -> None:
    terminal.stage.model.script = always(ends("success", "42"))
    process = await terminal.start("run", "--agent", "sandbox", "--json", "What is it?")
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert RunReport.model_validate_json(out).summary == "42"
    (request,) = terminal.stage.model.requests
    assert request.system.startswith("You work inside a sandbox")


async def test_an_unknown_agent_or_a_bad_name_is_told_before_anything_starts(
    terminal: Terminal,
) -> None:
    for arguments in (("--agent", "nobody"), ("--session", "no good")):
        process = await terminal.start("chat", *arguments)
        _, err = await process.communicate()
        assert process.returncode == 2
        assert arguments[1] in err.decode()


def test_a_torn_last_line_never_was_and_a_damaged_one_is_loud(tmp_path: Path) -> None:
    with opened_chat(tmp_path, "a") as log:
        log.append(Asked(run_key="k", agent="manus", text="one"))
        log.append(Answered(run_key="k", status="completed", text="1"))
    path = tmp_path / "chats" / "a.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"entry": "ask')
    with opened_chat(tmp_path, "a") as log:
        assert len(log.entries) == 2
        log.append(Asked(run_key="l", agent="manus", text="two"))
        assert log.unanswered
    with opened_chat(tmp_path, "a") as log:
        assert [u.text for u in log.conversation()] == ["one", "1"]
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(CorruptRecordError, match=r"a\.jsonl"), opened_chat(tmp_path, "a"):
        pass


def test_one_process_at_a_time_has_a_session(tmp_path: Path) -> None:
    with (
        opened_chat(tmp_path, "a"),
        pytest.raises(RunLockedError, match="another process"),
        opened_chat(tmp_path, "a"),
    ):
        pass


async def _until_sleeping() -> None:
    async with asyncio.timeout(60):
        while not sleepers():  # noqa: ASYNC110  another process's work, which tells nobody
            await asyncio.sleep(0.05)


async def _read_until(terminal: int, text: str) -> str:
    seen = ""
    async with asyncio.timeout(60):
        while text not in seen:
            seen += (await asyncio.to_thread(os.read, terminal, 4096)).decode(errors="replace")
    return seen
