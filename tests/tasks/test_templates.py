from __future__ import annotations

import pytest

from core.errors import PlanError
from tasks import templates

KNOWN = {"steps": frozenset({"a"}), "vars": frozenset({"x"})}
NAMES = {"steps": {"a": {"output": {"rows": [1, 2]}, "summary": "done"}}, "vars": {"x": 3}}


def test_a_whole_expression_keeps_its_type() -> None:
    rendered = templates.render({"rows": "{{ steps.a.output.rows }}"}, "args", NAMES)
    assert rendered == {"rows": [1, 2]}


def test_text_around_an_expression_makes_text() -> None:
    assert templates.render("x is {{ vars.x }}", "args", NAMES) == "x is 3"


def test_two_expressions_are_text_and_not_one_whole() -> None:
    assert templates.render("{{ vars.x }}{{ vars.x }}", "args", NAMES) == "33"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{{ vars.y }}", "vars.y"),
        ("{{ vars['y'] }}", "vars.y"),
        ("{{ steps.b.output }}", "steps.b"),
        ("{{ other }}", "other"),
        ("{% for r in steps.b.output %}{{ r }}{% endfor %}", "steps.b"),
        ("{{ vars.x", "unexpected end"),
    ],
)
def test_what_the_plan_does_not_define_is_found_before_running(text: str, named: str) -> None:
    with pytest.raises(PlanError, match=r"step 'b': args\[0\]\.q") as caught:
        templates.check([{"q": text}], "step 'b': args", KNOWN)
    assert named in str(caught.value)


def test_a_loop_variable_is_defined() -> None:
    templates.check("{% for r in steps.a.output %}{{ r }}{% endfor %}", "here", KNOWN)


@pytest.mark.parametrize("before", ["", "n: "])
def test_what_only_the_values_can_tell_is_an_error_when_rendering(before: str) -> None:
    with pytest.raises(PlanError, match=r"step 'b'.*nothing"):
        templates.render(before + "{{ steps.a.output.nothing }}", "step 'b'", NAMES)


def test_templates_cannot_reach_python_objects() -> None:
    with pytest.raises(PlanError):
        templates.render("{{ vars.x.__class__.__mro__ }}", "here", NAMES)
