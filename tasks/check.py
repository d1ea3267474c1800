"""Whether a plan can run here. Everything wrong with it is found before anything starts."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import SchemaError
from jsonschema.validators import validator_for
from pydantic import ValidationError

from core.base import is_object
from core.errors import AnswerToModelError, BadInputError, ConfigError, PlanError
from core.plan import Plan, PlanStep, check_structure
from core.settings import first_problem
from tasks import templates
from tasks.abilities import route_for
from tasks.services import Services
from tools.invoke import check_arguments


def parse_plan(source: str, place: str) -> Plan:
    """A plan from YAML (or JSON) text.

    Raises:
        PlanError: names ``place``, and the step and field where there is one.
    """
    try:
        values = yaml.safe_load(source)
    except yaml.YAMLError as error:
        raise PlanError(f"{place}: not YAML: {error}") from error
    if not is_object(values):
        raise PlanError(f"{place}: a plan is a mapping with 'title' and 'steps'")
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        raise PlanError(f"{place}: {_where(error, values)}") from error


def _where(error: ValidationError, values: Mapping[str, Any]) -> str:
    """The first problem, with the step's id in place of its index."""
    location = error.errors()[0]["loc"]
    problem = first_problem(error)
    if len(location) >= 2 and location[0] == "steps" and isinstance(location[1], int):
        step = values["steps"][location[1]]
        number = f"number {location[1] + 1}"
        name = step.get("id", number) if is_object(step) else number
        return f"step '{name}': {problem.replace(f'steps.{location[1]}.', '', 1)}"
    return problem


def read_plan(path: Path) -> Plan:
    """Raises BadInputError if there is no such file, PlanError if it is no plan."""
    try:
        return parse_plan(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"plan file {path}: {error}") from error


def with_vars(plan: Plan, values: Mapping[str, Any]) -> Plan:
    """The plan with the caller's variables over its own.

    Raises:
        PlanError: a variable that the plan does not declare.
    """
    for name in values:
        if name not in plan.vars:
            known = ", ".join(plan.vars) or "none"
            raise PlanError(f"variable '{name}': the plan does not declare it (it has: {known})")
    return plan.model_copy(update={"vars": {**plan.vars, **values}})


def check_plan(plan: Plan, services: Services, route: str) -> None:
    """Raises PlanError, naming the step, for anything that would stop the plan from running."""
    check_structure(plan)
    for step in plan.steps:
        _check_names(step, services, route)
        _check_output_schema(step)
        if plan.author == "operator":
            _check_templates(plan, step, services)


def _check_names(step: PlanStep, services: Services, route: str) -> None:
    place = f"step '{step.id}'"
    if step.kind == "agent" and step.agent not in services.agents:
        known = ", ".join(sorted(services.agents))
        raise PlanError(f"{place}: unknown agent '{step.agent}' (known: {known})", step_id=step.id)
    agent = services.agents[step.agent] if step.kind == "agent" else None
    # What an agent's file marks as optional and is not there, is not among its tools.
    own = agent.tools_among(services.tools.names) if agent else ()
    unmatched = [t for t in step.tools or () if not fnmatch.filter(services.tools.names, t)]
    for name in (*((step.tool,) if step.tool else own), *unmatched):
        try:
            services.tools.get(name)
        except AnswerToModelError as error:
            raise PlanError(f"{place}: {error}", step_id=step.id) from error
    if step.kind != "tool":
        try:
            route_for(services.router, agent, step.model, route)
        except ConfigError as error:
            raise PlanError(f"{place}: {error}", step_id=step.id) from error


def _check_output_schema(step: PlanStep) -> None:
    schema = step.output_schema or {}
    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        message = f"step '{step.id}': output_schema: {error.message}"
        raise PlanError(message, step_id=step.id) from error


def _check_templates(plan: Plan, step: PlanStep, services: Services) -> None:
    place = f"step '{step.id}'"
    known = {"steps": frozenset(step.depends_on), "vars": frozenset(plan.vars)}
    templates.check(step.instructions, f"{place}: instructions", known)
    tool = services.tools.get(step.tool) if step.tool else None
    verbatim = tool.verbatim if tool else frozenset[str]()
    for name, value in step.args.items():
        where = f"{place}: args.{name}"
        if name not in verbatim:
            templates.check(value, where, known)
        elif templates.contains_template(str(value)):
            message = f"{where}: values never become code; pass them in 'inputs'"
            raise PlanError(message, step_id=step.id)
    if tool is None:
        return
    if not any(isinstance(v, str) and "{{" in v for v in step.args.values()):
        try:
            check_arguments(tool, step.args)
        except AnswerToModelError as error:
            raise PlanError(f"{place}: args: {error}", step_id=step.id) from error
