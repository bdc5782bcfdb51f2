"""Overrides follow the rules of the file, win over it, and are named in their own problems."""

from pathlib import Path

import pytest

from raytag.config.load import load_experiment
from raytag.config.overrides import apply, parse_overrides
from raytag.errors import ConfigError


def load(*overrides):
    return load_experiment(Path("experiment.yaml"), overrides)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.num_steps=50", "training", "num_steps", 50),
        ("hyperparameters.lr=3e-4", "hyperparameters", "lr", 3e-4),
        ("search.widths=[32]", "search", "widths", (32,)),
        ("search.first_rung=null", "search", "first_rung", None),
        ("search.first_rung=", "search", "first_rung", None),
        ("resources.slots=2", "resources", "slots", 2),  # a section that the file leaves out
        ("mup={parametrisation: standard}", "mup", "parametrisation", "standard"),
        ("mlflow.tracking_uri=http://localhost:5000/?a=b", "mlflow", "tracking_uri", "http://localhost:5000/?a=b"),
    ],
)
def test_an_override_replaces_the_files_value(override, section, key, value):
    assert getattr(getattr(load(override), section), key) == value


@pytest.mark.usefixtures("folder")
def test_the_last_override_of_a_key_wins():
    assert load("name=first", "name=second").name == "second"


def test_an_override_fills_a_section_that_the_file_leaves_empty(edit):
    edit("experiment.yaml", "  num_layers: 2", "")

    assert load("model.num_layers=3").model.num_layers == 3


def test_an_override_mends_the_files_mistake(edit):
    edit("experiment.yaml", "num_layers: 2", "num_layers: two")

    assert load("model.num_layers=3").model.num_layers == 3


def test_a_relative_path_starts_at_the_working_directory(folder, monkeypatch):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "val.h5").touch()
    monkeypatch.chdir(elsewhere)

    experiment = load_experiment(folder / "experiment.yaml", ["data.val=val.h5"])

    assert experiment.data.val == elsewhere / "val.h5"
    assert experiment.data.train == folder / "jets" / "pp_output_train.h5"


def test_a_path_inside_an_overriding_section_starts_at_the_working_directory(folder, monkeypatch):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    experiment = load_experiment(folder / "experiment.yaml", ["search={space: ../space.yaml}"])

    assert experiment.search.space == folder / "space.yaml"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.num_steps", "expected key=value, as in training.num_steps=50."),
        ("=5", "expected key=value, as in training.num_steps=50."),
        ("training..num_steps=5", "expected key=value, as in training.num_steps=50."),
        ("training.num_stepz=5", "unknown key. Did you mean num_steps?"),
        ("num_steps=5", "unknown key. Did you mean training.num_steps?"),
        ("traning.num_steps=5", "unknown key. Did you mean training?"),
        ("mup={base_widht: 32}", "base_widht: unknown key. Did you mean base_width?"),
        ("name.first=x", "name is 'tiny', which has no keys."),
        ("training.num_steps=abc", "expected an integer of at least 1, found 'abc'."),
        ("search.widths=[32", "not YAML: expected ',' or ']', but got '<stream end>'."),
        ("search.widths=[32,100]", "width 100 is not a multiple of num_heads 8. Nearest widths: 96, 104."),
        ("mup={base_width: 32, base_width: 64}", "base_width is given twice."),
        ("data.val=nowhere.h5", "no such file: nowhere.h5."),
        ("data.val=${RAYTAG_UNSET}/val.h5", "the environment variable RAYTAG_UNSET is not set."),
    ],
)
def test_a_mistake_in_an_override_names_the_override(override, message):
    with pytest.raises(ConfigError) as caught:
        load(override)

    assert str(caught.value) == f"override {override}: {message}"


def test_mistakes_of_file_and_overrides_are_reported_together(edit):
    edit("experiment.yaml", "num_layers: 2", "num_layer: 2")

    with pytest.raises(ConfigError) as caught:
        load("training.batch_size=0", "search")

    assert str(caught.value).splitlines() == [
        "override search: expected key=value, as in training.num_steps=50.",
        "override training.batch_size=0: expected an integer of at least 1, found 0.",
        "experiment.yaml:9 model.num_layer: unknown key. Did you mean num_layers?",
    ]


def test_the_files_own_values_are_left_alone():
    data = {"training": {"num_steps": 100}}
    overrides, _ = parse_overrides(["training.num_steps=50"])

    changed, _ = apply(data, overrides)

    assert changed == {"training": {"num_steps": 50}}
    assert data == {"training": {"num_steps": 100}}
