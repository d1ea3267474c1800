from __future__ import annotations

import copy
import hashlib
import json
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.fingerprint import canonical_json, file_digest, fingerprint
from core.message import user
from core.plan import Plan, PlanStep

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=5)


def shuffled(value: Any, order: random.Random) -> Any:
    """The same value with the keys of every object in another order."""
    if isinstance(value, dict):
        items: list[tuple[str, Any]] = list(value.items())  # pyright: ignore[reportUnknownArgumentType]
        order.shuffle(items)
        return {key: shuffled(inner, order) for key, inner in items}
    if isinstance(value, list):
        return [shuffled(inner, order) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value


@given(value=VALUES, order=st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: Any, order: random.Random) -> None:
    assert fingerprint(shuffled(value, order)) == fingerprint(value)


@given(value=VALUES)
def test_a_value_that_went_through_json_has_the_same_fingerprint(value: Any) -> None:
    assert fingerprint(json.loads(json.dumps(value))) == fingerprint(value)


@given(one=VALUES, other=VALUES)
def test_fingerprints_are_equal_exactly_when_the_json_is(one: Any, other: Any) -> None:
    same = canonical_json(one) == canonical_json(other)
    assert (fingerprint(one) == fingerprint(other)) is same


@given(value=OBJECTS, data=st.data())
def test_changing_any_one_value_changes_the_fingerprint(
    value: dict[str, Any], data: st.DataObject
) -> None:
    changed = copy.deepcopy(value)
    key = data.draw(st.sampled_from(sorted(value)))
    new = data.draw(VALUES.filter(lambda v: canonical_json(v) != canonical_json(value[key])))
    changed[key] = new
    assert fingerprint(changed) != fingerprint(value)


@given(value=OBJECTS, data=st.data())
def test_removing_a_key_changes_the_fingerprint(value: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    rest = {k: v for k, v in value.items() if k != key}
    assert fingerprint(rest) != fingerprint(value)


@given(items=st.lists(st.text(max_size=4), min_size=2, max_size=6, unique=True))
def test_the_order_of_a_list_matters(items: list[str]) -> None:
    assert fingerprint(items) != fingerprint([*items[1:], items[0]])


@given(one=st.text(max_size=6), other=st.text(max_size=6))
def test_several_values_are_not_run_together(one: str, other: str) -> None:
    assert fingerprint(one, other) != fingerprint(one + other)
    assert fingerprint([one], other) != fingerprint([one, other])


def test_every_field_of_a_plan_step_is_part_of_its_fingerprint() -> None:
    step = PlanStep(id="a", title="A", instructions="do")
    written = step.model_dump(mode="json")
    assert fingerprint(written) == fingerprint(step)
    changed = {fingerprint({**written, name: "changed"}) for name in PlanStep.model_fields}
    assert len(changed - {fingerprint(step)}) == len(PlanStep.model_fields)


def test_a_model_counts_as_its_json_wherever_it_stands() -> None:
    message = user("hello")
    assert fingerprint({"m": [message]}) == fingerprint({"m": [message.model_dump(mode="json")]})


@pytest.mark.parametrize("value", [datetime.now(UTC), {1, 2}, b"bytes", object(), Path("x")])
def test_what_json_does_not_know_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        fingerprint({"x": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(value)


def test_another_process_computes_the_same_digest() -> None:
    plan = Plan(title="T", steps=(PlanStep(id="a", title="A", instructions="do"),))
    code = (
        "from core.fingerprint import fingerprint; from core.plan import Plan; import sys;"
        "print(fingerprint(Plan.model_validate_json(sys.stdin.read()), {'b': 1, 'a': 'é'}))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        input=plan.model_dump_json(),
        cwd=Path(__file__).resolve().parents[2],
        env={"PYTHONHASHSEED": "17"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == fingerprint(plan, {"a": "é", "b": 1})


def test_a_file_is_digested_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\x00content" * 100_000)
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
