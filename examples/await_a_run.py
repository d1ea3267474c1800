"""Calls the flow like any async function: python examples/await_a_run.py

Needs no key: the plan below has one tool step, which runs in the sandbox.
"""

from __future__ import annotations

import asyncio

from core.plan import Plan, PlanStep
from core.result import RunReport
from core.settings import load_settings
from gateway.server import ensure_server, point_prefect_at

PLAN = Plan(
    title="Primes",
    summarize=False,
    steps=(
        PlanStep(
            id="primes",
            title="Primes below 50",
            kind="tool",
            tool="python_execute",
            args={
                "code": "output = [n for n in range(2, 50) if all(n % d for d in range(2, n))]\n"
                "print(len(output), 'primes')"
            },
        ),
    ),
)


async def main() -> RunReport:
    """Starts the local Prefect server where none runs, then awaits the run."""
    settings = load_settings()
    point_prefect_at(ensure_server(settings), settings)
    from flows.planning import plan_and_run  # Prefect reads its settings when it is imported

    report = await plan_and_run(plan=PLAN)
    assert isinstance(report, RunReport)
    return report


if __name__ == "__main__":
    done = asyncio.run(main())
    print(done.summary, done.steps[0].result and done.steps[0].result.output)  # noqa: T201
