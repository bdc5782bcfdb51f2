import dataclasses
import json
import shutil

import optuna
import pytest
import torch
from finished_study import COMPLETE, FAILED, RUNNING

from raytag import provenance
from raytag.config.document import dump_yaml, load_yaml, parse
from raytag.errors import StudyError
from raytag.records import OBJECTIVE
from raytag.search.folder import StudyFolder
from raytag.search.study import Study
from raytag.trained import load_model, read_model_file
from raytag.trained.extract import extract
from raytag.trained.model_file import write_model_file
from raytag.training import checkpoint


@pytest.fixture
def extracted(finished, tmp_path):
    """A file made of the completed trial."""
    path = tmp_path / "model.pt"
    write_model_file(path, extract(finished, COMPLETE))
    return path


def with_members(study, replicas, folds):
    """Let a study's settings say that each trial has several trainings."""
    settings = load_yaml(study.experiment).data
    settings["search"] |= {"replicas": replicas, "folds": folds}
    study.experiment.write_text(dump_yaml(settings))


def test_an_extracted_model_gives_the_bits_of_the_group_it_comes_from(extracted, group, workload):
    model = load_model(extracted)
    inside = group.model(1).eval()

    for batch in workload.batches("val"):
        with torch.no_grad():
            alone, together = model(batch), inside(batch)
        assert alone.keys() == together.keys()
        assert all(torch.equal(alone[task], together[task]) for task in alone)


def test_a_file_is_plain_data_that_torch_reads_alone(extracted):
    content = torch.load(extracted, weights_only=True)

    assert content["raytag_model"] == 1
    assert content["width"] == 16
    assert content["step"] == 30
    assert content["class_names"] == ["bjets", "cjets", "ujets", "taujets"]
    assert list(content["variables"]["jets"]) == ["pt_btagJes", "eta_btagJes"]
    assert content["variables"]["tracks"]["d0"].keys() == {"mean", "std"}
    assert parse(content["experiment"]).value["name"] == "tiny"
    assert content["provenance"] | {"study": "tiny", "trial": COMPLETE} == content["provenance"]


def test_the_multipliers_are_in_the_state_dict(extracted, group):
    content = torch.load(extracted, weights_only=True)

    alpha = content["hyperparameters"]["alpha_output"]
    assert alpha == pytest.approx(group.trials[1].hyperparameters.alpha_output)
    assert content["state_dict"]["jet_classification.tail.readout.alpha_output"] == pytest.approx(alpha)
    assert content["state_dict"].keys() == group.model(1).state_dict().keys()


def test_a_file_reads_back_as_it_was_written(extracted, finished):
    written, read = extract(finished, COMPLETE), read_model_file(extracted)

    for field in dataclasses.fields(written):
        before, after = getattr(written, field.name), getattr(read, field.name)
        if field.name == "state_dict":
            assert all(torch.equal(before[name], after[name]) for name in before)
        elif field.name in ("jets", "tracks"):
            assert before.to_dict() == after.to_dict()
        else:
            assert before == after, field.name


def test_a_model_of_another_version_is_told(finished, tmp_path):
    model = extract(finished, COMPLETE)
    weights = {name: tensor for name, tensor in model.state_dict.items() if name != "encoder.register"}
    write_model_file(tmp_path / "model.pt", dataclasses.replace(model, state_dict=weights))

    with pytest.raises(StudyError, match=r"w16-0000: extracted by raytag .*encoder.register.* Extract it again"):
        load_model(tmp_path / "model.pt")


def test_neither_study_nor_data_are_needed_to_load(study, jets, tmp_path):
    copy = tmp_path / "jets"
    shutil.copytree(jets, copy)
    study.experiment.write_text(study.experiment.read_text().replace(str(jets), str(copy)))
    write_model_file(tmp_path / "model.pt", extract(study))
    study.path.rename(tmp_path / "elsewhere")
    shutil.rmtree(copy)

    assert load_model(tmp_path / "model.pt").training is False


def test_best_is_the_completed_trial_with_the_lowest_objective(finished):
    assert extract(finished).trial.name == COMPLETE
    assert extract(finished, width=16).trial.name == COMPLETE


def test_a_running_trial_gives_its_last_saved_step(study):
    saved = checkpoint.load(study.checkpoint(COMPLETE))
    trial = dataclasses.replace(saved.state.trial, name=RUNNING)
    study.checkpoint(RUNNING).parent.mkdir(parents=True)
    state = dataclasses.replace(saved.state, trial=trial, step=20)
    checkpoint.save(study.checkpoint(RUNNING), state, saved.table, {20: {"val/objective": 1.2}})

    model = extract(study, RUNNING)

    assert (model.trial.name, model.step, model.num_steps) == (RUNNING, 20, 30)


def test_the_origin_is_that_of_the_study_s_last_run(study):
    study.add_provenance(json.dumps(provenance.collect({"search": 1}).to_dict()))

    origin = extract(study).provenance

    assert origin["trained_by"] == origin["extracted_by"]
    assert {"commit", "is_dirty", "packages", "started"} <= origin.keys()


def test_a_member_is_chosen_by_replica_and_fold(study):
    with_members(study, replicas=2, folds=2)
    shutil.copytree(study.checkpoint(COMPLETE).parent, study.checkpoint(f"{COMPLETE}-r1f0").parent)

    assert extract(study, member="r1f0").step == 30


@pytest.mark.parametrize(
    ("trial", "options", "message"),
    [
        ("w16-00", {}, r"w16-00: the study has no such trial. Did you mean w16-000\d\? It has w16-0000 to w16-0002."),
        ("best", {"width": 32}, "--width 32: the study has no trials of this width. It has 16."),
        (COMPLETE, {"width": 32}, "--width 32: w16-0000 has width 16. Leave --width out."),
        (COMPLETE, {"member": "r1"}, "--member r1: w16-0000 was trained once. Leave --member out."),
        (FAILED, {}, r"failed \(the loss became nan\), and a failed trial's checkpoint is not kept."),
        (RUNNING, {}, "w16-0002: it is running, and nothing of it has been saved yet."),
    ],
)
def test_what_cannot_be_extracted_is_told(finished, trial, options, message):
    with pytest.raises(StudyError, match=message):
        extract(finished, trial, **options)


def test_a_pruned_trial_is_told(study):
    opened = Study.open(study, *study.load_settings())
    opened.report(RUNNING, 10, [{OBJECTIVE: 2.0}])
    opened._journal.end(RUNNING, optuna.trial.TrialState.PRUNED)

    with pytest.raises(StudyError, match="w16-0002: it was pruned at step 10, and a pruned trial's checkpoint is not"):
        extract(study, RUNNING)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (None, "w16-0000: it was trained 4 times. Choose one with --member r0f0, r0f1, r1f0 or r1f1"),
        ("r2f0", "--member r2f0: w16-0000 has no such member. Did you mean r1f0|r0f0\\? It has r0f0, r0f1, r1f0 and"),
    ],
)
def test_a_member_has_to_be_named_and_known(study, member, message):
    with_members(study, replicas=2, folds=2)

    with pytest.raises(StudyError, match=message):
        extract(study, member=member)


def test_without_trials_there_is_nothing_to_extract(study):
    study.journal.unlink()

    with pytest.raises(StudyError, match="the search has no trials yet"):
        extract(study)


def test_a_folder_without_study_is_told(tmp_path):
    with pytest.raises(StudyError, match="no study here"):
        extract(StudyFolder(tmp_path))
