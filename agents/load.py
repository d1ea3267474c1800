"""Reads agents from their Markdown files: YAML front matter, then the prompt."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from core.agent import AgentSpec
from core.errors import ConfigError
from core.settings import first_problem

BUILT_IN = Path(__file__).resolve().parent


def load_agents(*directories: Path) -> dict[str, AgentSpec]:
    """The agents of the product and of ``directories``, by name; a later directory wins.

    The name is the file's. Directories that do not exist are passed over.

    Raises:
        ConfigError: names the file and the key.
    """
    files = [f for d in (BUILT_IN, *directories) if d.is_dir() for f in sorted(d.glob("*.md"))]
    return {file.stem: parse_agent(file) for file in files}


def parse_agent(file: Path) -> AgentSpec:
    """Raises ConfigError, naming the file, where it is not an agent."""
    text = file.read_text(encoding="utf-8")
    opening, separator, rest = text.partition("---\n")
    front, closing, body = rest.partition("\n---\n")
    if opening or not separator or not closing:
        raise ConfigError(f"{file}: must begin with front matter between two lines of '---'")
    try:
        values = yaml.safe_load(front)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: the front matter must be a mapping")
    try:
        spec = AgentSpec.model_validate({**values, "name": file.stem, "prompt": body.strip()})
    except ValidationError as error:
        raise ConfigError(f"{file}: {first_problem(error)}") from error
    _check_schema(spec, file)
    return spec


def _check_schema(spec: AgentSpec, file: Path) -> None:
    if spec.output_schema is None:
        return
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(spec.output_schema).check_schema(spec.output_schema)
    except SchemaError as error:
        raise ConfigError(f"{file}: output_schema: {error.message}") from error
