"""The quick commands stay quick: they load none of the heavy packages."""

import subprocess
import sys

import pytest

from raytag.cli.main import COMMANDS

HEAVY = ("torch", "ray", "mlflow", "optuna")


def heavy_modules_after(code, *arguments):
    """Run code in a fresh interpreter and return the heavy packages it loaded."""
    report = f"\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code + report, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stderr.split()


RAYTAG = """
import sys
from raytag.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as exit:
    code = exit.code
assert code == 0, code
"""


def test_importing_raytag_is_light():
    assert heavy_modules_after("import raytag") == []


def test_the_help_page_is_light():
    assert heavy_modules_after(RAYTAG, "--help") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_is_light(command):
    assert heavy_modules_after(RAYTAG, command, "--help") == []


def test_validating_is_light(request):
    experiment = request.config.rootpath / "experiments" / "smoke.yaml"

    assert heavy_modules_after(RAYTAG, "validate", str(experiment)) == []


@pytest.mark.parametrize("package", ["torch", "optuna"])
def test_a_heavy_import_is_found(package):
    assert package in heavy_modules_after(f"import {package}")
