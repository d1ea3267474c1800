"""``manus up`` and ``manus down``: the server, the worker and the deployments."""

from __future__ import annotations

import json
import sys

from core.settings import load_settings
from gateway.cli.run import say
from gateway.server import ensure_server, point_prefect_at, server_status, stop_server
from gateway.worker import deploy, start_worker, stop_worker


def up_command(host: str, port: int | None, *, as_json: bool) -> None:
    settings = load_settings()
    address = ensure_server(settings, host=host, port=port, progress=say)
    point_prefect_at(address, settings)
    say("registering the deployments")
    deploy()
    worker = start_worker(settings)
    if as_json:
        document = {"api_url": address.api_url, "ui_url": address.ui_url, "worker_pid": worker.pid}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        say(f"Prefect UI: {address.ui_url}\nworker: process {worker.pid}\nstop with: manus down")


def down_command(*, as_json: bool) -> None:
    settings = load_settings()
    status = server_status(settings)
    worker, server = stop_worker(settings), stop_server(settings)
    if as_json:
        sys.stdout.write(json.dumps({"worker_stopped": worker, "server_stopped": server}) + "\n")
    elif not status.local:
        say(f"worker {'stopped' if worker else 'not running'}; the server is not ours")
    else:
        say(
            f"worker {'stopped' if worker else 'not running'}; "
            f"server {'stopped' if server else 'not running'}"
        )
