from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import PlanError
from core.plan import DATA_DIRECTORY, MAX_STEPS, Plan, PlanStep, check_structure, topological_order


def step(step_id: str, *depends_on: str) -> PlanStep:
    return PlanStep(id=step_id, title=step_id, instructions="do", depends_on=depends_on)


def plan(*steps: PlanStep) -> Plan:
    return Plan(title="A plan", steps=steps)


@st.composite
def dags(draw: st.DrawFn) -> Plan:
    """Steps that depend on any of the steps before them, then written in any order."""
    count = draw(st.integers(1, 12))
    ids = [f"s{n}" for n in range(count)]
    steps = [
        step(i, *draw(st.lists(st.sampled_from(ids[:n]), unique=True, max_size=4)) if n else ())
        for n, i in enumerate(ids)
    ]
    return plan(*draw(st.permutations(steps)))


def chain_below(of: Plan, first: str) -> set[str]:
    """Every step that needs ``first``, however far down."""
    below: set[str] = set()
    waiting = [first]
    dependants = of.dependants()
    while waiting:
        for dependant in dependants[waiting.pop()]:
            if dependant not in below:
                below.add(dependant)
                waiting.append(dependant)
    return below


def with_dependency(of: Plan, step_id: str, dependency: str) -> Plan:
    changed = of.step(step_id).model_copy(
        update={"depends_on": (*of.step(step_id).depends_on, dependency)}
    )
    return of.model_copy(
        update={"steps": tuple(changed if s.id == step_id else s for s in of.steps)}
    )


@given(dag=dags())
def test_every_dag_is_accepted_and_ordered_by_its_dependencies(dag: Plan) -> None:
    check_structure(dag)
    order = topological_order(dag)
    assert sorted(order) == sorted(s.id for s in dag.steps)
    place = {step_id: n for n, step_id in enumerate(order)}
    assert all(place[d] < place[s.id] for s in dag.steps for d in s.depends_on)


@given(dag=dags(), chance=st.randoms(use_true_random=False))
def test_any_edge_back_is_refused_with_a_cycle_that_is_really_there(
    dag: Plan, chance: random.Random
) -> None:
    start = chance.choice([s.id for s in dag.steps])
    end = chance.choice(sorted({start, *chain_below(dag, start)}))
    cyclic = with_dependency(dag, start, end)
    with pytest.raises(PlanError) as caught:
        check_structure(cyclic)
    walked = caught.value.message.partition("cycle ")[2].split(" -> ")
    assert walked[0] == walked[-1] == caught.value.step_id
    assert len(set(walked)) == len(walked) - 1
    assert all(b in cyclic.step(a).depends_on for a, b in pairwise(walked))


@given(dag=dags(), chance=st.randoms(use_true_random=False))
def test_a_dependency_on_no_step_is_named_with_its_step(dag: Plan, chance: random.Random) -> None:
    victim = chance.choice(dag.steps).id
    with pytest.raises(PlanError, match=f"step '{victim}': depends on 'ghost'") as caught:
        check_structure(with_dependency(dag, victim, "ghost"))
    assert caught.value.step_id == victim


@given(dag=dags(), chance=st.randoms(use_true_random=False))
def test_a_repeated_id_is_named_with_how_often(dag: Plan, chance: random.Random) -> None:
    twin = chance.choice(dag.steps)
    doubled = dag.model_copy(update={"steps": (*dag.steps, twin)})
    with pytest.raises(PlanError, match=f"step '{twin.id}': this id is used 2 times"):
        check_structure(doubled)


def test_independent_steps_keep_the_order_of_the_plan() -> None:
    assert topological_order(plan(step("c"), step("a"), step("b", "c"))) == ("c", "a", "b")


def test_the_reserved_id_is_refused() -> None:
    with pytest.raises(PlanError, match="reserved"):
        check_structure(plan(step(DATA_DIRECTORY)))


def test_a_step_that_needs_itself_is_a_cycle_of_one() -> None:
    with pytest.raises(PlanError, match="cycle a -> a"):
        check_structure(plan(step("a", "a")))


def test_the_largest_plan_is_checked_and_a_larger_one_refused() -> None:
    chain = [step("s0"), *(step(f"s{n}", f"s{n - 1}") for n in range(1, MAX_STEPS))]
    check_structure(plan(*reversed(chain)))
    with pytest.raises(ValidationError, match=f"at most {MAX_STEPS}"):
        plan(*chain, step("one-too-many"))


def test_a_plan_knows_its_steps_and_who_needs_them() -> None:
    three = plan(step("a"), step("b", "a"), step("c", "a", "b"))
    assert three.step("b").depends_on == ("a",)
    assert three.dependants() == {"a": ("b", "c"), "b": ("c",), "c": ()}
    with pytest.raises(KeyError):
        three.step("ghost")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kind": "tool"}, "needs 'tool'"),
        ({"kind": "agent", "instructions": "do", "tool": "bash"}, "are for kind 'tool'"),
        ({"kind": "agent", "instructions": "  "}, "needs 'instructions'"),
        ({"kind": "tool", "tool": "x", "output_schema": {"type": "object"}}, "for kind"),
        ({"instructions": "do", "id": "Not A Slug"}, "pattern"),
        ({"instructions": "do", "color": "red"}, "Extra inputs"),
        ({"instructions": "do", "retries": 11}, "less than or equal to 10"),
    ],
)
def test_a_step_that_does_not_fit_its_kind_is_refused(
    fields: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        PlanStep.model_validate({"id": "a", "title": "A", **fields})
