"""The ``raytag`` command: parses the command line, runs one command module, and turns errors into exit codes.

A command module has ``add_parser(subparsers)``, which sets the default ``run``: a function of the parsed arguments.
It imports torch, ray, mlflow and optuna only inside ``run``, so that ``raytag --help`` is quick.

Exit codes: 0 done · 1 a muP gate failed, or trials are left unfinished · 2 a mistake of the user · 130 stopped with
Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from itertools import takewhile
from typing import Any

from raytag import __version__
from raytag.config.wording import did_you_mean
from raytag.errors import CheckError, RaytagError

__all__ = ["build_parser", "main"]

# modules of raytag.cli, in the order of the help page
COMMANDS = ("data", "validate", "plan", "check", "search", "report", "extract", "ensemble", "transfer", "bake")

_DESCRIPTION = "Tune a narrow jet tagger with many small trials, then train the wide one once (muTransfer)."
_EXAMPLES = """\
examples:
  raytag data simulate data/ttbar --process ttbar --jets 60000 --seed 1
  raytag validate experiments/gn2_width.yaml
  raytag plan experiments/gn2_width.yaml --calibrate
  raytag search experiments/gn2_width.yaml search.trials_per_width=50
  raytag report gn2_width
  raytag extract gn2_width best --width 64
  raytag ensemble gn2_width --top 5
  raytag transfer gn2_width --width 256
  raytag bake gn2_width best

`raytag COMMAND --help` explains a command. An experiment file can be changed on the command line
with key=value, as in training.num_steps=50 or search.widths=[32,64].
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parsed = build_parser().parse_args(arguments)
    try:
        parsed.run(parsed)
        sys.stdout.flush()
    except RaytagError as error:
        _report(error, parsed.debug)
        return 1 if isinstance(error, CheckError) else 2
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _Parser(
        prog="raytag",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"raytag {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_CommandParser)
    for name in COMMANDS:
        import_module(f"raytag.cli.{name}").add_parser(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Takes options by their whole names, and overrides before, between and behind them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False)

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse all words, none of which may be left."""
        words = sys.argv[1:] if args is None else [*args]
        self._check_options(words)
        parsed, rest = super().parse_known_args(words, namespace)
        # argparse closes a list of positionals at the first option, and leaves what follows it
        if rest and not hasattr(parsed, "overrides"):
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        if rest:
            parsed.overrides = [*parsed.overrides, *rest]
        return parsed, []

    def _check_options(self, words: Sequence[str]) -> None:
        """Refuse an unknown option before argparse does, which would first ask for what is missing because of it."""
        if self._subparsers:  # what follows a command's name is the command's
            words = [*takewhile(lambda word: word.startswith("-"), words)]
        for word in takewhile(lambda word: word != "--", words):
            option = word.partition("=")[0]
            is_value = not word.startswith("-") or word == "-" or word[1].isdigit()
            if not is_value and not {option, word[:2]} & self._option_string_actions.keys():
                known = [name for name in self._option_string_actions if name.startswith("--")]
                self.error(f"{option}: no such option.{did_you_mean(option, known)}")


class _CommandParser(_Parser):
    """The parser of one command; it takes ``--debug`` behind the command's name too."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _report(error: RaytagError, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
        return
    for line in str(error).splitlines():
        print(f"error: {line}", file=sys.stderr)
