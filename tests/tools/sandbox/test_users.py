"""Who runs it and from where: an ordinary user, and an environment in a closed home directory."""

import asyncio
import json
import os
import shutil
import sys
import venv
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from tests.tools.sandbox.machine import ORPHAN, processes_with, run_plainly, unique_seconds
from tools.workspace import SANDBOX_UID, Workspace

PROJECT = Path(__file__).resolve().parents[3]
RUNNER = Path(__file__).with_name("runner.py")
PACKAGES = next(p for p in sys.path if p.endswith("site-packages"))
ORDINARY_UID = 60_778
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")

OVERLAY = """
set -e
base=$1; stage=$2; shift 2
mount --bind "$base" "$stage"
mount -t tmpfs -o mode=0755 tmpfs /root
mkdir -p "$base"
mount --move "$stage" "$base"
exec setpriv --reuid=$USER_ID --regid=$USER_ID --clear-groups "$@"
"""


async def run_by(argv: list[str], orders: dict[str, Any], **extra: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=PIPE,
        stdout=PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{PROJECT}:{PACKAGES}", **extra},
    )
    output, _ = await process.communicate(json.dumps(orders).encode())
    return json.loads(output)


@pytest.fixture(params=["bubblewrap", "sandlock"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "bubblewrap" and not shutil.which("bwrap"):
        pytest.skip("bwrap is not installed")
    return request.param


async def test_an_environment_in_a_closed_home_directory_is_usable_inside(
    tmp_path: Path, backend: str
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    venv.create(home / "env")
    packages = next((home / "env" / "lib").iterdir()) / "site-packages"
    (packages / "marker.py").write_text("VALUE = 42", encoding="utf-8")
    (home / "secret").write_text("key", encoding="utf-8")
    code = (
        "import os, marker\nprint(marker.VALUE)\n"
        f"try: print(open({str(home / 'secret')!r}).read())\n"
        "except OSError: print('closed')"
    )
    orders = {"backend": backend, "workspace": str(home / "workspace"), "code": code}
    result = await run_by([str(home / "env" / "bin" / "python"), str(RUNNER)], orders)
    assert result["output"] == "42\nclosed", result


@as_root
@pytest.mark.parametrize("backend", ["bubblewrap", "sandlock", "rlimits"])
async def test_it_works_for_an_ordinary_user(backend: str) -> None:
    place = Path("/tmp") / f"manus-test-{os.getpid()}-{backend}"
    place.mkdir(mode=0o700)
    os.chown(place, ORDINARY_UID, ORDINARY_UID)
    token = unique_seconds()
    orphan = f"import sys\nsys.argv[1:] = ['{token}']\n{ORPHAN}"
    code = f"import os\nprint(os.getuid())\nopen('made', 'w').write('x')\n{orphan}"
    workspace = place / "workspace"
    orders = {"backend": backend, "workspace": str(workspace), "code": code, "probe": True}
    # The interpreter may lie in root's home, which then is opened in a namespace of the runner's.
    overlay = ["unshare", "--mount", "sh", "-c", OVERLAY, "sh", sys.base_prefix, "/mnt"]
    argv = ["setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups"]
    inside_root = Path(sys.base_prefix).is_relative_to("/root")
    start = overlay if inside_root else argv
    try:
        runner = [sys.executable, str(RUNNER)]
        result = await run_by([*start, *runner], orders, USER_ID=str(ORDINARY_UID))
        assert result["output"] == str(ORDINARY_UID), result
        assert (workspace / "own" / "made").stat().st_uid == ORDINARY_UID
        assert processes_with(token) == []
    finally:
        shutil.rmtree(place)


@as_root
async def test_root_never_runs_code_as_root(tmp_path: Path) -> None:
    if not shutil.which("bwrap"):
        pytest.skip("bwrap is not installed")
    orders = {
        "backend": "bubblewrap",
        "workspace": str(tmp_path / "workspace"),
        "code": "import os\nprint(os.getresuid(), os.getgroups())\nopen('made', 'w').close()",
    }
    result = await run_by([sys.executable, str(RUNNER)], orders)
    assert result["output"].startswith(str((SANDBOX_UID,) * 3))
    assert (tmp_path / "workspace" / "own" / "made").stat().st_uid == SANDBOX_UID
    directory = Workspace(tmp_path / "workspace").step("own")
    code = "import os; print(os.getuid())"
    assert await run_plainly(directory, code) == "0\n"
