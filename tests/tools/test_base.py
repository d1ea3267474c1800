import asyncio
import json
import logging

import pytest

from core.errors import BadInputError, SandboxUnavailableError, ToolFailedError, UnknownToolError
from core.message import ImagePart
from tools.base import BaseTool, ToolContext, ToolResult, object_schema
from tools.invoke import invoke
from tools.registry import ToolRegistry, default_registry
from tools.workspace import StepDirectory


class WordCount(BaseTool):
    name: str = "word_count"
    description: str = "Counts the words of a text."
    parameters = object_schema(
        ("text",), text={"type": "string"}, least={"type": "integer", "minimum": 1}
    )

    async def execute(self, text: str, least: int = 1) -> ToolResult:
        if not text:
            return self.fail_response("there is no text")
        return self.success_response({"words": len(text.split()), "least": least})


class Failing(BaseTool):
    name = "failing"
    description = "Fails as it is told to."
    parameters = object_schema()
    timeout_seconds = 0.05

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    async def execute(self) -> ToolResult:
        if self._error:
            raise self._error
        await asyncio.sleep(60)
        return self.success_response("too late")


async def test_a_tool_of_ones_own_needs_a_name_a_schema_and_execute() -> None:
    result = await invoke(WordCount(), {"text": "one two"})
    assert result.data == {"words": 2, "least": 1}
    assert json.loads(result.output) == result.data
    assert not result.is_error


async def test_what_a_tool_says_has_failed_is_an_error() -> None:
    result = await invoke(WordCount(), {"text": ""})
    assert result.is_error
    assert result.text == "there is no text"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "'text' is a required property"),
        ({"text": 5}, "'text': 5 is not of type 'string'"),
        ({"text": "a", "least": 0}, "'least': 0 is less than the minimum of 1"),
        ({"text": "a", "txet": "b"}, "'txet' was unexpected"),
    ],
)
async def test_wrong_arguments_come_back_with_what_is_expected(
    arguments: dict[str, object], told: str
) -> None:
    result = await invoke(WordCount(), arguments)
    assert result.is_error
    assert told in result.text
    assert "Arguments: text, least (optional)." in result.text


async def test_an_unexpected_exception_is_an_answer_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        result = await invoke(Failing(KeyError("x")), {})
    assert result.text == "failing failed: KeyError: 'x'"
    assert caplog.records[0].exc_info is not None


async def test_an_expected_failure_is_told_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    result = await invoke(Failing(ToolFailedError("no such file")), {})
    assert result.text == "no such file"
    assert not caplog.records


async def test_a_tool_that_hangs_is_ended_by_its_own_timeout() -> None:
    assert (await invoke(Failing(), {})).text == "failing did not finish in 0.05 s"


async def test_a_timeout_of_the_tools_own_is_not_taken_for_ours() -> None:
    result = await invoke(Failing(TimeoutError("the server is slow")), {})
    assert result.text == "failing failed: TimeoutError: the server is slow"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SandboxUnavailableError("none")])
async def test_what_no_model_can_mend_is_raised(error: BaseException) -> None:
    with pytest.raises(type(error)):
        await invoke(Failing(error), {})


def test_binding_makes_a_copy(directory: StepDirectory) -> None:
    tool = WordCount()
    bound = tool.bind(ToolContext(directory))
    assert bound.context.directory is directory
    with pytest.raises(RuntimeError, match="not bound"):
        _ = tool.context


def test_a_result_survives_json() -> None:
    image = ImagePart(media_type="image/png", data="aGk=")
    result = ToolResult(output="a", data={"b": [1, None]}, error="c", images=(image,), exit_code=2)
    assert ToolResult.model_validate_json(result.model_dump_json()) == result


def test_an_unknown_tool_is_answered_with_those_there_are() -> None:
    registry = ToolRegistry(WordCount())
    with pytest.raises(UnknownToolError, match="there are: word_count"):
        registry.get("wordcount")
    assert registry.definitions(["word_count"])[0].parameters == WordCount.parameters


def test_a_name_is_given_once_and_registries_share_nothing() -> None:
    registry = default_registry()
    registry.add(WordCount())
    with pytest.raises(BadInputError, match="word_count"):
        registry.add(WordCount())
    assert "word_count" not in default_registry().names
