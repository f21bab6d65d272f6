"""The `winnow` command: batches without Airflow, selection on its own, and the benches.

Exit codes: 0 done, 1 an error (one line says which), 2 the command itself is wrong.

A command's module is imported when it is asked for, so that none waits for what it does not use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import winnow
from winnow.commands import plain_app
from winnow.ending import run_and_leave

COMMANDS: Mapping[str, str] = {
    "run": "batches",
    "status": "batches",
    "quarantine": "batches",
    "docs": "batches",
    "drop": "batches",
    "links": "links",
    "backfill": "operate",
    "reconcile": "operate",
    "late": "operate",
    "migrate": "migrate",
    "doctor": "doctor",
    "versions": "datasets",
    "diff": "datasets",
    "pull": "datasets",
    "push": "datasets",
    "export": "export",
    "lineage": "datasets",
    "rollback": "datasets",
    "gc": "datasets",
    "plan": "selector",
    "select": "selector",
    "bench": "bench",
}
"""In which module of `winnow.commands` each command is a function of its own name."""

INTERRUPTED = 130


def command() -> NoReturn:
    """The `winnow` command: run what the command line says, and end the process with its code."""
    run_and_leave(main)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    from winnow.text import has_half_surrogate

    arguments = sys.argv[1:] if arguments is None else arguments
    if any(map(has_half_surrogate, arguments)):
        # Python's sign for bytes that are no UTF-8; neither a log nor the lake takes it.
        from winnow.commands.say import say

        say("winnow: an argument is no UTF-8", error=True)
        return 2
    try:
        code = typer.main.get_command(app)(arguments, prog_name="winnow", standalone_mode=False)
    except typer.TyperException as error:
        return _wrong(error)
    except OSError as error:
        from winnow.lake.disk import in_words

        return _failed(in_words(error))
    except Exception as error:
        from winnow.errors import WinnowError

        if not isinstance(error, WinnowError):
            raise
        return _failed(str(error))
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return int(code or 0)


def _failed(why: str) -> int:
    from winnow.commands.say import say

    say(f"winnow: {why}", error=True)
    return 1


def _wrong(error: Any) -> int:
    """A command line that means nothing, said without what a secret may stand in."""
    from winnow.addresses import without_secrets
    from winnow.commands.say import say

    where = error.ctx.command_path if getattr(error, "ctx", None) else "winnow"
    say(f"winnow: {without_secrets(error.format_message())}", f"See: {where} --help", error=True)
    return 2


class _Commands(TyperGroup):
    """A group whose commands are found when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"winnow.commands.{COMMANDS[cmd_name]}")
        return command_of(cmd_name, getattr(module, cmd_name))


def command_of(name: str, made_by: Callable[..., object] | typer.Typer) -> Any:
    """A function, or an app of several, as a command; `--help` says its first line."""
    if isinstance(made_by, typer.Typer):
        group = typer.main.get_command(made_by)
        group.name = name
        return group
    alone = plain_app()
    summary = (made_by.__doc__ or "").split("\n")[0].split(":")[0].rstrip(".")
    alone.command(name, help=summary)(made_by)
    return typer.main.get_command(alone)


app = typer.Typer(cls=_Commands, rich_markup_mode=None, no_args_is_help=True)


def _say_version(asked: bool) -> None:
    if asked:
        print(winnow.__version__)
        raise typer.Exit


@app.callback(help=(__doc__ or "").split("\n")[0])
def _every(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="say it"),
    ] = False,
) -> None:
    pass
