"""Holding a Vega-Lite specification against the language's own schema and our rules.

The renderer answers a wrong specification with a stack of JavaScript, or draws nothing; this names
the place. What could fetch, or run in the reader's browser, is refused.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.base import JsonObject, is_object
from core.errors import InvalidArgumentsError

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

MAX_SPEC_CHARACTERS = 100_000
MAX_SIZE_PIXELS = 4000
SCHEMA_URL = "https://vega.github.io/schema/vega-lite/v6.json"
_SHOWN_PROBLEMS = 3
_FORBIDDEN = {
    "url": "data must be inline, and images are not drawn",
    "href": "charts have no links",
    "usermeta": "a chart cannot configure its reader's browser",
}
_VIEWS = (
    ("layer", "TopLevelLayerSpec"),
    ("hconcat", "TopLevelHConcatSpec"),
    ("vconcat", "TopLevelVConcatSpec"),
    ("concat", "TopLevelConcatSpec"),
    ("repeat", "TopLevelRepeatSpec"),
    ("facet", "TopLevelFacetSpec"),
)


def check_spec(spec: JsonObject, fields: Iterable[str] | None = None) -> None:
    """``fields`` are the columns of the data; without, fields are not looked at.

    Raises:
        InvalidArgumentsError: names each place and what is wrong there.
    """
    bare = without_rows(spec)
    if len(json.dumps(bare)) > MAX_SPEC_CHARACTERS:
        raise InvalidArgumentsError(f"the specification exceeds {MAX_SPEC_CHARACTERS} characters")
    problems = [*_forbidden(bare, ""), *_oversized(bare)] or _schema_problems(bare)
    if not problems and fields is not None:
        problems = _unknown_fields(bare, set(fields))
    if problems:
        shown = "; ".join(dict.fromkeys(problems[:_SHOWN_PROBLEMS]))
        raise InvalidArgumentsError(f"not a chart that can be drawn: {shown}")


def has_data(spec: JsonObject) -> bool:
    """Whether data of some kind are in it."""
    return any(key in ("data", "datasets") for _, key, _ in _parts(spec, ""))


def without_rows(spec: Any) -> Any:
    """The specification with every inline table emptied: rows are content, whatever they hold."""
    if isinstance(spec, list):
        return [without_rows(part) for part in spec]  # pyright: ignore[reportUnknownVariableType]
    if not is_object(spec):
        return spec
    return {key: _bare(key, value) for key, value in spec.items()}


def _bare(key: str, value: Any) -> Any:
    if key == "data" and is_object(value) and "values" in value:
        return {**value, "values": []}
    if key == "datasets" and is_object(value):
        return {name: list[Any]() for name in value}
    return without_rows(value)


def _parts(spec: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    """Every key below, with its place and value."""
    if isinstance(spec, list):
        for index, part in enumerate(spec):  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
            yield from _parts(part, f"{place}{index}.")
    elif is_object(spec):
        for key, value in spec.items():
            yield f"{place}{key}", key, value
            yield from _parts(value, f"{place}{key}.")


def _forbidden(spec: JsonObject, place: str) -> list[str]:
    found: list[str] = []
    for where, key, value in _parts(spec, place):
        if key in _FORBIDDEN:
            found.append(f"'{where}': {_FORBIDDEN[key]}")
        elif key in ("mark", "type") and value == "image":
            found.append(f"'{where}': images are not drawn")
    return found


def _oversized(spec: JsonObject) -> list[str]:
    return [
        f"'{where}': at most {MAX_SIZE_PIXELS}"
        for where, key, value in _parts(spec, "")
        if key in ("width", "height") and isinstance(value, int | float) and value > MAX_SIZE_PIXELS
    ]


def _schema_problems(spec: JsonObject) -> list[str]:
    view = next((kind for key, kind in _VIEWS if key in spec), "TopLevelUnitSpec")
    errors: Any = _validator(view).iter_errors({"data": {"values": []}, **spec})  # pyright: ignore[reportUnknownMemberType]
    return [_told(error) for error in errors]


@functools.cache
def _schema() -> JsonObject:
    """Found without importing altair, which takes a second."""
    found = importlib.util.find_spec("altair")
    assert found
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0])
    file = folder / "vegalite" / "v6" / "schema" / "vega-lite-schema.json"
    return json.loads(file.read_text(encoding="utf-8"))


@functools.cache
def _validator(view: str) -> Validator:
    from jsonschema import Draft7Validator

    whole = _schema()
    schema = {"$ref": f"#/definitions/{view}", "definitions": whole["definitions"]}
    return Draft7Validator(schema)


def _told(error: ValidationError) -> str:
    """The deepest problem below an error: of many alternatives, the ones that came closest."""
    leaves = list(_leaves(error))
    deepest = max(len(leaf.absolute_path) for leaf in leaves)
    closest = [leaf for leaf in leaves if len(leaf.absolute_path) == deepest]
    place = ".".join(map(str, closest[0].absolute_path)) or "the specification"
    allowed = [str(value) for leaf in closest for value in _allowed(leaf)]
    if allowed:
        wrong = json.dumps(closest[0].instance, ensure_ascii=False)[:80]
        return f"'{place}': {wrong} is none of {', '.join(dict.fromkeys(allowed))}"[:700]
    unexpected = [leaf for leaf in closest if leaf.validator == "additionalProperties"]
    return f"'{place}': {min((leaf.message for leaf in unexpected or closest), key=len)[:300]}"


def _allowed(leaf: ValidationError) -> list[Any]:
    value: Any = leaf.validator_value
    match leaf.validator:
        case "enum":
            return value
        case "const":
            return [value]
        case _:
            return []


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    if not error.context:
        yield error
    for below in error.context or ():
        yield from _leaves(below)


def _unknown_fields(spec: JsonObject, fields: set[str]) -> list[str]:
    """Fields that neither the data have nor a transform makes."""
    known = set(fields)
    for _, key, value in _parts(spec, ""):
        if key in ("pivot", "lookup"):
            return []  # their outputs are named by the data
        if key in ("as", "fold", "window", "param", "repeat"):
            known |= _texts(value)
    if not known - fields and "fold" in json.dumps(spec):
        known |= {"key", "value"}
    names = ", ".join(sorted(fields))
    return [
        f"'{where}': the data have no field {value!r}; there are: {names}"
        for where, key, value in _parts(spec, "")
        if key == "field" and isinstance(value, str) and not _is_known(value, known)
    ]


def _is_known(field: str, known: set[str]) -> bool:
    return field in known or field.replace("\\", "") in known


def _texts(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, list):
        return {part for part in value if isinstance(part, str)}  # pyright: ignore[reportUnknownVariableType]
    return set()
