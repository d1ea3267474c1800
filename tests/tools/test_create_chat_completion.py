from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from core.errors import ConfigError
from tools.base import ToolContext, ToolResult
from tools.create_chat_completion import CreateChatCompletion
from tools.invoke import invoke
from tools.workspace import StepDirectory


class Author(BaseModel):
    name: str
    born: int | None = None


class Report(BaseModel):
    title: str = Field(min_length=3)
    grade: Literal["a", "b"] = "b"
    authors: list[Author] = []


async def answer(directory: StepDirectory, response_type: Any, **given: Any) -> ToolResult:
    tool = CreateChatCompletion(response_type).bind(ToolContext(directory))
    return await invoke(tool, given)


@pytest.mark.parametrize(
    ("response_type", "value"),
    [
        (str, "done"),
        (int, 3),
        (float, 2.5),
        (bool, True),
        (list[int], [1, 2]),
        (dict[str, list[int]], {"a": [1]}),
        (int | None, None),
        (int | str, "x"),
        (list[Author], [{"name": "Ann", "born": None}]),
        ({"type": "array", "items": {"enum": ["x"]}}, ["x", "x"]),
    ],
)
async def test_a_value_of_the_type_ends_the_work(
    directory: StepDirectory, response_type: Any, value: Any
) -> None:
    result = await answer(directory, response_type, response=value)
    assert (result.error, result.data, result.terminated) == (None, value, "success")


async def test_a_model_is_asked_for_by_its_fields_and_its_defaults_are_filled_in(
    directory: StepDirectory,
) -> None:
    assert set(CreateChatCompletion(Report).parameters["properties"]) == {
        *("title", "grade", "authors")
    }
    result = await answer(directory, Report, title="Sales", authors=[{"name": "Ann"}])
    assert result.data == {
        "title": "Sales",
        "grade": "b",
        "authors": [{"name": "Ann", "born": None}],
    }
    assert result.terminated == "success"


@pytest.mark.parametrize(
    ("response_type", "given", "told"),
    [
        (int, {"response": "three"}, "'response'"),
        (list[int], {"response": [1, "x"]}, "'response.1'"),
        (list[Author], {"response": [{"born": 1}]}, "'name' is a required property"),
        (Report, {"title": "ab"}, "'title'"),
        (Report, {"title": "abc", "grade": "c"}, "'grade'"),
        (Report, {"title": "abc", "unknown": 1}, "unknown"),
        (str, {}, "'response' is a required property"),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, {"n": "x"}, "'n'"),
    ],
)
async def test_what_does_not_fit_is_told_and_does_not_end_the_work(
    directory: StepDirectory, response_type: Any, given: dict[str, Any], told: str
) -> None:
    result = await answer(directory, response_type, **given)
    assert told in result.text
    assert result.is_error
    assert result.terminated is None


@pytest.mark.parametrize("response_type", [object(), {"type": "nonsense"}])
def test_what_has_no_schema_is_refused_when_the_tool_is_made(response_type: Any) -> None:
    with pytest.raises(ConfigError, match="schema"):
        CreateChatCompletion(response_type)
