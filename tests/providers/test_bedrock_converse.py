"""What goes over the wire to Bedrock's Converse operations, and what is read from it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.completion import (
    Completion,
    CompletionRequest,
    StopReason,
    TokenUsage,
    ToolChoice,
    ToolDefinition,
)
from core.errors import (
    AuthenticationError,
    ConfigError,
    ContentRefusedError,
    MalformedAnswerError,
    ManusError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderRejectedError,
    ProviderTimeoutError,
    RateLimitedError,
)
from core.message import (
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    system,
    user,
)
from core.provider_settings import ProviderSettings
from providers.base import BaseProvider
from providers.factory import create_provider
from providers.tokens import estimate_request_tokens
from tests.fakes.credentials import credentials
from tests.fakes.http_wire import Connection, HttpRequest, serve_connections
from tests.fakes.kinds import provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, ScriptedCall, ScriptedUsage
from tests.fakes.scripts import always

CLAUDE = "global.anthropic.claude-sonnet-5-5"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "meta.llama4-maverick-17b-instruct-v1:0"
TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
PIXEL = ImagePart(media_type="image/png", data="iVBORw0KGgo=")
ASKED = CompletionRequest(messages=(system("Be brief."), user("hello")))
POINT = {"cachePoint": {"type": "default"}}
AGE = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 1}}}


@pytest.fixture
async def provider(server: FakeModelServer) -> AsyncGenerator[BaseProvider]:
    made = provider_of("bedrock", server)
    yield made
    await made.close()


async def sent(
    provider: BaseProvider, server: FakeModelServer, request: CompletionRequest, model: str = CLAUDE
) -> dict[str, Any]:
    await provider.generate_completion(request, model=model)
    assert server.requests[-1].model == model
    return server.requests[-1].body


async def answered(
    provider: BaseProvider, request: CompletionRequest, *, model: str = CLAUDE, streamed: bool
) -> Completion:
    if not streamed:
        return await provider.generate_completion(request, model=model)
    chunks = [c async for c in provider.generate_stream(request, model=model)]
    whole = chunks[-1].completion
    assert whole is not None
    assert "".join(c.text for c in chunks) == whole.text
    return whole


async def test_the_system_prompt_is_apart_and_claude_gets_no_sampling(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    request = ASKED.model_copy(update={"temperature": 1.5})
    wire = {
        "system": [{"text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"text": "hello"}]}],
    }
    limits = {"inferenceConfig": {"maxTokens": 8192}}
    assert await sent(provider, server, request) == wire | limits
    warm = {"inferenceConfig": {"temperature": 1.0}}
    assert await sent(provider, server, request, NOVA) == wire | warm


@pytest.mark.parametrize(
    ("mode", "choice"),
    [("auto", None), ("required", {"any": {}}), ("named", {"tool": {"name": "look"}})],
)
async def test_tool_choices_are_said_in_its_words(
    mode: str, choice: dict[str, Any] | None, provider: BaseProvider, server: FakeModelServer
) -> None:
    chosen = ToolChoice.model_validate({"mode": mode, "name": "look" if mode == "named" else None})
    request = ASKED.model_copy(update={"tools": (TOOL,), "tool_choice": chosen})
    wire = (await sent(provider, server, request))["toolConfig"]
    spec = {"name": "look", "description": "Looks.", "inputSchema": {"json": {"type": "object"}}}
    assert wire["tools"] == [{"toolSpec": spec}]
    assert wire.get("toolChoice") == choice
    assert "toolChoice" not in (await sent(provider, server, request, LLAMA))["toolConfig"]


async def test_tools_that_may_not_be_called_are_dropped_but_past_calls_stay_defined(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    request = ASKED.model_copy(update={"tools": (TOOL,), "tool_choice": ToolChoice(mode="none")})
    assert "toolConfig" not in await sent(provider, server, request)
    call = Message(role="assistant", parts=(ToolCallPart(id="a", name="look"),))
    result = ToolResultPart(call_id="a", name="look", text="a tree")
    messages = (*ASKED.messages, call, Message(role="tool", parts=(result,)))
    body = await sent(provider, server, request.model_copy(update={"messages": messages}))
    bare = {"name": "look", "inputSchema": {"json": {"type": "object"}}}
    assert body["toolConfig"] == {"tools": [{"toolSpec": bare}]}


async def test_all_results_of_a_turn_lead_one_user_message(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    own = ThinkingPart(text="hm", signature="sig", provider="bedrock")
    hidden = ThinkingPart(redacted="b3BhcXVl", provider="bedrock")
    foreign = ThinkingPart(text="theirs", signature="x", provider="anthropic")
    unsigned = ThinkingPart(text="mine", provider="bedrock")
    first_id = "functions.look:0" * 8
    calls = (ToolCallPart(id=first_id, name="look"), ToolCallPart(id="b", name="look"))
    blank = TextPart(text=" \n")
    first = ToolResultPart(call_id=first_id, name="look", text="one", images=(PIXEL,))
    second = ToolResultPart(call_id="b", name="look", text="", is_error=True)
    request = CompletionRequest(
        messages=(
            user("go"),
            Message(role="assistant", parts=(own, hidden, foreign, unsigned, blank, *calls)),
            Message(role="tool", parts=(first,)),
            user("and now?"),
            Message(role="tool", parts=(second,)),
        ),
    )
    (_, said, then) = (await sent(provider, server, request))["messages"]
    assert (said["role"], then["role"]) == ("assistant", "user")
    assert [next(iter(b)) for b in said["content"]] == ["reasoningContent"] * 2 + ["toolUse"] * 2
    signed, redacted = (b["reasoningContent"] for b in said["content"][:2])
    assert signed == {"reasoningText": {"text": "hm", "signature": "sig"}}
    assert redacted == {"redactedContent": "b3BhcXVl"}
    assert [next(iter(b)) for b in then["content"]] == ["toolResult", "toolResult", "text"]
    one, two = (b["toolResult"] for b in then["content"][:2])
    assert one["toolUseId"] == said["content"][2]["toolUse"]["toolUseId"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one["toolUseId"])
    assert one["content"][0] == {"text": "one"}
    assert one["content"][1] == {"image": {"format": "png", "source": {"bytes": PIXEL.data}}}
    nothing = [{"text": "(no output)"}]
    assert two == {"toolUseId": "b", "status": "error", "content": nothing}


async def test_a_tool_loop_of_claude_is_cached_by_its_points(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    request = ASKED.model_copy(update={"tools": (TOOL,)})
    body = await sent(provider, server, request)
    assert body["system"][-1] == POINT
    assert body["messages"][-1]["content"][-1] == POINT
    assert "cachePoint" not in json.dumps(await sent(provider, server, request, NOVA))
    assert "cachePoint" not in json.dumps(await sent(provider, server, ASKED))


async def test_claude_gets_an_output_schema_as_a_text_format(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    body = await sent(provider, server, ASKED.model_copy(update={"output_schema": AGE}))
    assert "toolConfig" not in body
    wire = json.loads(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    assert wire == {
        "type": "object",
        "properties": {"age": {"type": "integer"}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize("streamed", [False, True])
async def test_others_get_an_output_schema_as_a_tool_whose_call_is_the_answer(
    streamed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    given = ScriptedCall("give_output", {"age": 31, "name": "somewhat longer than a piece"})
    server.script = always(Answer("Here you are:", (given,)))
    request = ASKED.model_copy(update={"output_schema": AGE})
    answer = await answered(provider, request, model=NOVA, streamed=streamed)
    assert json.loads(answer.text) == given.arguments
    assert (answer.stop_reason, answer.tool_calls) == (StopReason.END, ())
    config = server.requests[0].body["toolConfig"]
    assert config["toolChoice"] == {"tool": {"name": "give_output"}}
    assert config["tools"][0]["toolSpec"]["inputSchema"]["json"] == AGE


async def test_beside_an_output_tool_other_tools_may_be_called(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    server.script = always(Answer(tool_calls=(ScriptedCall("look"),)))
    request = ASKED.model_copy(update={"output_schema": AGE, "tools": (TOOL,)})
    answer = await provider.generate_completion(request, model=NOVA)
    assert server.requests[0].tool_names == ("look", "give_output")
    assert server.requests[0].tool_choice == {"any": {}}
    assert (answer.stop_reason, len(answer.tool_calls)) == (StopReason.TOOL_CALLS, 1)


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_calls_and_usage_are_read_and_go_back_unchanged(
    streamed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    usage = ScriptedUsage(input=1329, output=40, cache_read=1322, cache_write=5)
    calls = (ScriptedCall("look", {"at": "a very tall tree"}), ScriptedCall("look", ""))
    server.script = always(Answer("Wait.", calls, thinking="two looks, I think", usage=usage))
    request = ASKED.model_copy(update={"tools": (TOOL,)})
    answer = await answered(provider, request, streamed=streamed)
    signed = ThinkingPart(text="two looks, I think", signature="c2lnbmF0dXJl", provider="bedrock")
    assert answer.parts[:2] == (signed, TextPart(text="Wait."))
    assert [c.arguments for c in answer.tool_calls] == [{"at": "a very tall tree"}, {}]
    counted = {"input_tokens": 1329, "output_tokens": 40}
    assert answer.usage == TokenUsage(**counted, cache_read_tokens=1322, cache_write_tokens=5)
    assert answer.request_id == "req_0"
    followed = CompletionRequest(messages=(*ASKED.messages, answer.to_message(), user("so?")))
    block = (await sent(provider, server, followed))["messages"][1]["content"][0]
    said = {"text": "two looks, I think", "signature": "c2lnbmF0dXJl"}
    assert block == {"reasoningContent": {"reasoningText": said}}


def stopped(reason: str, *blocks: dict[str, Any]) -> Fault:
    """An answer as the wire has it, for reasons that a script has no word for."""
    usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    message = {"role": "assistant", "content": list(blocks)}
    body = {"output": {"message": message}, "stopReason": reason, "usage": usage}
    return Fault(status=200, body=body)


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ("stop_sequence", StopReason.END),
        ("max_tokens", StopReason.LENGTH),
        ("model_context_window_exceeded", StopReason.LENGTH),
        ("guardrail_intervened", StopReason.REFUSAL),
        ("content_filtered", StopReason.REFUSAL),
        ("something_new", StopReason.OTHER),
    ],
)
async def test_reasons_to_stop_have_our_names(
    wire: str, reason: StopReason, provider: BaseProvider, server: FakeModelServer
) -> None:
    server.script = always(stopped(wire, {"text": "Well"}))
    answer = await provider.generate_completion(ASKED, model=CLAUDE)
    assert (answer.text, answer.stop_reason) == ("Well", reason)


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        ("malformed_tool_use", MalformedAnswerError),
        ("malformed_model_output", MalformedAnswerError),
        ("guardrail_intervened", ContentRefusedError),
    ],
)
async def test_a_stop_that_leaves_no_answer_is_an_error(
    wire: str, error: type[ManusError], provider: BaseProvider, server: FakeModelServer
) -> None:
    blocks = [{"text": "{broken"}] if wire.startswith("malformed") else []
    server.script = always(stopped(wire, *blocks))
    with pytest.raises(error) as caught:
        await provider.generate_completion(ASKED, model=CLAUDE)
    assert caught.value.details["request_id"] == "req_0"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (429, "ThrottlingException", RateLimitedError),
        (429, "ModelNotReadyException", RateLimitedError),
        (400, "ServiceQuotaExceededException", RateLimitedError),
        (400, "ValidationException", ProviderRejectedError),
        (403, "AccessDeniedException", PermissionDeniedError),
        (403, "ExpiredTokenException", AuthenticationError),
        (403, "UnrecognizedClientException", AuthenticationError),
        (403, "InvalidSignatureException", AuthenticationError),
        (404, "ResourceNotFoundException", ModelNotFoundError),
        (408, "ModelTimeoutException", ProviderTimeoutError),
        (424, "ModelErrorException", OverloadedError),
        (500, "InternalServerException", OverloadedError),
        (503, "ServiceUnavailableException", OverloadedError),
    ],
)
async def test_errors_are_told_apart_by_their_code(
    status: int,
    code: str,
    error: type[ManusError],
    provider: BaseProvider,
    server: FakeModelServer,
) -> None:
    server.script = always(Fault(status=status, code=code, headers={"retry-after": "3"}))
    with pytest.raises(error) as caught:
        await provider.generate_completion(ASKED, model=CLAUDE)
    assert type(caught.value) is error
    details = caught.value.details
    assert (details["status"], details["code"], details["request_id"]) == (status, code, "req_0")
    assert details["retry_after_seconds"] == 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("throttlingException", RateLimitedError),
        ("validationException", ProviderRejectedError),
        ("modelStreamErrorException", OverloadedError),
        ("internalServerException", OverloadedError),
    ],
)
async def test_errors_inside_a_stream_are_told_apart_too(
    code: str, error: type[ManusError], provider: BaseProvider, server: FakeModelServer
) -> None:
    server.script = always(Fault("stream_error", code=code))
    with pytest.raises(error, match="scripted fault") as caught:
        await answered(provider, ASKED, streamed=True)
    assert type(caught.value) is error


async def test_tokens_are_counted_for_the_model_behind_a_profile(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    request = ASKED.model_copy(update={"tools": (TOOL,)})
    counted = await provider.count_tokens(request, model=CLAUDE)
    (asked,) = server.requests
    assert asked.path == "/model/anthropic.claude-sonnet-5-5/count-tokens"
    assert set(asked.body["input"]["converse"]) == {"messages", "system", "toolConfig"}
    assert counted == len(asked.text) // 4


@asynccontextmanager
async def refused(status: int, code: str) -> AsyncGenerator[BaseProvider]:
    """A provider at a service that answers everything with an error."""

    async def serve(_: HttpRequest, connection: Connection) -> None:
        headers = {"content-type": "application/json", "x-amzn-errortype": code}
        connection.write_whole(status, headers, b'{"message": "no"}')

    async with serve_connections(serve) as port:
        url = f"http://127.0.0.1:{port}"
        settings = ProviderSettings(kind="bedrock", base_url=url, region="us-east-1")
        provider = create_provider("bedrock", settings, credentials())
        yield provider
        await provider.close()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
    ],
)
async def test_tokens_are_estimated_where_the_service_does_not_count_them(
    status: int, code: str
) -> None:
    async with refused(status, code) as provider:
        counted = await provider.count_tokens(ASKED, model=NOVA)
    assert counted == estimate_request_tokens(ASKED, model=NOVA)


async def test_invalid_keys_are_no_reason_to_estimate() -> None:
    async with refused(403, "UnrecognizedClientException") as provider:
        with pytest.raises(AuthenticationError):
            await provider.count_tokens(ASKED, model=NOVA)


@pytest.mark.parametrize(
    ("status", "code", "detail"),
    [
        (400, "ValidationException", ""),
        (403, "AccessDeniedException", "bedrock: 403 no"),
        (403, "ExpiredTokenException", "bedrock: 403 no"),
        (503, "ServiceUnavailableException", "bedrock: 503 no"),
    ],
)
async def test_the_status_tells_what_the_service_objects_to(
    status: int, code: str, detail: str
) -> None:
    async with refused(status, code) as provider:
        found = await provider.get_status()
    assert (found.key_present, found.reachable, found.detail) == (True, True, detail)


async def test_without_credentials_the_answer_is_not_a_retry(
    server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    provider = provider_of("bedrock", server)
    with pytest.raises(AuthenticationError, match="NoCredentialsError"):
        await provider.generate_completion(ASKED, model=CLAUDE)
    status = await provider.get_status()
    await provider.close()
    assert server.requests == []
    assert (status.key_present, status.reachable) == (False, None)


async def test_a_bearer_token_is_sent_over_tls_only(
    server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-token")
    provider = provider_of("bedrock", server)
    with pytest.raises(ManusError):
        await provider.generate_completion(ASKED, model=CLAUDE)
    await provider.close()
    assert server.requests == []


def test_what_is_wrong_with_the_settings_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ProviderSettings(kind="bedrock")
    with pytest.raises(ConfigError, match=r"'mine': set AWS_REGION, or \[providers.mine\] region"):
        create_provider("mine", nowhere, credentials())
    keyed = ProviderSettings.model_validate({"kind": "bedrock", "api_key": "k", "region": "x"})
    with pytest.raises(ConfigError, match="'mine' has no api_key: set AWS_BEARER_TOKEN_BEDROCK"):
        create_provider("mine", keyed, credentials())
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match=r"'mine': AWS_PROFILE: .*nobody"):
        create_provider("mine", nowhere, credentials(aws_region="us-east-1"))
