"""The ``manus`` command. What a command needs is imported when it runs, so that help is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.cache import cache
from gateway.cli.exits import told_plainly
from gateway.cli.mcp import mcp_app

app = typer.Typer(
    help="Run goals and plans as durable Prefect flows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Inputs = Annotated[
    list[Path], typer.Option("--input", "-i", help="A file the run may read, as data/NAME.")
]
Vars = Annotated[
    list[str], typer.Option("--var", "-v", help="NAME=VALUE for the plan's templates.")
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="A route of manus.toml, or provider:model.")
]
MaxCost = Annotated[float | None, typer.Option("--max-cost", help="Stop before passing this, USD.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Stop before passing this.")]
Parallel = Annotated[int | None, typer.Option("--parallel", help="Steps at the same time.")]

RunAgent = Annotated[
    str | None, typer.Option("--agent", "-a", help="Give the goal to this agent, without a plan.")
]
Agent = Annotated[
    str | None, typer.Option("--agent", "-a", help="Who answers. Default: as before, else manus.")
]


@app.command()
def run(  # noqa: PLR0913  one parameter per option is how typer works
    what: Annotated[str, typer.Argument(metavar="GOAL|PLAN_FILE")],
    inputs: Inputs = [],  # noqa: B006  typer copies it
    variables: Vars = [],  # noqa: B006
    model: Model = "default",
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    parallel: Parallel = None,
    approvals: Annotated[
        str | None,
        typer.Option(help="High-risk tools: allow, ask or deny. Default: ask at a terminal."),
    ] = None,
    max_replans: Annotated[
        int | None, typer.Option(help="How often the plan may be revised around failed steps.")
    ] = None,
    trust_inputs: Annotated[
        bool, typer.Option("--trust-inputs", help="You answer for what the input files say.")
    ] = False,
    agent: RunAgent = None,
    as_json: AsJson = False,
) -> None:
    """Run a goal (a model plans it) or a plan file, and watch it. With --agent, no model plans."""
    with told_plainly(as_json):
        from gateway.cli.run import Request, run_command

        request = Request(
            what,
            inputs,
            variables,
            model,
            max_cost,
            max_tokens,
            parallel,
            as_json=as_json,
            approvals=approvals,
            max_replans=max_replans,
            trust_inputs=trust_inputs,
            agent=agent,
        )
        raise SystemExit(run_command(request))


@app.command()
def chat(
    agent: Agent = None,
    session: Annotated[
        str | None, typer.Option("--session", "-s", help="Go on with it, or name a new one.")
    ] = None,
    inputs: Inputs = [],  # noqa: B006
    model: Model = "default",
    as_json: AsJson = False,
) -> None:
    """Talk to an agent. Each line of stdin is a message; /exit, /files and /cost are commands."""
    with told_plainly(as_json):
        from gateway.cli.chat import ChatRequest, chat_command

        raise SystemExit(chat_command(ChatRequest(agent, session, inputs, model, as_json=as_json)))


@app.command()
def resume(
    run_key: Annotated[str, typer.Argument(metavar="RUN", help="Its key, or the beginning of it.")],
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that crashed, failed or was cancelled. Nothing finished is repeated."""
    with told_plainly(as_json):
        from gateway.cli.run import Resume, resume_command

        raise SystemExit(resume_command(Resume(run_key, max_cost, max_tokens, as_json=as_json)))


@app.command()
def cancel(
    run_key: Annotated[str, typer.Argument(metavar="RUN", help="Its key, or the beginning of it.")],
    as_json: AsJson = False,
) -> None:
    """Stop a run, in whatever process it is, also while it waits for an answer."""
    with told_plainly(as_json):
        from gateway.cli.cancel import cancel_command

        raise SystemExit(cancel_command(run_key, as_json=as_json))


@app.command()
def answer(
    run_key: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run that waits.")
    ] = None,
    text: Annotated[str | None, typer.Argument(metavar="[ANSWER]")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the questions that runs wait with, or answer one."""
    with told_plainly(as_json):
        from gateway.cli.answer import answer_command

        answer_command(run_key, text, as_json=as_json)


@app.command()
def plan(
    goal: str,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: stdout.")] = None,
    inputs: Inputs = [],  # noqa: B006
    model: Model = "default",
    as_json: AsJson = False,
) -> None:
    """Draft a plan for a goal, without running it."""
    with told_plainly(as_json):
        from gateway.cli.plan import plan_command

        raise SystemExit(plan_command(goal, output, inputs, model, as_json=as_json))


@app.command()
def runs(
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs of this MANUS_HOME."""
    with told_plainly(as_json):
        from gateway.cli.listing import runs_command

        runs_command(limit, as_json=as_json)


@app.command()
def usage(
    run_key: Annotated[str | None, typer.Option("--run", help="Every call of one run.")] = None,
    days: Annotated[int | None, typer.Option(help="Only the last DAYS days.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page instead.")] = None,
    budget: Annotated[bool, typer.Option("--budget", help="How [budgets] stand today.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was spent: calls, tokens, cost, latency, failovers."""
    with told_plainly(as_json):
        from gateway.cli.usage import budget_command, usage_command

        if budget:
            return budget_command(as_json=as_json)
        usage_command(run_key, days, html, as_json=as_json)


providers = typer.Typer(help="Who can answer, how they are doing, and what they cost today.")
app.add_typer(providers, name="providers", invoke_without_command=True)
app.add_typer(cache, name="cache")


@providers.callback()
def list_providers(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the providers and deployments. Spends nothing."""
    if context.invoked_subcommand is None:
        with told_plainly(as_json):
            from gateway.cli.providers import providers_command

            providers_command(as_json=as_json)


@providers.command("test")
def ask_provider(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A provider, or provider:model.")],
    as_json: AsJson = False,
) -> None:
    """Ask one provider one small question. It costs what such a call costs."""
    with told_plainly(as_json):
        from gateway.cli.providers import ask_command

        raise SystemExit(ask_command(name, as_json=as_json))


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Other than 127.0.0.1 needs an auth string.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int | None, typer.Option(help="Default: 4200, or a free one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start the Prefect server and a worker, and register the deployments."""
    with told_plainly(as_json):
        from gateway.cli.services import up_command

        up_command(host, port, as_json=as_json)


@app.command()
def down(as_json: AsJson = False) -> None:
    """Stop the server and the worker that this MANUS_HOME started."""
    with told_plainly(as_json):
        from gateway.cli.services import down_command

        down_command(as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is configured, reachable and installed here, and what is missing."""
    with told_plainly(as_json):
        from gateway.cli.doctor import doctor_command

        raise SystemExit(doctor_command(as_json=as_json))


app.add_typer(mcp_app, name="mcp")


def main() -> None:
    """Entry point of the ``manus`` script."""
    app()
