"""A step's clock: what it bounds, and when it stands still."""

from __future__ import annotations

import asyncio

import pytest

from tasks.deadline import StepClock, StepSlots


async def test_work_past_its_deadline_is_stopped_and_the_limit_named() -> None:
    clock = StepClock(0.05, StepSlots(1))
    with pytest.raises(TimeoutError, match=r"not done after 0\.05 s"):
        async with clock.running():
            await asyncio.sleep(30)


async def test_a_timeout_of_the_work_itself_is_not_taken_for_the_deadline() -> None:
    clock = StepClock(30, StepSlots(1))
    with pytest.raises(TimeoutError, match="its own"):
        async with clock.running():
            raise TimeoutError("its own")


async def test_while_it_stands_still_no_time_passes_and_the_slot_is_free() -> None:
    slots = StepSlots(1)
    clock = StepClock(0.2, slots)
    async with slots, clock.running():
        async with clock.standing_still():
            assert not slots.locked()
            await asyncio.sleep(0.4)
        assert slots.locked()


async def test_after_standing_still_the_rest_of_the_time_is_left() -> None:
    slots = StepSlots(1)
    clock = StepClock(0.2, slots)

    async def work() -> None:
        async with slots, clock.running():
            async with clock.standing_still():
                await asyncio.sleep(0.05)
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError, match="not done after"):
        await work()


async def test_two_questions_at_once_free_the_slot_once() -> None:
    slots = StepSlots(1)
    clock = StepClock(30, slots)

    async def ask() -> None:
        async with clock.standing_still():
            await asyncio.sleep(0.01)

    async with slots, clock.running():
        await asyncio.gather(ask(), ask())
        assert slots.locked()
    assert not slots.locked()
    await slots.acquire()
    assert slots.locked()


async def test_waiting_for_the_slot_again_lets_others_finish_first() -> None:
    slots = StepSlots(1)
    clock = StepClock(30, slots)
    order: list[str] = []

    async def other() -> None:
        async with slots:
            order.append("other begins")
            await asyncio.sleep(0.05)
            order.append("other ends")

    async with slots, clock.running():
        async with clock.standing_still():
            running = asyncio.create_task(other())
            await asyncio.sleep(0.01)
        order.append("goes on")
    await running
    assert order == ["other begins", "other ends", "goes on"]


async def test_a_call_that_asks_while_another_waits_for_the_slot_stops_the_clock_again() -> None:
    slots = StepSlots(1)
    clock = StepClock(0.3, slots)
    first_has_asked, taken, free = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def other_step() -> None:
        async with slots:
            taken.set()
            await free.wait()

    async def first() -> None:
        async with clock.standing_still():
            await taken.wait()
            first_has_asked.set()

    async def second() -> None:
        await first_has_asked.wait()
        await asyncio.sleep(0)  # the first waits for the slot now
        async with clock.standing_still():
            free.set()
            await asyncio.sleep(0.6)

    other = asyncio.create_task(other_step())
    async with asyncio.timeout(30):
        async with slots, clock.running():
            await asyncio.gather(first(), second())
            assert slots.locked()
        await other
    await slots.acquire()
    assert slots.locked()


@pytest.mark.parametrize("waits_for", ["answer", "slot"])
async def test_a_step_that_is_stopped_while_it_asks_leaves_as_many_slots_as_there_were(
    waits_for: str,
) -> None:
    slots = StepSlots(1)
    clock = StepClock(30, slots)
    answered = asyncio.Event()
    if waits_for == "slot":
        answered.set()

    async def step() -> None:
        async with slots, clock.running(), clock.standing_still():
            await asyncio.sleep(0)
            await answered.wait()

    asking = asyncio.create_task(step())
    await asyncio.sleep(0)
    async with slots:
        await asyncio.sleep(0.02)
        asking.cancel()
        await asyncio.wait({asking})
        assert slots.locked()
    await slots.acquire()
    assert slots.locked()


async def test_a_call_stopped_while_it_asks_lets_the_clock_of_its_step_go_on() -> None:
    clock = StepClock(0.2, StepSlots(1))

    async def question() -> None:
        async with clock.standing_still():
            await asyncio.sleep(30)

    async def work() -> None:
        async with clock.running():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(question(), 0.01)
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError, match="not done after"):
        await work()
