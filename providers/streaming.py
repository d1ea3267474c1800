"""Streamed answers: another deployment is asked only until the first chunk is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from core.completion import Chunk
from core.errors import ManusError, RetryableError, TruncatedStreamError
from providers.admission import Admission, Ticket
from providers.asking import Asking, tokens_of_failure
from providers.routed_call import RoutedCall
from providers.tokens import estimate_text_tokens


@dataclass(slots=True)
class OpenStream:
    """An answer that has begun, with its first chunk taken out; to be closed."""

    ticket: Ticket
    first: Chunk
    rest: AsyncGenerator[Chunk, None]
    first_seconds: float


class Streaming:
    """The streams of one process; what is learned is settled when one ends, however it does."""

    def __init__(self, asking: Asking, admission: Admission) -> None:
        self._asking = asking
        self._admission = admission

    async def open(self, ticket: Ticket, call: RoutedCall) -> OpenStream | None:
        """A stream whose first chunk has come, ``None`` where another try's came before.

        An error before that is reported and raised, classified, as of a call that is not streamed.
        """
        provider = self._asking.provider_of(ticket)
        chunks = provider.generate_stream(call.next_request(), model=ticket.deployment.model)
        used: int | None = None
        try:
            first = await anext(chunks)
            if not call.answered:
                call.answered = ticket.streaming = True
                return OpenStream(ticket, first, chunks, time.monotonic() - ticket.started)
            self._asking.note_given_up(ticket, call)
        except ManusError as error:
            used = tokens_of_failure(error)
            classified = self._asking.note_error(ticket, call, error)
            if classified is error:
                raise
            raise classified from error
        except asyncio.CancelledError:
            self._asking.note_given_up(ticket, call)
            raise
        finally:
            if not ticket.streaming:
                await chunks.aclose()
                await self._admission.leave(ticket, used)
        return None

    async def read(self, stream: OpenStream, call: RoutedCall) -> AsyncGenerator[Chunk, None]:
        """All chunks of a stream, the last one with its cost. Closing it early closes the stream.

        Raises:
            TruncatedStreamError: it broke off; nothing was tried again.
            ProviderRejectedError: the provider ended it, with a content filter for example.
        """
        ticket, said = stream.ticket, 0
        used: int | None = None
        try:
            chunk = stream.first
            while chunk.completion is None:
                said += estimate_text_tokens(chunk.text)
                yield chunk
                chunk = await anext(stream.rest)
            used = chunk.completion.usage.total_tokens or None
            self._asking.note_answer(ticket, chunk.completion)
            billed = self._asking.billed(chunk.completion, ticket)
        except ManusError as error:
            raise self._broken(error, ticket, call) from error
        except (asyncio.CancelledError, GeneratorExit):
            self._note_abandoned(stream, call, said)
            raise
        finally:
            await stream.rest.aclose()
            await self._admission.leave(ticket, used)
        # Behind the settling: who has the last chunk need not ask for another.
        yield Chunk(completion=billed)

    async def close(self, stream: OpenStream) -> None:
        """Ends a stream that nobody reads. Idempotent."""
        await stream.rest.aclose()
        self._admission.release(stream.ticket)

    def _broken(self, error: ManusError, ticket: Ticket, call: RoutedCall) -> ManusError:
        noted = self._asking.note_error(ticket, call, error)
        if not isinstance(error, RetryableError) or isinstance(error, TruncatedStreamError):
            return noted
        message = f"the answer broke off after it had begun: {error.message}"
        cause = type(error).__name__
        return TruncatedStreamError(message, **{**error.details, "cause": cause})

    def _note_abandoned(self, stream: OpenStream, call: RoutedCall, said: int) -> None:
        """It answers, and how fast is known as far as it went; what it cost is not."""
        now, ticket = time.monotonic(), stream.ticket
        ticket.judged = True
        ticket.health.breaker.note_answer(now, probe=ticket.probe)
        ticket.health.note_answer(now - ticket.started, said, now, stream.first_seconds)
        call.note_abandoned(ticket.deployment, ticket.started, ticket.index)
