"""A program of its own that runs one piece of Python in a sandbox, for tests that kill it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tools.base import ToolContext
from tools.invoke import invoke
from tools.python_execute import PythonExecute
from tools.sandbox.bubblewrap import BubblewrapSandbox
from tools.sandbox.rlimits import RlimitsSandbox
from tools.sandbox.sandlock import SandlockSandbox
from tools.workspace import Workspace

BACKENDS = {
    "bubblewrap": BubblewrapSandbox,
    "sandlock": SandlockSandbox,
    "rlimits": RlimitsSandbox,
}


async def main(orders: dict[str, Any]) -> None:
    sandbox = BACKENDS[orders["backend"]]()
    if orders.get("probe"):
        await sandbox.probe()
    directory = Workspace(Path(orders["workspace"])).step("own")
    tool = PythonExecute().bind(ToolContext(directory, sandbox))
    result = await invoke(tool, {"code": orders["code"]})
    await sandbox.close()
    print(result.model_dump_json())


asyncio.run(main(json.load(sys.stdin)))
