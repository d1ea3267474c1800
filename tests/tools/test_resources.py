"""What stays open between calls of tools, and when it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tools.resources import Resources, resources


class Door:
    """Notes who opens and closes it; the first ``fails`` openings do not work."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.log: list[str] = []

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[str]:
        self.log.append("open")
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise OSError("stuck")
        opener = asyncio.current_task()
        yield "door"
        assert asyncio.current_task() is opener
        self.log.append("closed")


async def test_everyone_who_asks_gets_the_same_one_and_the_scope_closes_it() -> None:
    door = Door()
    async with resources() as scope:
        got = await asyncio.gather(*(scope.obtain("door", door.open) for _ in range(3)))
        assert got == ["door"] * 3
        assert door.log == ["open"]
    assert door.log == ["open", "closed"]


async def test_a_resource_that_did_not_open_is_tried_again() -> None:
    door = Door(fails=1)
    async with resources() as scope:
        with pytest.raises(OSError, match="stuck"):
            await scope.obtain("door", door.open)
        assert await scope.obtain("door", door.open) == "door"
    assert door.log == ["open", "open", "closed"]


async def test_a_released_resource_is_opened_anew() -> None:
    door = Door()
    async with resources() as scope:
        await scope.obtain("door", door.open)
        await scope.release("door")
        await scope.obtain("door", door.open)
    assert door.log == ["open", "closed"] * 2


async def test_resources_close_in_reverse_order_and_closing_again_does_nothing() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def named(name: str) -> AsyncGenerator[None]:
        yield
        order.append(name)

    scope = Resources()
    for name in ("a", "b"):
        await scope.obtain(name, lambda name=name: named(name))
    await scope.close()
    await scope.close()
    assert order == ["b", "a"]


async def test_one_that_does_not_close_well_is_logged_and_the_others_are_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def jammed() -> AsyncGenerator[None]:
        yield
        raise OSError("jammed")

    door = Door()
    async with resources() as scope:
        await scope.obtain("door", door.open)
        await scope.obtain("jammed", jammed)
    assert door.log == ["open", "closed"]
    assert "jammed did not close well" in caplog.text


async def test_one_that_hangs_in_closing_is_left_and_the_others_are_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def hanging() -> AsyncGenerator[None]:
        yield
        await asyncio.sleep(600)

    door = Door()
    scope = Resources(close_seconds=0.05)
    await scope.obtain("door", door.open)
    await scope.obtain("hanging", hanging)
    await asyncio.wait_for(scope.close(), 30)
    assert door.log == ["open", "closed"]
    assert "hanging did not close well" in caplog.text


async def test_who_is_cancelled_while_closing_leaves_nothing_open() -> None:
    closing = asyncio.Event()

    @asynccontextmanager
    async def slow() -> AsyncGenerator[None]:
        yield
        closing.set()
        await asyncio.sleep(0.05)

    door = Door()
    scope = Resources()
    await scope.obtain("door", door.open)
    await scope.obtain("slow", slow)
    closer = asyncio.create_task(scope.close())
    await closing.wait()
    closer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closer
    assert door.log == ["open", "closed"]


async def test_a_resource_that_ended_by_itself_is_opened_anew() -> None:
    opened: list[asyncio.Task[None] | None] = []

    @asynccontextmanager
    async def mortal() -> AsyncGenerator[int]:
        opened.append(asyncio.current_task())
        yield len(opened)

    async with resources() as scope:
        assert await scope.obtain("mortal", mortal) == 1
        keeper = opened[0]
        assert keeper
        keeper.cancel()
        await asyncio.wait({keeper})
        assert await scope.obtain("mortal", mortal) == 2
