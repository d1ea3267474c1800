"""Tools of one's own: named in the configuration, and written as the documentation shows."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.settings import PROJECT_ROOT, load_settings
from tools.base import ToolContext
from tools.invoke import invoke
from tools.registry import ToolRegistry, default_registry
from tools.workspace import StepDirectory

PAGE = PROJECT_ROOT / "docs" / "extending.md"

# As users of OpenManus know it; only the import is another.
CHINESE = '''\
from tools.base import BaseTool, ToolResult


def do_something(param1):
    return {"长度": len(param1)}


class MyCustomTool(BaseTool):
    name: str = "my_custom_tool"
    description: str = "我的自定义工具描述"
    parameters: dict = {
        "type": "object",
        "properties": {
            "param1": {
                "type": "string",
                "description": "参数1的描述",
            },
        },
        "required": ["param1"],
    }
    
    async def execute(self, param1: str) -> ToolResult:
        """执行工具逻辑"""
        try:
            # 执行操作
            result = do_something(param1)
            return self.success_response(result)
        except Exception as e:
            return self.fail_response(str(e))
'''

Configured = Callable[[str, str], ToolRegistry]


def block(language: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index("## A tool\n") :]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def configured(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configured]:
    """The registry where this module is written and the configuration is this."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def registry(module: str, configuration: str) -> ToolRegistry:
        (tmp_path / "word_tools.py").write_text(module, encoding="utf-8")
        home.mkdir()
        (home / ".env").touch()
        (home / "manus.toml").write_text(configuration, encoding="utf-8")
        return default_registry(load_settings())

    yield registry
    sys.modules.pop("word_tools", None)


async def test_the_tool_of_the_documentation_is_there_once_its_module_is_named(
    configured: Configured, directory: StepDirectory
) -> None:
    registry = configured(block("python"), block("toml"))
    assert set(registry.names) == {*default_registry().names, "my_custom_tool"}
    tool = registry.get("my_custom_tool").bind(ToolContext(directory))
    result = await invoke(tool, {"param1": "one two three"})
    assert (result.data, result.error) == ({"words": 3}, None)
    assert "'param1' is a required property" in (await invoke(tool, {})).text


async def test_a_tool_written_for_openmanus_works_but_for_its_import(
    configured: Configured,
) -> None:
    tool = configured(CHINESE, block("toml")).get("my_custom_tool")
    assert tool.definition.description == "我的自定义工具描述"
    result = await invoke(tool, {"param1": "四个汉字"})
    assert result.data == {"长度": 4}
    assert result.output == '{\n  "长度": 4\n}'


async def test_what_such_a_tool_raises_is_its_answer_to_the_model(configured: Configured) -> None:
    broken = CHINESE.replace('return {"长度": len(param1)}', 'raise OSError("no disk")')
    tool = configured(broken, block("toml")).get("my_custom_tool")
    assert (await invoke(tool, {"param1": "x"})).error == "no disk"


def test_neither_what_a_module_imports_nor_an_abstract_base_counts(
    configured: Configured,
) -> None:
    more = "\nfrom tools.bash import Bash\n\nclass Base(BaseTool):\n    pass\n"
    registry = configured(CHINESE + more, block("toml"))
    assert set(registry.names) == {*default_registry().names, "my_custom_tool"}


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("import nowhere_to_be_found", "cannot be imported: ModuleNotFoundError: No module"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("from tools.base import BaseTool", "has no class that derives from"),
        (CHINESE.replace('"my_custom_tool"', '"bash"'), "a tool named 'bash' is registered"),
        (CHINESE.replace("    name: str =", "    called ="), "MyCustomTool has no name"),
        (
            CHINESE + "\n    def __init__(self, depth: int) -> None:\n        ...\n",
            "MyCustomTool cannot be made without arguments: TypeError",
        ),
    ],
)
def test_a_module_that_brings_no_usable_tool_is_named(
    configured: Configured, module: str, told: str
) -> None:
    with pytest.raises(ConfigError, match="modules: 'word_tools'") as caught:
        configured(module, block("toml"))
    assert told in str(caught.value)


def test_a_module_is_named_as_in_an_import(configured: Configured) -> None:
    assert tomllib.loads(block("toml")) == {"tools": {"modules": ["word_tools"]}}
    with pytest.raises(ConfigError, match=r"tools\.modules\.0"):
        configured("", '[tools]\nmodules = ["word_tools.py/.."]')
