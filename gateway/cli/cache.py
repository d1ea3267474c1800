"""``manus cache``: the answers and steps that may be used again, and getting rid of them."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.exits import told_plainly

cache = typer.Typer(help="Answers and steps that are kept to be used again.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@cache.command()
def stats(as_json: AsJson = False) -> None:
    """Show how much is kept, by route and model, and the newest entries."""
    with told_plainly(as_json):
        from gateway.cli.cache_entries import stats_command

        stats_command(as_json=as_json)


@cache.command()
def clear(
    route: Annotated[str | None, typer.Option(help="Only of this route.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Only of this model, or provider:model.")
    ] = None,
    older_than: Annotated[str | None, typer.Option(help="Only older than 30m, 12h, 1d, …")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is kept, or some of it."""
    with told_plainly(as_json):
        from gateway.cli.cache_entries import clear_command

        clear_command(route, model, older_than, as_json=as_json)


@cache.command()
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its key, or the beginning of it.")],
    as_json: AsJson = False,
) -> None:
    """Show one kept answer or step."""
    with told_plainly(as_json):
        from gateway.cli.cache_entries import show_command

        show_command(key, as_json=as_json)
