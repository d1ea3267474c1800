"""Templates of operator-written plans: ``{{ steps.a.output.rows }}`` and ``{{ vars.x }}``.

Rendered in Jinja's sandbox; an undefined name is an error, found before anything starts where the
plan alone can tell. A value that is one whole ``{{ … }}`` keeps its type, so that a list stays a
list; everything else becomes text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import SandboxedEnvironment

from core.errors import PlanError

_WHOLE = re.compile(r"^\s*\{\{(?P<expression>(?:(?!\}\}|\{\{).)+)\}\}\s*$", re.DOTALL)
_LOOKS_LIKE_ONE = re.compile(r"\{\{-?\s*(steps|vars)\b")
_NAMES = ("steps", "vars")


def environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


def contains_template(text: str) -> bool:
    """Whether ``text`` refers to ``steps`` or ``vars`` in double braces."""
    return bool(_LOOKS_LIKE_ONE.search(text))


def check(value: Any, place: str, known: Mapping[str, frozenset[str]]) -> None:
    """Finds what can be found without running.

    Args:
        value: text, or lists and dicts with text in them.
        place: where the value stands, for the error.
        known: which names exist below ``steps`` and ``vars``.

    Raises:
        PlanError: bad syntax or an undefined name, with ``place``.
    """
    for text, where in _texts(value, place):
        try:
            tree = environment().parse(text)
        except TemplateError as error:
            raise PlanError(f"{where}: {error}") from error
        local = _assigned(tree)
        for name in tree.find_all(nodes.Name):
            if name.ctx == "load" and name.name not in (*_NAMES, *local):
                raise PlanError(f"{where}: '{name.name}' is undefined; use 'steps' or 'vars'")
        _check_members(tree, where, known)


def _assigned(tree: nodes.Template) -> frozenset[str]:
    """Names the template itself defines (loops, set) and Jinja's own globals."""
    stored = {n.name for n in tree.find_all(nodes.Name) if n.ctx != "load"}
    return frozenset(stored | {"loop", "range", "dict", "true", "false", "none"})


def _check_members(tree: nodes.Template, where: str, known: Mapping[str, frozenset[str]]) -> None:
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        owner = node.node
        if not isinstance(owner, nodes.Name) or owner.name not in known:
            continue
        member = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)
        if member is not None and member not in known[owner.name]:
            hint = " (is it in depends_on?)" if owner.name == "steps" else ""
            raise PlanError(f"{where}: '{owner.name}.{member}' is undefined{hint}")


def _constant(node: nodes.Expr) -> str | None:
    return str(node.value) if isinstance(node, nodes.Const) else None


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield value, place
        case dict():
            for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
                yield from _texts(item, f"{place}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                yield from _texts(item, f"{place}[{index}]")
        case _:
            return


def render(value: Any, place: str, names: Mapping[str, Any]) -> Any:
    """``value`` with every text in it rendered; dict keys stay as they are.

    Raises:
        PlanError: an undefined name or a failing expression, with ``place``.
    """
    match value:
        case str():
            return _render_text(value, place, names)
        case dict():
            return {k: render(v, f"{place}.{k}", names) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list() | tuple():
            return [render(v, f"{place}[{i}]", names) for i, v in enumerate(value)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case _:
            return value


def _render_text(text: str, place: str, names: Mapping[str, Any]) -> Any:
    if "{" not in text:
        return text
    try:
        if whole := _WHOLE.match(text):
            compiled = environment().compile_expression(
                whole["expression"], undefined_to_none=False
            )
            value = compiled(**names)
            if isinstance(value, StrictUndefined):
                str(value)  # raises, and says what is undefined
            return value
        return environment().from_string(text).render(**names)
    except TemplateError as error:
        raise PlanError(f"{place}: {error}") from error
