from dataclasses import replace

import pytest

from raytag.config.document import dump_yaml, load_yaml
from raytag.config.load import load_experiment
from raytag.errors import StudyError
from raytag.transfer.folder import WideFolder, WideProgress
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.target import Target


def changed(plan, section, **values):
    settings = getattr(plan.experiment, section).model_copy(update=values)
    return replace(plan, experiment=plan.experiment.model_copy(update={section: settings}))


def test_the_wide_experiment_can_be_validated_and_checked(folder, plan):
    assert load_experiment(folder.experiment) == plan.experiment


def test_the_wide_experiment_of_a_short_training_is_valid_whatever_the_search_was(study, tmp_path):
    settings = load_yaml(study.experiment).data
    settings["search"] |= {"scheduler": "pbt", "population": 4, "trials_per_width": 4, "perturb_every": 20}
    study.experiment.write_text(dump_yaml(settings))
    folder = WideFolder(tmp_path / "wide")

    folder.prepare(prepare_transfer(study, Target(32, num_steps=10)))

    experiment = load_experiment(folder.experiment)
    assert (experiment.search.sampler, experiment.search.widths) == ("fixed", (32,))


def test_the_same_settings_may_be_given_again(folder, plan):
    identity = folder.identity.read_text()

    folder.prepare(plan)

    assert folder.identity.read_text() == identity


@pytest.mark.parametrize(
    ("section", "values", "line"),
    [
        ("training", {"num_steps": 40}, "  training.num_steps: that run has 30, now 40"),
        ("hyperparameters", {"lr": 0.5}, "  hyperparameters.lr: that run has "),
        ("mup", {"base_width": 8}, "  mup.base_width: that run has 16, now 8"),
    ],
)
def test_other_settings_are_refused_by_their_names(folder, plan, section, values, line):
    with pytest.raises(StudyError) as caught:
        folder.prepare(changed(plan, section, **values))

    assert str(folder.path) in str(caught.value)
    assert line in str(caught.value)
    assert "--restart" in str(caught.value)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("resources", {"num_workers": 4}),
        ("mlflow", {"tracking_uri": None}),
        ("search", {"trials_per_width": 50}),
        ("mup", {"skip_check": False}),
    ],
)
def test_settings_without_influence_on_the_model_may_change(folder, plan, section, values):
    folder.result.write_text("{}")

    folder.prepare(changed(plan, section, **values))

    assert folder.result.exists()


def test_other_test_jets_ask_for_a_new_result(folder, plan):
    folder.result.write_text("{}")
    folder.checkpoint.touch()

    folder.prepare(changed(plan, "data", num_test_jets=100))

    assert not folder.result.exists()
    assert folder.checkpoint.exists()


def test_what_killed_workers_leave_is_removed(folder, plan):
    folder.ray.mkdir()
    (folder.path / "checkpoint.1234.partial").touch()

    folder.prepare(plan)

    assert {path.name for path in folder.path.iterdir()} == {"experiment.yaml", "plan.json", "identity"}


def test_a_run_moved_aside_makes_room(folder, plan):
    identity = folder.identity.read_text()

    aside = folder.move_aside()
    folder.prepare(plan)

    assert (aside / "identity").read_text() == identity
    assert folder.identity.read_text() != identity


def test_progress_is_read_as_it_was_written(folder):
    progress = WideProgress(20, 1.5, {10: {"val/objective": 1.25}}, failure=None, worker="host:1", first_step=10)

    assert folder.read_progress() == WideProgress()
    folder.write_progress(progress)
    assert folder.read_progress() == progress
