from __future__ import annotations

import copy
import pickle
import re

import pytest

import core.errors
from core.errors import (
    ConfigError,
    ManusError,
    PlanError,
    RateLimitedError,
    RetryableError,
    StepFailedError,
)


def all_below(kind: type[ManusError]) -> list[type[ManusError]]:
    children = [c for c in kind.__subclasses__() if c.__module__ == "core.errors"]
    return [kind, *(below for child in children for below in all_below(child))]


EVERY_CLASS = all_below(ManusError)


def drawn_tree() -> dict[str, str | None]:
    """Each class of the docstring's tree with the class it is drawn under."""
    parents: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in (core.errors.__doc__ or "").splitlines():
        found = re.match(r"([│ ]*(?:[├└]── )?)([A-Z]\w+Error)\b", line)
        if not found:
            continue
        depth, name = len(found[1]), found[2]
        path = [(d, n) for d, n in path if d < depth]
        parents[name] = path[-1][1] if path else None
        path.append((depth, name))
    return parents


def test_the_drawn_tree_is_the_real_one() -> None:
    real = {c.__name__: None if c is ManusError else (c.__bases__[0].__name__) for c in EVERY_CLASS}
    assert drawn_tree() == real


@pytest.mark.parametrize("kind", EVERY_CLASS)
def test_every_error_survives_pickling_with_its_details(kind: type[ManusError]) -> None:
    error = kind("what went wrong", step_id="a", retry_after_seconds=2.5, blocked=True)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == twin.message == "what went wrong"
        assert twin.details == error.details


@pytest.mark.parametrize("kind", EVERY_CLASS)
def test_every_error_says_when_it_is_raised(kind: type[ManusError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != kind.__bases__[0].__doc__


def test_details_have_typed_names_where_callers_read_them() -> None:
    assert RateLimitedError("slow down", retry_after_seconds=3.0).retry_after_seconds == 3.0
    assert RetryableError("no idea").retry_after_seconds is None
    assert PlanError("bad", step_id="a").step_id == "a"
    assert StepFailedError("no", blocked=True).blocked
    assert not StepFailedError("no").blocked
    assert issubclass(ConfigError, core.errors.BadInputError)
