"""Whole transfers on a local Ray: bad ends, a warm start, a verification. The others, and signals, are in tests/e2e."""

import math
from dataclasses import replace
from io import StringIO

import pytest
import ray
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console

from raytag.errors import CheckError, StudyError
from raytag.records import TrialState
from raytag.report.warm_start import CONTINUED, NARROW, SCRATCH, WARM
from raytag.search.folder import StudyFolder, exclusive
from raytag.search.study import Study
from raytag.search.verdict import keep_verdict
from raytag.training import checkpoint
from raytag.training.workload import WHOLE
from raytag.transfer.folder import WideFolder, read_json
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.run import run_transfer
from raytag.transfer.source import Source
from raytag.transfer.target import Target
from raytag.transfer.warm_start import narrow_model, plan_warm_start, write_starts
from raytag.transfer.worker import WideJob, WideRun

CPU = torch.device("cpu")

pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SADeprecationWarning",  # mlflow's own queries
    "ignore::FutureWarning",  # ray's announcements
    "ignore::DeprecationWarning",  # ray.data sets its own deprecated options when ray.train imports it
    "ignore::ResourceWarning",  # sockets and files that ray leaves to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def changed(plan, path, **sections):
    """Return a plan with other settings in some sections of its experiment, recorded in a database of its own."""
    sections = {"mlflow": {"tracking_uri": f"sqlite:///{path}/mlflow.db"}, **sections}
    update = {name: getattr(plan.experiment, name).model_copy(update=values) for name, values in sections.items()}
    return replace(plan, experiment=plan.experiment.model_copy(update=update))


def recorded_run(name, path):
    client = MlflowClient(tracking_uri=f"sqlite:///{path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("raytag").experiment_id])
    (run,) = [run for run in found if run.info.run_name == name]
    return run


def test_a_training_that_diverges_ends_with_its_reason_here_and_in_mlflow(study, plan, tmp_path):
    wild = changed(plan, tmp_path, hyperparameters={"lr": 1e30})

    with pytest.raises(StudyError, match=r"w32-from-w16-0000: .* not finite at step \d+ .* Lower lr"):
        run_transfer(wild, study, Console(file=StringIO()))

    run = recorded_run(wild.trial.name, tmp_path)
    assert run.info.status == "FAILED"
    assert "not finite at step" in run.data.tags["failure"]


def test_a_gate_that_fails_ends_the_transfer_before_training(study, plan, tmp_path):
    control = changed(plan, tmp_path, mup={"parametrisation": "standard", "skip_check": False})
    out = StringIO()

    with pytest.raises(CheckError, match="a muP gate failed, so the tuned values would not transfer"):
        run_transfer(control, study, Console(file=out))

    assert "FAIL" in out.getvalue()
    assert not WideFolder(study.path / "transfer" / plan.trial.name).checkpoint.exists()
    run = recorded_run(control.trial.name, tmp_path)
    assert (run.info.status, run.data.tags["mup.gates"]) == ("FAILED", "failed")


def test_a_damaged_checkpoint_ends_the_transfer_with_its_path(study, plan, tmp_path):
    plan = changed(plan, tmp_path, resources={"max_worker_failures": 0})
    folder = WideFolder(study.path / "transfer" / plan.trial.name)
    folder.prepare(plan)
    folder.checkpoint.write_bytes(b"no checkpoint")

    with pytest.raises(StudyError) as caught:
        run_transfer(plan, study, Console(file=StringIO()))

    assert f"the training stopped: {folder.checkpoint}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_one_process_runs_a_transfer(study):
    plan = prepare_transfer(study, Target(32))
    folder = WideFolder(study.path / "transfer" / plan.trial.name)

    with exclusive(folder.lock, "the other"), pytest.raises(StudyError, match="another process runs this transfer"):
        run_transfer(plan, study, Console(file=StringIO()))


def test_other_settings_for_the_same_run_are_refused_before_ray_starts(study, plan, tmp_path):
    WideFolder(study.path / "transfer" / plan.trial.name).prepare(plan)

    with pytest.raises(StudyError, match=r"hyperparameters\.lr: that run has .*, now 0\.5"):
        run_transfer(changed(plan, tmp_path, hyperparameters={"lr": 0.5}), study, Console(file=StringIO()))

    assert not ray.is_initialized()


def test_a_warm_start_goes_on_with_the_arm_that_is_left_and_shows_all(study, plan, tmp_path):
    plan = changed(plan, tmp_path)
    warm = plan_warm_start(plan, "tiny", narrow_model(Source(study, plan.narrow)))
    folder, scratch = (WideFolder(study.path / "transfer" / each.trial.name) for each in (warm.wide, plan))
    for place, training in ((folder, warm.wide), (folder.continued, warm.continued), (scratch, plan)):
        place.prepare(training)
    write_starts(warm, folder, CPU)
    WideRun(WideJob(plan.experiment, plan.trial, scratch), CPU, WHOLE).run()
    continued = WideJob(warm.continued.experiment, warm.continued.trial, folder.continued, folder.continued.start)
    WideRun(continued, CPU, WHOLE).run()
    before = folder.continued.checkpoint.read_bytes()

    outcome = run_transfer(warm.wide, study, Console(file=StringIO()), warm=warm)

    assert folder.continued.checkpoint.read_bytes() == before
    assert checkpoint.load(folder.checkpoint).state.trial == warm.wide.trial
    assert [*outcome.warm.models] == [NARROW, CONTINUED, SCRATCH, WARM]
    objectives = {name: metrics["objective"] for name, metrics in outcome.warm.models.items()}
    assert objectives[NARROW] == outcome.comparison.narrow["objective"] == max(objectives.values())
    assert objectives[WARM] == outcome.comparison.wide["objective"] not in (objectives[SCRATCH], objectives[CONTINUED])
    kinds = [recorded_run(each.trial.name, tmp_path).data.tags["raytag.kind"] for each in (warm.continued, warm.wide)]
    assert kinds == ["continued", "wide"]

    again = StringIO()
    assert run_transfer(warm.wide, study, Console(file=again), warm=warm).warm == outcome.warm
    assert "Finished before" in again.getvalue()


def test_a_carried_rate_is_verified_in_a_study_of_its_own_and_only_once(study, plan, tmp_path):
    plan = changed(plan, tmp_path, mup={"skip_check": False})
    folder = WideFolder(study.path / "transfer" / plan.trial.name)
    folder.prepare(plan)
    keep_verdict(folder, plan.experiment, {"passed": True, "lines": []})
    WideRun(WideJob(plan.experiment, plan.trial, folder), CPU, WHOLE).run()

    before, out = StringIO(), StringIO()
    first = run_transfer(plan, study, Console(file=before), verifies=True)
    again = run_transfer(plan, study, Console(file=out), verifies=True)

    assert before.getvalue().count("muP gates: passed before") == 2  # of the wide run, and so of the verification
    records = Study.load(StudyFolder(folder.path / f"{plan.trial.name}-verify")).records()
    octaves = [math.log2(record.lr / plan.trial.hyperparameters.lr) for record in records]
    assert [round(octave, 6) for octave in octaves[:3]] == [-1, 0, 1]
    assert len(octaves) >= 5
    assert {len(record.objectives) for record in records if record.state is TrialState.COMPLETE} == {3}
    assert again.verification.to_dict() == first.verification.to_dict()
    assert "Verifying" not in out.getvalue()
    result = read_json(folder.result)
    assert result["verification"]["gap"]["value"] == first.verification.gap.value
    assert result["cost"]["verification_flops"] == sum(record.cost.train_flops for record in records)
    assert recorded_run(f"{plan.trial.name}-verify", tmp_path).data.tags["raytag.kind"] == "study"
    metrics = recorded_run(plan.trial.name, tmp_path).data.metrics
    assert metrics["verify/gap"] == first.verification.gap.value
    assert metrics["cost/wide_run_flops"] == first.ledger.wide_run.train_flops > 0
