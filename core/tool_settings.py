"""What can be configured of tools and of where they run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.base import Value


class SandboxSettings(Value):
    """``[sandbox]``. Sizes are MiB, over the whole process tree of one tool run."""

    backend: Literal["auto", "bubblewrap", "sandlock", "rlimits"] = "auto"
    allow_unsafe: bool = False
    timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    memory_mib: int = Field(default=1024, ge=64)
    disk_mib: int = Field(default=512, ge=1)
    max_processes: int = Field(default=64, ge=4)
    max_output_bytes: int = Field(default=256_000, ge=1000)
