"""Turning a sandbox's outcome into a tool's result."""

from __future__ import annotations

from typing import Any

from core.base import JsonObject
from tools.base import ToolAnnotations, ToolResult
from tools.sandbox.base import SandboxLimits, SandboxOutcome

TIMEOUT_SCHEMA: JsonObject = {
    "type": "number",
    "exclusiveMinimum": 0,
    "description": "Stop after this long; the configured limit bounds it.",
}
INPUTS_TEXT = "Values made available to the code without being part of its text."


def annotations_for(network: bool) -> ToolAnnotations:
    """Code that reaches the network can change things outside, and brings in what strangers say."""
    if not network:
        return ToolAnnotations()
    return ToolAnnotations(network=True, risk="high", untrusted_output=True)


def streams(outcome: SandboxOutcome) -> str:
    """Both streams as text; bytes that are no UTF-8 are shown as escapes."""
    out = outcome.stdout.decode(errors="backslashreplace").rstrip("\n")
    err = outcome.stderr.decode(errors="backslashreplace").rstrip("\n")
    return "\n".join(part for part in (out, f"[stderr]\n{err}" if err else "") if part)


def failure(outcome: SandboxOutcome, limits: SandboxLimits) -> str | None:
    """Why a command is not a success, in words that tell a model what to change."""
    match outcome.killed:
        case "timeout":
            return f"stopped after {limits.timeout_seconds:g} s (time limit)"
        case "cpu":
            return f"stopped after {limits.cpu_seconds:g} s of CPU time (CPU limit)"
        case "memory":
            return f"stopped: more than {limits.memory_bytes // 2**20} MiB of memory"
        case "disk":
            return f"stopped: more than {limits.disk_bytes // 2**20} MiB of files"
        case "processes":
            return f"stopped: more than {limits.max_processes} processes"
        case "output":
            return "stopped: endless output"
        case None:
            return f"exit code {outcome.exit_code}" if outcome.exit_code else None


def result(outcome: SandboxOutcome, error: str | None, data: Any = None) -> ToolResult:
    return ToolResult(
        output=streams(outcome),
        data=data,
        error=error,
        sandbox=outcome.level,
        exit_code=outcome.exit_code,
    )
