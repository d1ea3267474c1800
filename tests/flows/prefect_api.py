"""Prefect's HTTP API from outside, as an operator's browser would use it."""

from __future__ import annotations

import time
from typing import Any

import httpx

PATIENCE_SECONDS = 60.0
"""A server that yields to everything else on a busy machine may take its time."""


def eventually(api: str, path: str) -> Any:
    for _ in range(120):
        answer = httpx.get(f"{api}/{path}", timeout=PATIENCE_SECONDS)
        if answer.status_code == 200:
            return answer.json()
        time.sleep(0.25)
    raise AssertionError(f"{path} did not appear")


def post(api: str, path: str) -> Any:
    """Prefect's client gets a CSRF token by itself; here it is done by hand."""
    token = httpx.get(
        f"{api}/csrf-token", params={"client": "test"}, timeout=PATIENCE_SECONDS
    ).json()["token"]
    headers = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "test"}
    answer = httpx.post(
        f"{api}/{path}",
        json={"state": {"type": "SCHEDULED"}},
        headers=headers,
        timeout=PATIENCE_SECONDS,
    )
    answer.raise_for_status()
    return answer.json()


def finished(api: str, flow_run_id: str) -> Any:
    for _ in range(200):
        state = httpx.get(f"{api}/flow_runs/{flow_run_id}", timeout=PATIENCE_SECONDS).json()[
            "state"
        ]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state
        time.sleep(0.5)
    raise AssertionError("the flow run did not end")
