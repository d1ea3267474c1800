from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from core.plan import Plan, check_structure
from tasks.create_plan import chained, create_plan_tool


def test_a_small_models_list_becomes_a_chain_that_can_run() -> None:
    listed: dict[str, Any] = {
        "title": "T",
        "steps": [{"title": t, "instructions": "do"} for t in "abc"],
    }
    jsonschema.validate(listed, create_plan_tool(["manus"], small_model=True).parameters)
    plan = Plan.model_validate(chained(listed))
    check_structure(plan)
    assert [s.depends_on for s in plan.steps] == [(), ("step-1",), ("step-2",)]


@pytest.mark.parametrize(("name", "value"), [("agent", "nobody"), ("id", "Step One")])
def test_what_a_plan_may_not_say_is_in_the_schema(name: str, value: str) -> None:
    step: dict[str, Any] = {
        "id": "a",
        "title": "A",
        "instructions": "x",
        "agent": "manus",
        "depends_on": [],
    }
    schema = create_plan_tool(["manus"], small_model=False).parameters
    jsonschema.validate({"title": "T", "steps": [step]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"title": "T", "steps": [{**step, name: value}]}, schema)
