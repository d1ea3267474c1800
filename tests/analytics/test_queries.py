from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from analytics import queries
from analytics.compactor import compact
from analytics.figures import Dimension, Window
from analytics.reader import Usage, open_usage
from analytics.spool import SpoolWriter, encode
from core.usage import UsageEvent
from tests.analytics.rows import NOON, model_call, seconds_after_noon, spool, tool_run


@contextmanager
def usage_of(home: Path, *events: UsageEvent) -> Generator[Usage]:
    """Half of the rows published, half still in the spool: no answer may depend on which."""
    middle = len(events) // 2
    spool(home, events[:middle])
    compact(home)
    spool(home, events[middle:])
    with open_usage(home) as usage:
        yield usage


def test_nothing_used_is_zero_everywhere_and_makes_no_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with open_usage(home) as usage:
        assert set(queries.totals(usage).model_dump().values()) == {0}
        assert queries.spend_by(usage, [Dimension.MODEL]) == ()
        assert queries.latency_by(usage, []) == ()
        assert queries.reliability_by(usage, []) == ()
        assert queries.errors_by(usage, []) == ()
        assert queries.tools(usage) == ()
        assert queries.calls_of(usage, "run-1") == ()
    assert not home.exists()


def test_published_sealed_and_live_rows_are_seen_together(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("published")])
    compact(tmp_path)
    spool(tmp_path, [model_call("sealed")])
    writer = SpoolWriter(tmp_path / "spool")
    writer.emit(model_call("live"))
    with open_usage(tmp_path) as usage:
        assert queries.totals(usage).model_calls == 3
        assert usage.bad_lines == 0
    writer.seal()


def test_a_torn_line_of_the_spool_is_counted_and_hides_no_row(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    torn = tmp_path / "spool" / "host-1-x.jsonl"
    torn.write_bytes(encode(model_call("e1")) + b'{"event_id": "e2", "ts')
    with open_usage(tmp_path) as usage:
        assert queries.totals(usage).model_calls == 1
        assert usage.bad_lines == 1


def test_totals_add_up_what_was_paid_for(tmp_path: Path) -> None:
    paid = model_call(
        "e1",
        cost_usd=Decimal("0.1"),
        input_tokens=100,
        output_tokens=20,
        cache_read_input_tokens=30,
        cache_write_input_tokens=5,
        reasoning_output_tokens=7,
    )
    failed = model_call("e2", outcome="error", error_type="RateLimitedError")
    billed_failure = model_call("e3", outcome="error", cost_usd=Decimal("0.02"), run_key="run-2")
    with usage_of(tmp_path, paid, failed, billed_failure, tool_run("e4")) as usage:
        spend = queries.totals(usage)
    assert (spend.runs, spend.model_calls, spend.tool_runs) == (2, 3, 1)
    assert (spend.errors, spend.interrupted, spend.cache_hits) == (2, 0, 0)
    assert (spend.input_tokens, spend.output_tokens) == (100, 20)
    assert (spend.cache_read_tokens, spend.cache_write_tokens) == (30, 5)
    assert (spend.reasoning_tokens, spend.unpriced_calls) == (7, 0)
    assert (spend.cost_usd, spend.saved_usd) == (Decimal("0.12"), Decimal(0))


def test_a_replay_costs_nothing_again_and_a_lone_replay_keeps_the_cost(tmp_path: Path) -> None:
    rows = [
        model_call("e1", cost_usd=Decimal("0.1"), input_tokens=10),
        model_call("e1", cost_usd=Decimal("0.1"), input_tokens=10, replayed=True),
        model_call("e1", cost_usd=Decimal("0.1"), input_tokens=10, replayed=True),
        model_call("e2", cost_usd=Decimal("0.5"), input_tokens=10, replayed=True),
    ]
    with usage_of(tmp_path, *rows) as usage:
        spend = queries.totals(usage)
    assert (spend.model_calls, spend.input_tokens, spend.cost_usd) == (2, 20, Decimal("0.6"))


def test_a_response_cache_hit_saves_and_does_not_cost(tmp_path: Path) -> None:
    rows = [
        model_call("e1", cost_usd=Decimal("0.1"), input_tokens=10, duration_seconds=2),
        model_call("e2", cost_usd=Decimal("0.1"), input_tokens=10, cache_hit=True),
    ]
    with usage_of(tmp_path, *rows) as usage:
        spend = queries.totals(usage)
        (latency,) = queries.latency_by(usage, [])
        (reliability,) = queries.reliability_by(usage, [])
    assert (spend.cost_usd, spend.saved_usd) == (Decimal("0.1"), Decimal("0.1"))
    assert (spend.input_tokens, spend.cache_hits) == (10, 1)
    assert (latency.calls, latency.duration.p50, reliability.tries) == (1, 2.0, 1)


def test_an_unknown_price_is_counted_apart_from_the_cost(tmp_path: Path) -> None:
    rows = [
        model_call("e1", cost_usd=Decimal("0.1")),
        model_call("e2", cost_usd=Decimal(0)),
        model_call("e3"),
        model_call("e4", outcome="interrupted"),
        model_call("e5", outcome="error"),
        model_call("e6", cache_hit=True),
        tool_run("e7"),
    ]
    with usage_of(tmp_path, *rows) as usage:
        spend = queries.totals(usage)
    assert (spend.cost_usd, spend.unpriced_calls) == (Decimal("0.1"), 2)


def test_rows_of_steps_and_runs_are_not_added_to_their_calls(tmp_path: Path) -> None:
    step = UsageEvent(
        event_id="s", kind="step", run_key="run-1", operation_name="step", cost_usd=Decimal(1)
    )
    with usage_of(tmp_path, model_call("e1", cost_usd=Decimal("0.1")), step) as usage:
        assert queries.totals(usage).cost_usd == Decimal("0.1")


@pytest.mark.parametrize(
    ("dimension", "field", "values"),
    [
        (Dimension.PROVIDER, "provider_name", ("openai", "anthropic")),
        (Dimension.MODEL, "request_model", ("large", "small")),
        (Dimension.DEPLOYMENT, "deployment", ("openai:large", "local:small")),
        (Dimension.ROUTE, "route", ("smart", "fast")),
        (Dimension.AGENT, "agent_name", ("manus", "coder")),
        (Dimension.WORKFLOW, "workflow_name", ("daily", "adhoc")),
        (Dimension.STEP, "step_id", ("collect", "report")),
        (Dimension.RUN, "run_key", ("run-1", "run-2")),
        (Dimension.TOOL, "tool_name", ("a", None)),
    ],
)
def test_spend_can_be_grouped_dearest_first(
    tmp_path: Path, dimension: Dimension, field: str, values: tuple[str, str | None]
) -> None:
    dear, cheap = values
    rows = [
        model_call("e1", cost_usd=Decimal(1), **{field: cheap}),
        model_call("e2", cost_usd=Decimal(2), **{field: dear}),
        model_call("e3", cost_usd=Decimal(3), **{field: dear}),
    ]
    with usage_of(tmp_path, *rows) as usage:
        groups = queries.spend_by(usage, [dimension])
    found = [(g.keys, g.spend.model_calls, g.spend.cost_usd) for g in groups]
    assert found == [({dimension: dear}, 2, Decimal(5)), ({dimension: cheap}, 1, Decimal(1))]


def test_spend_can_be_grouped_by_several_dimensions_at_once(tmp_path: Path) -> None:
    rows = [
        model_call("e1", agent_name="a", route="fast", cost_usd=Decimal(3)),
        model_call("e2", agent_name="a", route="smart", cost_usd=Decimal(2)),
        model_call("e3", agent_name="b", route="fast", cost_usd=Decimal(1)),
    ]
    with usage_of(tmp_path, *rows) as usage:
        groups = queries.spend_by(usage, [Dimension.AGENT, Dimension.ROUTE])
    assert [tuple(g.keys.values()) for g in groups] == [
        ("a", "fast"),
        ("a", "smart"),
        ("b", "fast"),
    ]


def test_days_are_those_of_utc_and_in_order(tmp_path: Path) -> None:
    east = timezone(timedelta(hours=9))
    rows = [
        model_call("e1", ts=datetime(2026, 3, 15, 8, 59, tzinfo=east), cost_usd=Decimal(1)),
        model_call("e2", ts=datetime(2026, 3, 15, 9, 0, tzinfo=east), cost_usd=Decimal(5)),
    ]
    with usage_of(tmp_path, *rows) as usage:
        groups = queries.spend_by(usage, [Dimension.DAY])
    assert [g.keys[Dimension.DAY] for g in groups] == ["2026-03-14", "2026-03-15"]


def test_a_row_counts_under_each_of_its_tags_once(tmp_path: Path) -> None:
    rows = [
        model_call("e1", tags=("a", "b", "a"), cost_usd=Decimal(1)),
        model_call("e2", tags=("a",), cost_usd=Decimal(1)),
        model_call("e3", cost_usd=Decimal(5)),
    ]
    with usage_of(tmp_path, *rows) as usage:
        groups = queries.spend_by(usage, [Dimension.TAG])
        assert queries.totals(usage).model_calls == 3
    assert {g.keys[Dimension.TAG]: g.spend.model_calls for g in groups} == {None: 1, "a": 2, "b": 1}


def test_a_window_includes_its_start_and_excludes_its_end(tmp_path: Path) -> None:
    rows = [model_call(f"e{n}", ts=seconds_after_noon(n), input_tokens=10**n) for n in range(4)]
    window = Window(since=seconds_after_noon(1), until=seconds_after_noon(3))
    with usage_of(tmp_path, *rows) as usage:
        assert queries.totals(usage, window).input_tokens == 110
        assert queries.totals(usage, Window(since=seconds_after_noon(3))).input_tokens == 1000


def test_a_window_can_be_one_run(tmp_path: Path) -> None:
    hostile = "x' OR '1'='1"
    rows = [model_call("e1", run_key="a"), model_call("e2", run_key="b")]
    with usage_of(tmp_path, *rows) as usage:
        assert queries.totals(usage, Window(run_key="a")).model_calls == 1
        assert queries.totals(usage, Window(run_key=hostile)).model_calls == 0


def test_a_window_without_a_time_zone_or_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValidationError):
        Window(since=datetime(2026, 3, 14))
    with pytest.raises(ValidationError, match="before"):
        Window(since=NOON, until=NOON)


def test_latency_is_over_answered_calls(tmp_path: Path) -> None:
    rows = [
        model_call(
            f"e{n}",
            duration_seconds=float(n),
            output_tokens=20 * n,
            time_to_first_chunk_seconds=n / 10 if n <= 11 else None,
        )
        for n in range(1, 102)
    ]
    rows.append(model_call("late", duration_seconds=900.0, outcome="error"))
    with usage_of(tmp_path, *rows) as usage:
        (group,) = queries.latency_by(usage, [Dimension.PROVIDER, Dimension.MODEL])
    assert group.keys == {Dimension.PROVIDER: "openai", Dimension.MODEL: "small"}
    assert (group.calls, group.tokens_per_second) == (101, 20.0)
    assert group.duration.model_dump() == {"p50": 51.0, "p95": 96.0, "p99": 100.0}
    assert group.first_token.p50 == pytest.approx(0.6)


def test_latency_without_streaming_knows_no_first_token(tmp_path: Path) -> None:
    with usage_of(tmp_path, model_call("e1", duration_seconds=1.0, step_id="a")) as usage:
        (group,) = queries.latency_by(usage, [Dimension.STEP])
    assert set(group.first_token.model_dump().values()) == {None}


def test_failover_is_counted_where_the_answer_came_from(tmp_path: Path) -> None:
    rows = [
        model_call("e1", deployment="a", outcome="error", error_type="RateLimitedError"),
        model_call("e2", deployment="b", try_index=1),
        model_call("e3", deployment="b"),
        model_call("e4", deployment="b", outcome="interrupted"),
        model_call("e5", deployment="a", outcome="error", error_type="OverloadedError"),
        model_call("e6", deployment="b", outcome="error", try_index=1),
    ]
    with usage_of(tmp_path, *rows) as usage:
        b, a = queries.reliability_by(usage, [Dimension.DEPLOYMENT])
    assert a.model_dump(exclude={"keys"}) == {
        "tries": 2,
        "errors": 2,
        "interrupted": 0,
        "failovers": 0,
        "error_rate": 1.0,
        "failover_rate": None,
    }
    assert (b.tries, b.errors, b.interrupted, b.failovers) == (4, 1, 1, 1)
    assert (b.error_rate, b.failover_rate) == (0.25, 0.5)


def test_errors_are_counted_by_type(tmp_path: Path) -> None:
    rows = [
        model_call("e1", outcome="error", error_type="OverloadedError"),
        model_call("e2", outcome="error", error_type="OverloadedError"),
        tool_run("e3", outcome="error"),
        model_call("e4"),
    ]
    with usage_of(tmp_path, *rows) as usage:
        counts = queries.errors_by(usage, [])
    assert [(c.error_type, c.count) for c in counts] == [("OverloadedError", 2), ("unknown", 1)]


def test_tools_are_judged_by_how_their_runs_ended(tmp_path: Path) -> None:
    rows = [
        tool_run("e1", duration_seconds=1.0),
        tool_run("e2", duration_seconds=3.0),
        tool_run("e3", duration_seconds=99.0, outcome="error"),
        tool_run("e4", outcome="interrupted"),
        tool_run("e5", tool_name="web_search"),
    ]
    with usage_of(tmp_path, *rows) as usage:
        bash, search = queries.tools(usage)
    assert (bash.tool, bash.runs, bash.succeeded) == ("bash", 4, 2)
    assert (bash.failed, bash.interrupted, bash.success_rate) == (1, 1, 0.5)
    assert bash.duration.p50 == 2.0
    assert (search.tool, search.success_rate) == ("web_search", 1.0)


def test_the_calls_of_a_run_come_in_order_with_failed_and_interrupted_ones(
    tmp_path: Path,
) -> None:
    rows = [
        tool_run("e4", ts=seconds_after_noon(3), outcome="interrupted"),
        model_call("e3", ts=seconds_after_noon(1), try_index=1),
        model_call("e2", ts=seconds_after_noon(1), outcome="error"),
        model_call("e1"),
        model_call("other", run_key="run-2"),
    ]
    with usage_of(tmp_path, *rows) as usage:
        calls = queries.calls_of(usage, "run-1")
    assert [c.event_id for c in calls] == ["e1", "e2", "e3", "e4"]
    assert calls[0] == rows[3]
    assert calls[0].ts.tzinfo is UTC
