"""Imports point one way, and each outside package has its few users. Read from the source, nothing is imported."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "raytag"

# From the ground up: a module may import from its own entry and from those before it. A name covers what lies below
# it, unless a longer one does. Entries of one floor do not know each other.
FLOORS = (
    ("raytag.errors", "raytag.files", "raytag.importing"),
    ("raytag.provenance", "raytag.data.schema"),
    ("raytag.config",),
    ("raytag.data", "raytag.records"),
    ("raytag.mup",),
    ("raytag.training",),
    ("raytag.tagging",),
    ("raytag.workloads",),
    ("raytag.logbook", "raytag.report"),
    ("raytag.search",),
    ("raytag.trained",),
    ("raytag.transfer",),
    ("raytag.cli",),
    ("raytag.search.__main__",),
)

USERS = {
    "ray": ("raytag.search", "raytag.transfer"),
    "optuna": ("raytag.search", "raytag.report"),
    "mlflow": ("raytag.logbook",),
    "mup": ("raytag.mup",),
    "pythia8mc": ("raytag.data.simulate",),
    "fastjet": ("raytag.data.simulate",),
    "awkward": ("raytag.data.simulate",),
    "torchvision": (),  # mup asks for it, but it does not load beside every torch
    "torchmetrics": (),
    "mup.coord_check": (),  # it imports torchvision's relatives
}


def modules():
    return {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source, module=""):
    """Yield the dotted names a module imports: `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import on line {node.lineno}"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called_name(node) in ("import_module", "__import__"):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def called_name(call):
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def lies_in(name, package):
    return name == package or name.startswith(f"{package}.")


def entry_of(module):
    """The longest entry of FLOORS that covers a module, and its floor."""
    entries = [
        (len(name), floor, name) for floor, names in enumerate(FLOORS) for name in names if lies_in(module, name)
    ]
    assert entries, f"{module} is on no floor of the layering"
    _, floor, name = max(entries)
    return floor, name


def layering_faults(module, source):
    if module == "raytag":
        return [name for name in imports(source) if lies_in(name, "raytag")]
    floor, entry = entry_of(module)
    targets = {name for name in imports(source, module) if name.startswith("raytag.")} - {"raytag.__version__"}
    faults = []
    for target in sorted(targets):
        target_floor, target_entry = entry_of(target)
        if target_floor >= floor and target_entry != entry:
            faults.append(f"{module} imports {target}")
    return faults


def user_faults(module, source):
    return [
        f"{module} imports {package}"
        for package, users in USERS.items()
        for name in imports(source, module)
        if lies_in(name, package) and not any(lies_in(module, user) for user in users)
    ]


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module):
    assert layering_faults(module, modules()[module].read_text()) == []


@pytest.mark.parametrize("module", modules())
def test_outside_packages_are_imported_by_their_users_only(module):
    assert user_faults(module, modules()[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("raytag.config.load", "from raytag.data.h5 import inspect"),
        ("raytag.training.schedule", "def step():\n    import raytag.search.study"),
        ("raytag.errors", "from raytag import config"),
        ("raytag.provenance", "from raytag.data.schema import UNITS"),
        ("raytag.tagging.metrics", "from importlib import import_module\nimport_module('raytag.workloads')"),
        ("raytag", "import raytag.errors"),
    ],
)
def test_an_upward_import_is_found(module, source):
    assert layering_faults(module, source)


def test_a_downward_import_is_allowed():
    assert layering_faults("raytag.config.checks", "from raytag.data.schema import VALID") == []
    assert layering_faults("raytag.cli.search", "import raytag.search.driver, raytag.cli.arguments") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("raytag.training.trial", "import ray"),
        ("raytag.search.driver", "import mlflow.tracking"),
        ("raytag.cli.search", "def run():\n    from ray import tune"),
        ("raytag.mup.roles", "from mup import coord_check"),
        ("raytag.data.h5", "from awkward import Array"),
        ("raytag.tagging.metrics", "import torchmetrics"),
    ],
)
def test_a_stranger_to_a_package_is_found(module, source):
    assert user_faults(module, source)


def test_the_package_mup_is_not_our_own():
    assert user_faults("raytag.training.optimizer", "from raytag.mup.multipliers import RuleTable") == []
