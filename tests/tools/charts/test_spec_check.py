from typing import Any

import pytest

from core.errors import InvalidArgumentsError
from tools.charts.spec_check import check_spec

GOOD: dict[str, Any] = {
    "data": {"values": [{"url": "any content", "a": 1}]},
    "mark": "bar",
    "encoding": {"x": {"field": "a", "type": "nominal"}},
}


@pytest.mark.parametrize(
    "spec",
    [
        GOOD,
        {**GOOD, "data": {"name": "d"}, "datasets": {"d": [{"href": "x"}]}},
        {"layer": [{"mark": "line", "encoding": GOOD["encoding"]}]},
        {"hconcat": [GOOD]},
        {**GOOD, "transform": [{"calculate": "datum.a * 2", "as": "twice"}]},
    ],
)
def test_a_chart_is_a_chart(spec: dict[str, Any]) -> None:
    check_spec(spec, ["a"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mark": "barz"}, r"'mark': \"barz\" is none of .*\bbar\b"),
        ({"encoding": {"x": {"field": "a", "type": "nominl"}}}, "'encoding.x.type'.*nominal"),
        ({"encoding": {"xx": {"field": "a"}}}, "'encoding'.*'xx' was unexpected"),
        ({"encoding": {"y": {"aggregate": "summ"}}}, "'encoding.y.aggregate'.*\\bsum\\b"),
        ({"widht": 3}, "'widht' was unexpected"),
        ({"title": {"txt": 3}}, "'title'"),
        ({"encoding": {"x": {"field": "b"}}}, "no field 'b'; there are: a"),
        ({"width": 100_000}, "'width': at most"),
        ({"data": {"url": "http://127.0.0.1/x.csv"}}, "'data.url': data must be inline"),
        ({"mark": "image"}, "images are not drawn"),
        ({"mark": {"type": "image", "url": "file:///etc/passwd"}}, "'mark.url'"),
        ({"encoding": {"href": {"value": "javascript:x"}}}, "'encoding.href'"),
        ({"usermeta": {"embedOptions": {"editorUrl": "//x"}}}, "'usermeta'"),
        ({"transform": [{"lookup": "a", "from": {"data": {"url": "x"}, "key": "a"}}]}, "from.data"),
        ({"description": "x" * 200_000}, "exceeds"),
    ],
)
def test_what_cannot_or_must_not_be_drawn_is_told_with_its_place(
    change: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidArgumentsError, match=told):
        check_spec({**GOOD, **change}, ["a"])


def test_the_place_within_a_layer_is_named() -> None:
    with pytest.raises(InvalidArgumentsError, match=r"'layer.1.mark': \"linee\" is none of"):
        check_spec({"layer": [{"mark": "bar"}, {"mark": "linee"}]})
