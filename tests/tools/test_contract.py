"""What holds for every built-in tool."""

import pytest
from jsonschema import Draft202012Validator

from tools.base import BaseTool, ToolContext
from tools.invoke import invoke
from tools.registry import default_registry
from tools.workspace import StepDirectory


@pytest.fixture(params=default_registry().names)
def tool(request: pytest.FixtureRequest) -> BaseTool:
    return default_registry().get(request.param)


def test_it_is_made_without_arguments_and_its_schema_is_one(tool: BaseTool) -> None:
    made = type(tool)()
    Draft202012Validator.check_schema(made.parameters)
    assert made.parameters["type"] == "object"
    assert made.parameters["additionalProperties"] is False
    assert made.definition.name == tool.name
    assert len(made.description) > 15


def test_it_names_only_arguments_it_has(tool: BaseTool) -> None:
    properties = tool.parameters["properties"]
    assert set(tool.parameters["required"]) <= set(properties)
    assert tool.verbatim <= set(properties)


def test_only_what_can_be_repeated_is_run_again_unasked(tool: BaseTool) -> None:
    repeatable = tool.annotations.read_only or tool.annotations.idempotent
    sandboxed = tool.name in ("python_execute", "bash", "visualization_preparation")
    assert tool.on_unknown != "rerun" or repeatable or sandboxed
    assert tool.annotations.untrusted_output or not tool.annotations.network


async def test_wrong_arguments_are_answered_before_anything_runs(
    tool: BaseTool, directory: StepDirectory
) -> None:
    result = await invoke(tool.bind(ToolContext(directory)), {"no_such_argument": 1})
    assert result.is_error
    assert "no_such_argument" in result.text
    assert tool.name in result.text
    assert directory.list_files() == ()
