"""A stranger's JSON schema, made safe to validate by and to show to a model."""

from __future__ import annotations

import json
from typing import Any, cast

from core.base import JsonObject, is_object
from tools.mcp.naming import visible

MAX_SCHEMA_CHARS = 60_000
_MAX_DEPTH = 40
_BY_NAME = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_DATA = frozenset({"enum", "const", "default", "examples", "required"})
_UNUSABLE = frozenset({"$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"})
_DROPPED = frozenset({"$schema", "$comment", "patternProperties"})


class UnusableSchemaError(ValueError):
    """The schema cannot be used; the message says why."""


def safe_schema(schema: JsonObject) -> JsonObject:
    """A copy without what could reach out or stall when arguments are checked against it.

    Regular expressions (one can take for ever to match) are moved into the description, for the
    model and the server to heed. References must stay inside the schema.

    Raises:
        UnusableSchemaError: not an object's schema, too large or deep, or it refers elsewhere.
    """
    from jsonschema import Draft202012Validator, SchemaError

    if len(json.dumps(schema)) > MAX_SCHEMA_CHARS:
        raise UnusableSchemaError(f"its schema is longer than {MAX_SCHEMA_CHARS} characters")
    if schema.get("type", "object") != "object":
        raise UnusableSchemaError("its schema is not that of an object")
    safe = {"type": "object", **_cleaned(schema, schema, 0)}
    try:
        Draft202012Validator.check_schema(safe)
    except SchemaError as error:
        raise UnusableSchemaError(f"its schema is not valid: {error.message[:200]}") from error
    return safe


def _cleaned(schema: Any, root: JsonObject, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise UnusableSchemaError(f"its schema is nested deeper than {_MAX_DEPTH}")
    if isinstance(schema, list):
        return [_cleaned(item, root, depth + 1) for item in cast(list[Any], schema)]
    if not is_object(schema):
        return schema
    cleaned: JsonObject = {}
    for key, value in schema.items():
        if key == "$ref":
            _check_reference(value, root)
        if key in _BY_NAME and is_object(value):
            cleaned[key] = {n: _cleaned(v, root, depth + 1) for n, v in value.items()}
        elif key in ("description", "title") and isinstance(value, str):
            cleaned[key] = visible(value)
        elif key in _UNUSABLE:
            raise UnusableSchemaError(f"its schema uses '{key}'")
        elif key not in _DROPPED and key != "pattern":
            cleaned[key] = value if key in _DATA else _cleaned(value, root, depth + 1)
    return _with_pattern_described(cleaned, schema)


def _with_pattern_described(cleaned: JsonObject, schema: JsonObject) -> JsonObject:
    if not isinstance(schema.get("pattern"), str):
        return cleaned
    said = [cleaned.get("description", ""), f"Must match {visible(schema['pattern'][:200])}"]
    said = [part for part in said if isinstance(part, str)]
    return {**cleaned, "description": " ".join(part for part in said if part)}


def _check_reference(reference: Any, root: JsonObject) -> None:
    if not isinstance(reference, str) or not reference.startswith("#") or "%" in reference:
        raise UnusableSchemaError(f"its schema refers elsewhere: {str(reference)[:100]}")
    place: Any = root
    is_named = False
    for part in [p for p in reference.removeprefix("#").split("/") if p]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not is_object(place) or name not in place:
            raise UnusableSchemaError(f"its schema has no {reference[:100]}")
        if not is_named and name in _DATA | _DROPPED:
            # What stands there was not cleaned: it is no schema until it is referred to.
            raise UnusableSchemaError(f"its schema refers to what is none: {reference[:100]}")
        is_named = not is_named and name in _BY_NAME
        place = place[name]
