"""What ``manus cache`` does: lists, shows and removes the answers and steps that are kept."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar

from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.base import Value
from core.errors import BadInputError, EnvironmentUnusableError
from core.settings import Settings, load_settings
from gateway.cli.listing import wide_console
from providers.factory import open_cache_store
from providers.response_cache_store import CacheEntry
from tasks.step_cache import KeptStep, StepCache, read_kept_step

T = TypeVar("T")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NEWEST = 10


class Listed(Value):
    """One kept answer or step. ``cost_usd`` is what each further use saves."""

    key: str
    kind: Literal["answer", "step"]
    route: str
    models: tuple[str, ...]
    namespace: str
    kept_at: datetime
    expires_at: datetime | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries; ``None`` is any. ``model`` is a model or ``provider:model``."""

    route: str | None = None
    model: str | None = None
    older_than: timedelta | None = None

    def matches(self, entry: Listed) -> bool:
        names = {*entry.models, *(m.partition(":")[2] for m in entry.models)}
        return (
            self.route in (None, entry.route)
            and (self.model is None or self.model in names)
            and (self.older_than is None or datetime.now(UTC) - entry.kept_at >= self.older_than)
        )


def stats_command(*, as_json: bool) -> None:
    settings = load_settings()
    entries = _listed(settings)
    steps = _steps(settings)
    sizes = {"steps": steps.steps.size(), "files": steps.files.size()}
    if as_json:
        document = {
            "answers_in": _place(settings),
            "namespace": settings.cache.namespace,
            "groups": [group.model_dump(mode="json") for group in _grouped(entries)],
            "steps": sizes["steps"].model_dump(),
            "files": sizes["files"].model_dump(),
            "newest": [e.model_dump(mode="json") for e in entries[:_NEWEST]],
        }
        _write(document)
        return
    console = wide_console()
    title = (
        f"Kept for use again (answers: {_place(settings)}, namespace {settings.cache.namespace})"
    )
    console.print(_groups_table(title, _grouped(entries)))
    console.print(_newest_table(entries[:_NEWEST]))
    files = sizes["files"]
    console.print(f"files of steps: {files.files}, {files.size_bytes / 2**20:.1f} MiB")


def clear_command(
    route: str | None, model: str | None, older_than: str | None, *, as_json: bool
) -> None:
    settings = load_settings()
    age = read_duration(older_than) if older_than else None
    chosen = [e for e in _listed(settings) if Filter(route, model, age).matches(e)]
    _run(_delete(settings, chosen))
    removed = Counter(e.kind for e in chosen)
    if as_json:
        _write({"removed": {"answers": removed["answer"], "steps": removed["step"]}})
        return
    sys.stdout.write(f"removed {removed['answer']} answers and {removed['step']} steps\n")


def show_command(key: str, *, as_json: bool) -> None:
    settings = load_settings()
    found = [e for e in _listed(settings) if e.key.startswith(key)]
    if len(found) != 1:
        problem = "is ambiguous" if found else "is not there; `manus cache stats` lists the newest"
        raise BadInputError(f"kept entry '{key}' {problem}")
    content = _run(_content(settings, found[0]))
    document: dict[str, Any] = {"kind": found[0].kind, **content.model_dump(mode="json")}
    if as_json:
        _write(document)
    else:
        Console().print_json(data=document)


def read_duration(text: str) -> timedelta:
    """From ``30m``, ``12h``, ``1d`` and the like. Raises BadInputError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadInputError(f"'{text}' is not an age like 30m, 12h or 1d")
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError as error:
        raise BadInputError(f"'{text}' is longer ago than any date") from error


class Group(Value):
    """Entries of one kind, route and model. ``expired`` are among them."""

    kind: str
    route: str
    models: tuple[str, ...]
    entries: int
    expired: int
    cost_usd: Decimal


def _grouped(entries: Iterable[Listed]) -> list[Group]:
    groups: dict[tuple[str, str, tuple[str, ...]], list[Listed]] = {}
    for entry in entries:
        groups.setdefault((entry.kind, entry.route, entry.models), []).append(entry)
    now = datetime.now(UTC)
    return [
        Group(
            kind=kind,
            route=route,
            models=models,
            entries=len(of_group),
            expired=sum(e.expires_at is not None and e.expires_at <= now for e in of_group),
            cost_usd=sum((e.cost_usd or Decimal(0) for e in of_group), Decimal(0)),
        )
        for (kind, route, models), of_group in sorted(groups.items())
    ]


def _listed(settings: Settings) -> list[Listed]:
    """Everything kept, newest first."""
    answers = [_listed_answer(entry) for entry in _run(_answers(settings))]
    shelf = _steps(settings).steps
    contents = ((key, shelf.read(key, used=False)) for key in shelf.list_keys())
    kept = (read_kept_step(content, key) for key, content in contents if content is not None)
    steps = [_listed_step(step) for step in kept if step is not None]
    return sorted([*answers, *steps], key=lambda e: e.kept_at, reverse=True)


async def _answers(settings: Settings) -> list[CacheEntry]:
    store = open_cache_store(settings)
    try:
        return [entry async for entry in store.entries()]
    finally:
        await store.close()


async def _delete(settings: Settings, entries: Iterable[Listed]) -> None:
    """Answers and steps. Files of steps go when their room is needed."""
    store = open_cache_store(settings)
    shelf = _steps(settings).steps
    try:
        for entry in entries:
            if entry.kind == "answer":
                await store.delete(entry.key)
            else:
                shelf.remove(entry.key)
    finally:
        await store.close()


async def _content(settings: Settings, listed: Listed) -> CacheEntry | KeptStep:
    if listed.kind == "answer":
        found = [e for e in await _answers(settings) if e.key == listed.key]
    else:
        content = _steps(settings).steps.read(listed.key, used=False)
        kept = read_kept_step(content, listed.key) if content is not None else None
        found = [kept] if kept else []
    if not found:
        raise BadInputError(f"kept entry '{listed.key}' is gone")
    return found[0]


def _listed_answer(entry: CacheEntry) -> Listed:
    return Listed(
        key=entry.key,
        kind="answer",
        route=entry.route,
        models=(entry.completion.deployment,),
        namespace=entry.namespace,
        kept_at=entry.stored_at,
        expires_at=entry.expires_at,
        cost_usd=entry.completion.cost_usd,
    )


def _listed_step(kept: KeptStep) -> Listed:
    spend = kept.result.spend
    return Listed(
        key=kept.key,
        kind="step",
        route=kept.route,
        models=kept.deployments,
        namespace=kept.namespace,
        kept_at=kept.completed_at,
        expires_at=None,
        cost_usd=None if spend.unpriced_calls else spend.cost_usd,
    )


def _steps(settings: Settings) -> StepCache:
    return StepCache(settings.home / "cache", settings.cache)


def _place(settings: Settings) -> str:
    return "redis" if settings.cache.redis_url else str(settings.home / "cache")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Raises EnvironmentUnusableError where Redis does not answer: here it must."""
    try:
        return asyncio.run(work)
    except (RedisError, OSError) as error:
        raise EnvironmentUnusableError(f"the cache cannot be reached: {error}") from error


def _write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def _groups_table(title: str, groups: Iterable[Group]) -> Table:
    table = Table("kind", "route", "models", "entries", "expired", "worth USD", title=title)
    for group in groups:
        models = escape(", ".join(group.models))
        worth = f"{group.cost_usd:.4f}"
        table.add_row(
            group.kind, group.route, models, str(group.entries), str(group.expired), worth
        )
    return table


def _newest_table(entries: Iterable[Listed]) -> Table:
    table = Table("key", "kind", "route", "kept", title=f"The newest {_NEWEST}")
    for entry in entries:
        kept = entry.kept_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(entry.key[:16], entry.kind, entry.route, kept)
    return table
