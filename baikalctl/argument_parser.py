"""A parser of command lines with suggestions for misspelt words; the commands themselves are in ``arguments``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from baikalctl import paths
from baikalctl.output import escaped, line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PROGRAM_VERSION = "0.1.0"
"""The version in pyproject.toml, which hosts don't have."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors name the command that was meant, its choices, and the nearest valid word.

    Arguments are escaped before they are printed.
    """

    def __init__(self, prog: str, description: str, example: str, usage: str | None = None, **_: bool) -> None:
        """Create a parser; ``example`` is printed at the end of the help. Options of newer Pythons (colours) are ignored."""
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.color = False  # Python 3.14 would print colours, which aren't escaped
        self.subcommand = ""
        """The name of the argument for a subcommand that is required."""
        self.subcommands: Iterable[str] = ()
        """Their names as errors list them, without those that only the deploy and timers run."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse ``args``. An unknown argument or a missing subcommand is an error of this parser, not of its parent."""
        result, unknown = super().parse_known_args(args, namespace)
        for argument in unknown[:1]:
            if argument.startswith("-"):
                names = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
                self.error(f"unknown option {argument}; {_suggestion(argument.partition('=')[0], names, names)}")
            self.error(f"unexpected argument '{argument}'")
        if self.subcommand and not getattr(result, self.subcommand, None):
            self.error(f"a command is missing; choose from {', '.join(self.subcommands)}")
        return result, unknown

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            words = [str(choice) for choice in action.choices]
            listed = self.subcommands if isinstance(action, argparse._SubParsersAction) else words  # noqa: SLF001 - its only name
            self.error(f"unknown command '{value}'; {_suggestion(str(value), words, listed)}")

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message``, and exit with status 2."""
        message = message.replace("the following arguments are required: ", "missing: ")
        self.exit(2, f"{self.format_usage()}{self.prog}: {escaped(message)}\n")


def _suggestion(word: str, choices: Iterable[str], listed: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"{f'did you mean {near[0]}? ' if near else ''}choose from {', '.join(listed)}"


class Version(argparse.Action):
    """Print the versions of this program and of the installed release of Baïkal."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print one line, and exit."""
        try:
            installed = f"Baïkal {Path(paths.CURRENT).readlink()}"
        except OSError:
            installed = "no release of Baïkal is installed"
        line(f"baikalctl {PROGRAM_VERSION}, {installed}")
        parser.exit()


class Commands:
    """The subcommands of a parser."""

    def __init__(self, command: Parser, name: str, listed: Iterable[str], *, required: bool = True) -> None:
        """Add subcommands to ``command``; ``name`` is the argument that has the chosen one."""
        self._command = command
        self._action = command.add_subparsers(dest=name, metavar="COMMAND", help=argparse.SUPPRESS, prog=command.prog)
        command.subcommand, command.subcommands = name if required else "", listed

    def add(  # noqa: PLR0913 - a command's parts
        self, name: str, module: str, description: str, example: str, *, usage: str = "", needs_state: bool = False
    ) -> Parser:
        """Add a command; ``module`` has its ``run``, and ``usage`` is what follows its name."""
        program = f"{self._command.prog} {name}"
        command = self._action.add_parser(
            name, prog=program, description=description, example=example, usage=f"{program} {usage}" if usage else None
        )
        command.set_defaults(module=module, needs_state=needs_state)
        return command
