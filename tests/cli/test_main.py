"""The command line's exit codes, and where its options may stand."""

import argparse
import sys
from types import SimpleNamespace

import pytest

from raytag import __version__
from raytag.cli import main as cli
from raytag.cli.arguments import add_experiment
from raytag.errors import CheckError, ConfigError, Problem, RaytagError


@pytest.fixture
def command(monkeypatch):
    """Make `raytag do FILE [overrides] [--fast]` the only command; the returned object keeps what it got and does."""
    state = SimpleNamespace(run=lambda: None, arguments=None)

    def run(arguments):
        state.arguments = arguments
        state.run()

    def add_parser(subparsers):
        parser = subparsers.add_parser("do")
        add_experiment(parser)
        parser.add_argument("--fast", action="store_true")
        parser.set_defaults(run=run)

    monkeypatch.setitem(sys.modules, "raytag.cli.do", SimpleNamespace(add_parser=add_parser, __spec__=object()))
    monkeypatch.setattr(cli, "COMMANDS", ("do",))
    return state


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.usefixtures("command")
def test_a_command_that_ends_well_exits_with_0():
    assert cli.main(["do", "a.yaml"]) == 0


@pytest.mark.parametrize(
    ("error", "code", "stderr"),
    [
        (RaytagError("no such study."), 2, "error: no such study.\n"),
        (
            ConfigError([Problem("model", "unknown key."), Problem("data", "missing.")]),
            2,
            "error: model: unknown key.\nerror: data: missing.\n",
        ),
        (CheckError("the gates failed."), 1, "error: the gates failed.\n"),
        (KeyboardInterrupt(), 130, "stopped.\n"),
    ],
)
def test_an_error_becomes_an_exit_code_and_one_line_each(command, capsys, error, code, stderr):
    command.run = raising(error)

    assert cli.main(["do", "a.yaml"]) == code
    assert capsys.readouterr() == ("", stderr)


@pytest.mark.parametrize("arguments", [["--debug", "do", "a.yaml"], ["do", "a.yaml", "--debug"]])
def test_debug_shows_the_traceback(command, capsys, arguments):
    command.run = raising(RaytagError("no such study."))

    assert cli.main(arguments) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_mistake_of_our_own_is_not_caught(command):
    command.run = raising(AssertionError("impossible"))

    with pytest.raises(AssertionError, match="impossible"):
        cli.main(["do", "a.yaml"])


@pytest.mark.parametrize(
    "words", ["a.yaml x=1 y=2 --fast", "a.yaml --fast x=1 y=2", "a.yaml x=1 --fast y=2", "--fast a.yaml x=1 y=2"]
)
def test_overrides_may_stand_around_options(command, words):
    cli.main(["do", *words.split()])

    assert command.arguments.overrides == ["x=1", "y=2"]
    assert command.arguments.fast


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize("words", ["a.yaml --slow", "a.yaml x=1 --slow y=2"])
def test_an_unknown_option_is_refused(capsys, words):
    with pytest.raises(SystemExit) as caught:
        cli.main(["do", *words.split()])

    assert caught.value.code == 2
    assert "raytag do: error: --slow: no such option." in capsys.readouterr().err


def commands_of(parser, words=()):
    """Yield the words that call each command, and its parser."""
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in nested:
        for name, command in action.choices.items():
            yield from commands_of(command, (*words, name))
    if not nested:
        yield words, parser


OPTIONS = [
    (words, option)
    for words, parser in commands_of(cli.build_parser())
    for action in parser._actions
    for option in action.option_strings
    if option.startswith("--")
]


@pytest.mark.parametrize(("words", "option"), OPTIONS)
def test_half_an_option_is_no_option_of_any_command(capsys, words, option):
    half = option[:-1]

    with pytest.raises(SystemExit) as caught:
        cli.main([*words, f"{half}=3"])  # and without what the command requires

    assert caught.value.code == 2
    usage, *_, line = capsys.readouterr().err.splitlines()
    command = " ".join(("raytag", *words))
    assert usage.startswith(f"usage: {command} ")
    assert line == f"{command}: error: {half}: no such option. Did you mean {option}?"


@pytest.mark.parametrize("words", ["--debgu do a.yaml", "do a.yaml --debgu"])
@pytest.mark.usefixtures("command")
def test_a_misspelt_option_is_recognised_on_both_sides_of_the_command(capsys, words):
    with pytest.raises(SystemExit):
        cli.main(words.split())

    assert capsys.readouterr().err.endswith("error: --debgu: no such option. Did you mean --debug?\n")


def test_a_word_too_many_is_told_by_its_command(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["bake", "study", "best", "now"])

    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("raytag bake: error: unrecognized arguments: now\n")


def test_a_value_may_look_like_an_option(command):
    cli.main(["do", "--fast", "-", "--", "--x=1"])

    assert (str(command.arguments.file), command.arguments.overrides) == ("-", ["--x=1"])


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out == f"raytag {__version__}\n"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])

    page = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n    {name} " in page


def test_every_command_sets_what_to_run():
    parser = cli.build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))

    assert set(commands.choices) == set(cli.COMMANDS)
