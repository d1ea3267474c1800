"""The local Prefect server, for real: its processes, its record, and whom it answers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from core.errors import BadInputError, EnvironmentUnusableError
from core.settings import Settings
from gateway.server import ServerAddress, ensure_server, server_status, stop_server
from gateway.server_record import ServerFiles, ServerRecord, process_identity
from tests.conftest import PrefectServer

FOREIGN = "http://attacker.example"
STARTER = """
import sys
from pathlib import Path
from pydantic import SecretStr
from core.settings import Settings
from gateway.server import ensure_server
settings, auth = Settings(home=Path(sys.argv[1])), SecretStr("me:secret")
address = ensure_server(settings, port=0, auth_string=auth)
print(address.model_dump_json(exclude={"auth_string"}))
"""


def record(**changes: object) -> ServerRecord:
    usual = {"host": "127.0.0.1", "port": 1, "started_at": datetime.now(UTC)}
    return ServerRecord.model_validate({**usual, **changes})


def written(home: Path, kept: ServerRecord) -> Settings:
    files = ServerFiles(home / "prefect")
    files.directory.mkdir(parents=True)
    files.write(kept)
    return Settings(home=home)


@pytest.fixture
def api(prefect_server: PrefectServer) -> str:
    return prefect_server.address.api_url


async def test_simple_post_from_another_origin_is_refused(api: str) -> None:
    headers = {"origin": FOREIGN, "content-type": "text/plain"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{api}/variables/", content='{"name": "a"}', headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_preflight_from_another_origin_is_refused(api: str) -> None:
    headers = {"origin": FOREIGN, "access-control-request-method": "POST"}
    async with httpx.AsyncClient() as client:
        answer = await client.options(f"{api}/variables/", headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_state_changing_request_without_csrf_token_is_refused(api: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{api}/variables/", json={"name": "a", "value": 1})
    assert answer.status_code == 403
    assert "CSRF" in answer.text


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", "[::1", ""])
async def test_request_under_another_host_name_reads_nothing(api: str, host: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{api}/csrf-token?client=x", headers={"host": host})
    assert answer.status_code in (400, 403)
    assert "token" not in answer.text


async def test_page_of_another_origin_opens_no_websocket(api: str) -> None:
    url = api.replace("http", "ws", 1) + "/events/in"
    with pytest.raises(InvalidStatus, match="403"):
        await connect(url, origin=Origin(FOREIGN), proxy=None)
    async with connect(url, proxy=None) as accepted:
        assert accepted.state.name == "OPEN"


async def test_own_page_works_and_cannot_be_framed(api: str) -> None:
    origin = api.removesuffix("/api")
    async with httpx.AsyncClient(headers={"origin": origin}, follow_redirects=True) as client:
        page = await client.get(origin)
        token = (await client.get(f"{api}/csrf-token?client=page")).json()["token"]
        headers = {"prefect-csrf-client": "page", "prefect-csrf-token": token}
        made = await client.post(
            f"{api}/variables/", json={"name": "own", "value": 1}, headers=headers
        )
        interface = (await client.get(f"{origin}/ui-settings")).json()
    assert "<html" in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert made.status_code == 201
    assert interface["api_url"] == "/api"


async def test_flow_runs_and_its_task_runs_are_recorded(prefect_server: PrefectServer) -> None:
    from prefect import flow, get_client, task
    from prefect.context import FlowRunContext

    @task
    async def double(number: int) -> int:
        return 2 * number

    @flow(result_storage=prefect_server.settings.home / "results")  # else Prefect asks, and leaks
    async def doubled() -> tuple[str, list[int]]:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        return str(context.flow_run.id), [await double(n) for n in range(3)]

    run_id, numbers = await doubled()
    assert numbers == [0, 2, 4]
    async with get_client() as client:
        assert str(client.api_url).rstrip("/") == prefect_server.address.api_url
        while True:  # the recorder writes within a second or so; the suite's timeout is the limit
            runs = await client.read_task_runs()
            done = [r for r in runs if str(r.flow_run_id) == run_id and r.state_name == "Completed"]
            if len(done) == 3:
                break
            await asyncio.sleep(0.2)


def test_address_of_the_user_is_used_and_nothing_started(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    address = ensure_server(Settings(home=home))
    assert address == ServerAddress(
        api_url="https://prefect.example/api", ui_url="https://prefect.example"
    )
    assert not home.exists()


def test_address_others_can_reach_needs_an_auth_string(home: Path) -> None:
    with pytest.raises(BadInputError, match="PREFECT_API_AUTH_STRING=user:password"):
        ensure_server(Settings(home=home), host="0.0.0.0", port=0)
    assert not home.exists()


def test_port_that_is_taken_is_named(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EnvironmentUnusableError, match=rf"port {port}: .*in use"):
            ensure_server(Settings(home=home), port=port)


def test_running_server_elsewhere_than_asked_is_not_replaced(home: Path) -> None:
    own = record(port=4321, pid=os.getpid(), process_identity=process_identity(os.getpid()))
    settings = written(home, own)
    with pytest.raises(BadInputError, match=r"already runs on 127\.0\.0\.1, port 4321"):
        ensure_server(settings, port=4322)


def test_reused_pid_is_no_server_and_is_never_signalled(home: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        settings = written(home, record(pid=stranger.pid, process_identity="boot/1"))
        assert not server_status(settings).healthy
        assert not stop_server(settings)
        assert stranger.poll() is None
        stranger.kill()


def test_damaged_record_is_reported_and_kept(home: Path) -> None:
    settings = written(home, record())
    path = home / "prefect" / "server.json"
    path.write_text('{"host": "127.0', encoding="utf-8")
    with pytest.raises(EnvironmentUnusableError, match=r"server\.json is damaged"):
        ensure_server(settings)
    assert path.exists()


def test_server_that_cannot_start_says_why(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = home / "missing" / "prefect.db"
    url = f"sqlite+aiosqlite:///{missing}?mode=ro"
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", url)
    missing.parent.parent.mkdir()
    missing.parent.write_text("a file where the database's directory should be", encoding="utf-8")
    settings = Settings(home=home)
    with pytest.raises(
        EnvironmentUnusableError, match=r"ended; the end of .*server\.log"
    ) as raised:
        ensure_server(settings, port=0)
    assert "Error" in str(raised.value)
    assert not server_status(settings).pid


def test_two_first_users_share_one_server_that_asks_who_they_are_and_stops(home: Path) -> None:
    settings = written(home, record(port=1, pid=2**22 - 1, process_identity="boot/1"))
    command = [sys.executable, "-c", STARTER, str(home)]
    users = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        told = [json.loads(user.communicate()[0]) for user in users]
        pid = server_status(settings).pid
        assert sorted(t["started"] for t in told) == [False, True]
        assert told[0]["api_url"] == told[1]["api_url"]
        assert_only_authenticated_requests_pass(told[0]["api_url"])
        with pytest.raises(EnvironmentUnusableError, match="PREFECT_API_AUTH_STRING"):
            ensure_server(settings)
        known = ensure_server(settings, auth_string=SecretStr("me:secret"))
        assert known.auth_string == SecretStr("me:secret")
    finally:
        assert stop_server(settings)
    assert pid is not None
    assert process_identity(pid) is None
    assert not living_members_of_group(pid)
    assert not stop_server(settings)


def living_members_of_group(group: int) -> list[str]:
    members: list[str] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            members.append(stat.parent.name)
    return members


def assert_only_authenticated_requests_pass(api_url: str) -> None:
    with httpx.Client() as client:
        assert client.get(f"{api_url}/health").status_code == 200
        assert client.get(f"{api_url}/csrf-token?client=x").status_code == 401
        wrong = client.get(f"{api_url}/csrf-token?client=x", auth=("me", "guess"))
        assert wrong.status_code == 401
        right = client.get(f"{api_url}/csrf-token?client=x", auth=("me", "secret"))
        assert right.status_code == 200
