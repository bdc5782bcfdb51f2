"""A written experiment reads back equal from anywhere, and its digest moves with the results only."""

from pathlib import Path

import pytest

from raytag.config.load import load_experiment, load_space
from raytag.config.resolved import Change, changes, dump_experiment, dump_space, results_digest


def test_a_dumped_experiment_reads_back_equal_from_another_folder(folder, monkeypatch):
    experiment = load_experiment(
        Path("experiment.yaml"), ["name='1e5'", "data.num_val_jets=100", "training.batch_size=32"]
    )
    copy = folder / "elsewhere" / "copy.yaml"
    copy.parent.mkdir()
    copy.write_text(dump_experiment(experiment))
    monkeypatch.chdir("/")

    assert load_experiment(copy) == experiment


def test_a_dumped_space_reads_back_equal_and_in_order(folder):
    space = load_space(Path("space.yaml"))
    (folder / "copy.yaml").write_text(dump_space(space))

    copy = load_space(Path("copy.yaml"))

    assert copy == space
    assert list(copy.root) == list(space.root)


@pytest.fixture
def digest(folder):  # noqa: ARG001  (it makes the working directory)
    def digest(*overrides):
        experiment = load_experiment(Path("experiment.yaml"), overrides)
        return results_digest(experiment, load_space(experiment.search.space))

    return digest


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "output=elsewhere",
        "resources.slots=8",
        "resources.checkpoint_seconds=5",
        "mlflow.experiment=other",
        "data.cache=cache",
        "data.test=jets/pp_output_test_ttbar.h5",
        "data.num_test_jets=100",
        "mup.skip_check=true",
        "search.trials_per_width=100",
        "search.widths=[32,64,128]",
    ],
)
def test_where_and_how_much_is_run_does_not_move_the_digest(digest, override):
    assert digest(override) == digest()


@pytest.mark.parametrize(
    "override",
    [
        "data.num_train_jets=500",
        "data.val=jets/pp_output_test_ttbar.h5",
        "model.num_layers=3",
        "mup.base_width=64",
        "training.num_steps=110",
        "training.data_seed=1",
        "hyperparameters.eps=1e-7",
        "search.seed=2",
        "search.first_rung=10",
        "search.replicas=2",
        "search.folds=2",
        "search.reduction=worst",
        "search.best_fraction=0.25",
    ],
)
def test_what_changes_a_trial_moves_the_digest(digest, override):
    assert digest(override) != digest()


def test_changes_are_named_by_their_keys(folder):  # noqa: ARG001  (it makes the working directory)
    old, new = (
        load_experiment(Path("experiment.yaml"), overrides) for overrides in ([], ["search.widths=[32,64,128]"])
    )

    (change,) = changes(old, new)
    assert change == Change("search.widths", [32, 64], [32, 64, 128])
    assert change.grows
    assert changes(new, new) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("low: 1e-4", "low: 2e-4"), ("dropout:", "label_smoothing:"), ("transfer: no", "transfer: verify")],
)
def test_the_search_space_moves_the_digest(digest, edit, old, new):
    before = digest()
    edit("space.yaml", old, new)

    assert digest() != before


def test_the_order_of_the_space_moves_the_digest(digest, folder):
    before = digest()
    lines = (folder / "space.yaml").read_text().splitlines()
    (folder / "space.yaml").write_text("\n".join([lines[-1], *lines[:-1]]))

    assert digest() != before


def test_a_space_that_only_moved_keeps_the_digest(digest, folder):
    (folder / "moved.yaml").write_text((folder / "space.yaml").read_text())

    assert digest("search.space=moved.yaml") == digest()
