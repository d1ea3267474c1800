"""Where answers are kept: damage, bounds, rights, and a Redis that comes and goes."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from core.completion import Chunk, Completion, CompletionRequest, StopReason
from core.message import TextPart, user
from core.provider_settings import CacheSettings
from providers.deployment import Deployment
from providers.file_shelf import FileShelf
from providers.response_cache import ResponseCache
from providers.response_cache_files import FileCacheStore
from providers.response_cache_redis import RedisCacheStore
from providers.response_cache_store import CacheEntry, CacheStore
from providers.route import Route
from tests.fakes.redis_server import RedisServer

KEY = "ab" * 32
ROUTE = Route("default", (Deployment("fake", "m"),), cache_ttl_seconds=60)
HELLO = CompletionRequest(messages=(user("hello"),))


def said(text: str) -> Completion:
    return Completion(
        parts=(TextPart(text=text),),
        stop_reason=StopReason.END,
        provider="fake",
        deployment="fake:m",
        model="m",
    )


def entry(key: str = KEY, text: str = "hello", seconds: float = 60) -> CacheEntry:
    now = datetime.now(UTC)
    return CacheEntry(
        key=key,
        namespace="default",
        route="default",
        stored_at=now,
        expires_at=now + timedelta(seconds=seconds),
        completion=said(text),
    )


@pytest.fixture(params=["files", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[CacheStore]:
    made: CacheStore = FileCacheStore(tmp_path, 10**6)
    if request.param == "redis":
        made = RedisCacheStore(request.getfixturevalue("redis_server").url, 5)
    yield made
    await made.close()


async def damage(store: CacheStore, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if isinstance(store, FileCacheStore):
        (file,) = tmp_path.rglob(f"{KEY}.json")
        file.write_bytes(file.read_bytes()[:50])
        return
    with request.getfixturevalue("redis_server").client as client:
        client.set(f"manus:response:{KEY}", b'{"schema_version": 0}')


async def test_a_damaged_entry_is_a_miss_with_a_warning_and_is_replaced(
    store: CacheStore,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await store.save(entry())
    await damage(store, tmp_path, request)
    assert await store.load(KEY) is None
    assert "is damaged" in caplog.text
    assert [e async for e in store.entries()] == []
    await store.save(entry(text="again"))
    loaded = await store.load(KEY)
    assert loaded
    assert loaded.completion.text == "again"


async def test_an_entry_of_another_key_is_not_served(store: CacheStore, tmp_path: Path) -> None:
    other = "cd" * 32
    await store.save(entry())
    assert await store.load(other) is None
    await store.delete(KEY)
    await store.delete(KEY)
    assert await store.load(KEY) is None


async def test_redis_forgets_an_entry_by_itself(redis_server: RedisServer) -> None:
    store = RedisCacheStore(redis_server.url, 5)
    await store.save(entry(seconds=0.1))
    await asyncio.sleep(0.2)
    with redis_server.client as client:
        assert client.dbsize() == 0
    await store.close()


async def test_a_redis_that_dies_costs_a_call_and_one_warning_and_is_used_again_later(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "providers.response_cache_redis")
    store = RedisCacheStore(redis_server.url, 5, left_alone_seconds=0.2)
    cache = ResponseCache(store, "default", {})
    asked: list[str] = []

    async def ask() -> Completion:
        asked.append("")
        return said(f"answer {len(asked)}")

    await cache.answer(HELLO, ROUTE, ask)
    redis_server.stop()
    for number in (2, 3, 4):
        answer = await cache.answer(HELLO, ROUTE, ask)
        assert (answer.text, answer.cache_hit) == (f"answer {number}", False)
    assert caplog.text.count("going on without Redis") == 1
    redis_server.start()
    await asyncio.sleep(0.3)
    texts = [(await cache.answer(HELLO, ROUTE, ask)).text for _ in range(2)]
    assert texts == ["answer 5", "answer 5"]
    await cache.close()


async def test_a_redis_that_dies_while_a_question_is_under_way_loses_no_answer(
    redis_server: RedisServer,
) -> None:
    cache = ResponseCache(RedisCacheStore(redis_server.url, 5), "default", {})

    async def ask() -> Completion:
        redis_server.stop()
        return said("hello")

    assert (await cache.answer(HELLO, ROUTE, ask)).text == "hello"
    await cache.close()


async def test_nobody_behind_the_address_of_redis_is_no_error() -> None:
    cache = ResponseCache(RedisCacheStore("redis://127.0.0.1:1/0", 1), "default", {})

    async def ask() -> Completion:
        return said("hello")

    assert (await cache.answer(HELLO, ROUTE, ask)).text == "hello"
    await cache.close()


def test_an_address_that_is_not_redis_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ValidationError, match="redis://"):
        CacheSettings(redis_url=SecretStr("http://127.0.0.1:6379"))


async def test_a_stream_is_kept_and_comes_back_whole(store: CacheStore) -> None:
    cache = ResponseCache(store, "default", {})
    asked: list[str] = []

    async def ask() -> AsyncGenerator[Chunk, None]:
        asked.append("")
        for word in ("hel", "lo"):
            yield Chunk(text=word)
        yield Chunk(completion=said("hello"))

    async def read() -> tuple[list[str], bool]:
        async with aclosing(cache.stream(HELLO, ROUTE, ask)) as chunks:
            found = [c async for c in chunks]
        assert found[-1].completion
        return [c.text for c in found[:-1]], found[-1].completion.cache_hit

    assert await read() == (["hel", "lo"], False)
    assert await read() == (["hello"], True)
    assert len(asked) == 1


async def test_a_stream_that_is_left_early_keeps_nothing_and_lets_the_next_one_ask(
    store: CacheStore,
) -> None:
    cache = ResponseCache(store, "default", {})

    async def ask_stream() -> AsyncGenerator[Chunk, None]:
        yield Chunk(text="hel")
        yield Chunk(completion=said("hello"))

    async def ask() -> Completion:
        return said("another")

    async with aclosing(cache.stream(HELLO, ROUTE, ask_stream)) as chunks:
        assert (await anext(chunks)).text == "hel"
        waiting = asyncio.create_task(cache.answer(HELLO, ROUTE, ask))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    assert (await waiting).text == "another"


def test_files_are_their_owners_only_and_no_temporary_one_is_left(tmp_path: Path) -> None:
    FileShelf(tmp_path, 1000).write(KEY, b"content")
    (file,) = (p for p in tmp_path.rglob("*") if p.is_file())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_past_its_bound_a_shelf_loses_what_was_used_least_recently(tmp_path: Path) -> None:
    shelf = FileShelf(tmp_path, 1000)
    keys = [f"{n:02x}" * 32 for n in range(12)]
    for age, key in enumerate(keys[:9]):
        shelf.write(key, bytes(100))
        (file,) = tmp_path.rglob(key)
        os.utime(file, (10**9 + age, 10**9 + age))
    assert shelf.read(keys[0]) == bytes(100), "which makes it the newest"
    for key in keys[9:]:
        shelf.write(key, bytes(100))
    left = shelf.list_keys()
    assert keys[0] in left
    assert {keys[1], keys[2]} & set(left) == set()
    assert shelf.size().size_bytes <= 1000


def test_a_key_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a key"):
        FileShelf(tmp_path, 1000).read("../../etc/passwd")


async def test_a_folder_that_cannot_be_written_costs_a_call_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = ResponseCache(FileCacheStore(tmp_path / "cache", 1000), "default", {})

    async def ask() -> Completion:
        return said("hello")

    assert (await cache.answer(HELLO, ROUTE, ask)).text == "hello"
    assert "could not be kept" in caplog.text
