"""The charts that rules choose from, as Vega-Lite over data that are aggregated already."""

from __future__ import annotations

from core.base import JsonObject
from tools.charts.model import ColumnProfile, TimeUnit

WIDTH, HEIGHT = 640, 360
COUNT = "count"
_HORIZONTAL_FROM_CATEGORIES = 7
_HORIZONTAL_FROM_CHARACTERS = 10
_FORMATS: dict[TimeUnit, str] = {
    "year": "%Y",
    "quarter": "%Y Q%q",
    "month": "%b %Y",
    "day": "%Y-%m-%d",
    "hour": "%m-%d %H:%M",
    "second": "%m-%d %H:%M",
}
_ORDERS = (
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
)


def line(
    time: ColumnProfile,
    measure: ColumnProfile | None,
    series: ColumnProfile | None,
    unit: TimeUnit | None,
) -> JsonObject:
    axis: JsonObject = {"title": time.title}
    if unit:
        axis |= {"format": _FORMATS[unit], "labelOverlap": True}
    kind = "temporal" if time.kind == "temporal" else "ordinal"
    encoding = {"x": {"field": time.field, "type": kind, "axis": axis}, "y": _quantity(measure)}
    mark: JsonObject = {"type": "line", "point": time.distinct <= 60}
    return _spec(mark, encoding, series)


def bar(
    category: ColumnProfile,
    measure: ColumnProfile | None,
    series: ColumnProfile | None,
    *,
    stacked: bool = True,
) -> JsonObject:
    """Largest first, months and weekdays in their own order; lying down where labels are long."""
    lying = (
        category.distinct >= _HORIZONTAL_FROM_CATEGORIES
        or category.longest_label > _HORIZONTAL_FROM_CHARACTERS
    )
    sort = _own_order(category) or ("-x" if lying else "-y")
    name: JsonObject = {**_name(category), "sort": sort}
    if not lying:
        name["axis"] = {"labelAngle": 0}
    quantity = _quantity(measure)
    quantity["stack"] = "zero" if stacked else None
    encoding = {"y": name, "x": quantity} if lying else {"x": name, "y": quantity}
    if series and not stacked:
        encoding["yOffset" if lying else "xOffset"] = {"field": series.field, "type": "nominal"}
    spec = _spec({"type": "bar"}, encoding, series)
    if lying:
        spec["height"] = {"step": 22}
    return spec


def pie(category: ColumnProfile, measure: ColumnProfile) -> JsonObject:
    order: JsonObject = {"field": measure.field, "type": "quantitative", "sort": "descending"}
    theta = {**_quantity(measure), "stack": True}
    encoding = {"theta": theta, "color": {**_name(category), "sort": None}, "order": order}
    return _spec({"type": "arc", "innerRadius": 70}, encoding, None)


def scatter(x: ColumnProfile, y: ColumnProfile, series: ColumnProfile | None) -> JsonObject:
    encoding: JsonObject = {}
    for axis, column in (("x", x), ("y", y)):
        encoding[axis] = {**_quantity(column), "scale": {"zero": False}}
    return _spec({"type": "point", "filled": True, "opacity": 0.6}, encoding, series)


def histogram(measure: ColumnProfile) -> JsonObject:
    encoding: JsonObject = {
        "x": {"field": "from", "type": "quantitative", "bin": "binned", "title": measure.title},
        "x2": {"field": "to"},
        "y": _quantity(None),
    }
    return _spec({"type": "bar"}, encoding, None)


def heatmap(row: ColumnProfile, column: ColumnProfile) -> JsonObject:
    encoding = {"y": _name(row), "x": _name(column), "color": _quantity(None)}
    return _spec({"type": "rect"}, encoding, None)


def _spec(mark: JsonObject, encoding: JsonObject, series: ColumnProfile | None) -> JsonObject:
    if series:
        encoding = {**encoding, "color": _name(series)}
    mark = {**mark, "tooltip": True}
    return {"width": WIDTH, "height": HEIGHT, "mark": mark, "encoding": encoding}


def _name(column: ColumnProfile) -> JsonObject:
    return {"field": column.field, "type": "nominal", "title": column.title}


def _quantity(column: ColumnProfile | None) -> JsonObject:
    if column is None:
        return {"field": COUNT, "type": "quantitative", "title": COUNT}
    return {"field": column.field, "type": "quantitative", "title": column.title}


def _own_order(column: ColumnProfile) -> list[str] | None:
    """The labels in the calendar's order, where they are months or weekdays."""
    for order in _ORDERS:
        places = {label: label.strip().lower()[:3] for label in column.labels}
        if places and all(place in order for place in places.values()):
            return sorted(places, key=lambda label: order.index(places[label]))
    return None
