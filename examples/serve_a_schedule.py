"""Serves a recurring job without a worker: python examples/serve_a_schedule.py (Ctrl-C ends it).

The process polls the server and runs the shipped report every hour, and whenever someone
triggers the deployment ``plan-and-run/hourly-report`` in the UI.
"""

from __future__ import annotations

from core.settings import load_settings
from gateway.server import ensure_server, point_prefect_at


def main() -> None:
    """Blocks until it is interrupted."""
    settings = load_settings()
    point_prefect_at(ensure_server(settings), settings)
    from flows.planning import plan_and_run  # Prefect reads its settings when it is imported

    plan_and_run.serve(
        name="hourly-report",
        cron="0 * * * *",
        parameters={
            "plan": "examples/plans/csv_report.yaml",
            "options": {"inputs": ["examples/data/sales.csv"]},
        },
    )


if __name__ == "__main__":
    main()
