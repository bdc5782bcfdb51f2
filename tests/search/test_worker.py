"""The worker with a real study and the toy workload, in this process: Ray adds only distance."""

from unittest.mock import DEFAULT, Mock
from weakref import WeakSet

import pytest
import torch
from mortal_workers import Killed, MortalWorkload
from row_states import same_bits
from toy_workload import ToyModel, ToyWorkload

from raytag.records import SECONDS, TrialState
from raytag.search.folder import StudyFolder
from raytag.search.owner import StudyOwner
from raytag.search.worker import Worker
from raytag.training import checkpoint, optimizer
from raytag.training.executors import Candidate, ExecutorChoice, Vmap, choose_executor
from raytag.training.trial_group import TrialGroup, compaction_target

STEPS = (10, 20, 30, 40)
STUDIES = ("study", "undisturbed")
ONE_WIDTH = {"widths": (32,), "trials_per_width": 4}


class MortalOwner:
    """An owner whose caller is killed at its n-th report, before or after the report arrives."""

    def __init__(self, owner, num_reports, arrives):
        self.owner, self.left, self.arrives = owner, num_reports, arrives

    def __getattr__(self, name):
        return getattr(self.owner, name)

    def report(self, *arguments):
        self.left -= 1
        if self.left == 0:
            if self.arrives:
                self.owner.report(*arguments)
            raise Killed
        return self.owner.report(*arguments)


class Poisonous(ToyWorkload):
    """A workload whose losses are no numbers for some models."""

    def __init__(self, experiment, is_poisoned):
        super().__init__(experiment)
        self.is_poisoned = is_poisoned

    def loss_terms(self, model, batch):
        terms = super().loss_terms(model, batch)
        if self.is_poisoned(model):
            terms.numerators.mul_(float("nan"))
        return terms


def has_choice(*choices):
    """Tell the models of trials that have drawn one of these choices of the space."""
    return lambda model: float(model.classify.alpha_output) in choices


class TightWorkload(ToyWorkload):
    """A workload whose memory holds a number of models; with more it runs out, at the n-th call of a method."""

    def __init__(self, experiment, num_models, method, num_calls):
        super().__init__(experiment)
        self.num_models, self.method, self.left, self.num_shortages = num_models, method, num_calls, 0
        self.models = WeakSet()

    def build_model(self, width):
        model = super().build_model(width)
        if model.loss_weights.device.type != "meta":
            self.models.add(model)
        self.allocate("build_model")
        return model

    def loss_terms(self, *arguments):
        self.allocate("loss_terms")
        return super().loss_terms(*arguments)

    def evaluate(self, *arguments):
        self.allocate("evaluate")
        return super().evaluate(*arguments)

    def allocate(self, method):
        self.left -= method == self.method
        if self.left <= 0 and len(self.models) > self.num_models:
            self.num_shortages += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture
def new_owner(make_experiment, space, folder):
    """Start an owner with one registered worker."""

    def new(path=folder.path, **settings):
        path.mkdir(exist_ok=True)
        experiment = make_experiment(**{"sampler": "random"} | settings)
        owner = StudyOwner(StudyFolder(path), experiment, space, num_workers=1)
        owner.register("a")
        return owner

    return new


@pytest.fixture
def work(folder):
    """Let a worker work until the owner has nothing left, or until it is killed."""

    def work_(owner, path=folder.path, workload=None, name="a"):
        worker = Worker(name, owner, workload or ToyWorkload(experiment_of(owner)), StudyFolder(path))
        try:
            worker.work()
        except Killed:
            owner.register(name)

    return work_


@pytest.fixture
def undisturbed(new_owner, work, tmp_path):
    """Return the results of a search with these settings that nothing disturbs."""

    def undisturbed_(**settings):
        owner = new_owner(tmp_path / "undisturbed", **settings)
        work(owner, tmp_path / "undisturbed")
        return results(owner)

    return undisturbed_


def experiment_of(owner):
    return owner._study.experiment


def records(owner):
    return {record.name: record for record in owner.snapshot().records}


def results(owner):
    """All that a study says, but for the time it took."""
    return {
        name: (
            record.state,
            record.searched,
            {step: untimed(metrics) for step, metrics in record.history.items()},
            {step: [untimed(metrics) for metrics in members] for step, members in record.members.items()},
        )
        for name, record in records(owner).items()
    }


def untimed(metrics):
    return {name: value for name, value in metrics.items() if name != SECONDS}


def test_all_trials_of_all_widths_are_trained_to_the_end(new_owner, work):
    owner = new_owner()
    work(owner)

    assert len(records(owner)) == 12
    for record in records(owner).values():
        assert record.state is TrialState.COMPLETE
        assert tuple(record.history) == STEPS


def test_a_report_holds_the_workloads_metrics_the_cost_and_the_size(new_owner, work):
    owner = new_owner(widths=(32,), trials_per_width=1)
    work(owner)

    record = records(owner)["w32-0000"]
    metrics = record.history[40]
    assert record.num_parameters == sum(p.numel() for p in ToyModel(32, 32).parameters())
    assert {"val/objective", "val/objective_stderr", "val/loss", "val/accuracy", "train/loss"} <= metrics.keys()
    earlier = records(owner)["w32-0000"].history[10]
    assert metrics["seconds"] > earlier["seconds"] > 0
    assert metrics["train_flops"] == 4 * earlier["train_flops"] > 0


@pytest.mark.parametrize("arrives", [False, True])
@pytest.mark.parametrize("num_reports", [1, 6, 8])
def test_a_killed_workers_trials_go_on_as_if_nothing_had_happened(new_owner, work, undisturbed, num_reports, arrives):
    owner = new_owner(**ONE_WIDTH)
    work(MortalOwner(owner, num_reports, arrives))
    work(owner)

    assert results(owner) == undisturbed(**ONE_WIDTH)


@pytest.mark.parametrize("arrives", [False, True])
@pytest.mark.parametrize("num_reports", [1, 6])
def test_so_do_trials_of_several_members(new_owner, work, undisturbed, num_reports, arrives):
    settings = {"widths": (32,), "trials_per_width": 2, "replicas": 2, "folds": 2, "resources": {"slots": 5}}
    owner = new_owner(**settings)
    work(MortalOwner(owner, num_reports, arrives))
    work(owner)

    assert results(owner) == undisturbed(**settings)


@pytest.mark.parametrize("case", [(8, 1), (38, 1), (8, 2), (38, 2)])  # among the first and the second ten steps
def test_another_worker_takes_over_between_two_validations(new_owner, work, undisturbed, tmp_path, case):
    num_batches, replicas = case
    settings = ONE_WIDTH | {"trials_per_width": 2, "replicas": replicas, "resources": {"checkpoint_seconds": 1e-9}}
    expected = undisturbed(**settings)
    owner = new_owner(**settings)
    work(owner, workload=MortalWorkload(experiment_of(owner), num_batches))
    owner.release("a", "its node went away")
    owner.register("b")
    work(owner, name="b")

    assert results(owner) == expected
    for path in (tmp_path / "study" / "trials").glob("*/checkpoint.pt"):
        mine, theirs = (checkpoint.load(tmp_path / study / path.relative_to(tmp_path / "study")) for study in STUDIES)
        assert same_bits(mine.state, theirs.state)


@pytest.mark.parametrize(("checkpoint_seconds", "repeated"), [(1e-9, 0), (None, 4), (1e9, 4)])
def test_a_lost_worker_loses_what_it_did_since_its_last_checkpoint(new_owner, work, checkpoint_seconds, repeated):
    resources = {"checkpoint_seconds": checkpoint_seconds}
    owner = new_owner(widths=(32,), trials_per_width=1, resources=resources)
    first = MortalWorkload(experiment_of(owner), 1 + 14 + 1)  # one counts the operations, the last one kills
    work(owner, workload=first)
    second = MortalWorkload(experiment_of(owner), 1 + STEPS[-1])
    work(owner, workload=second)

    num_trained = STEPS[-1] - second.left
    assert num_trained == STEPS[-1] - 14 + repeated


def test_what_killed_workers_were_writing_is_removed(new_owner, work, folder):
    partial = folder.checkpoint("w32-0000").with_name("checkpoint.4711.partial")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"half a tens")
    work(new_owner(widths=(32,), trials_per_width=1))

    assert [path.name for path in partial.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("num_saves", [1, 2, 3, 6])
def test_members_that_were_killed_at_different_steps_meet_again(new_owner, work, undisturbed, monkeypatch, num_saves):
    settings = {"widths": (32,), "trials_per_width": 1, "replicas": 3, "resources": {"slots": 3}}
    expected = undisturbed(**settings)
    save = Mock(wraps=checkpoint.save, side_effect=[DEFAULT] * num_saves + [Killed])

    owner = new_owner(**settings)
    with monkeypatch.context() as patch:
        patch.setattr("raytag.training.checkpoint.save", save)
        work(owner)
        save.side_effect = None
        save.reset_mock()
        work(owner)

    assert results(owner) == expected
    steps = [call.args[1].step for call in save.call_args_list]
    assert steps == sorted(steps)  # none went ahead


def test_a_member_is_trained_as_a_trial_of_its_own(new_owner, work, tmp_path):
    alone = new_owner(tmp_path / "alone", widths=(32,), trials_per_width=2)
    work(alone, tmp_path / "alone")
    owner = new_owner(widths=(32,), trials_per_width=2, replicas=2)
    work(owner)

    for name, record in records(owner).items():
        for step, (first, second) in record.members.items():
            assert untimed(first) == untimed(records(alone)[name].history[step])
            assert first["val/objective"] != second["val/objective"]
            assert record.history[step]["train_flops"] == 2 * first["train_flops"]
    assert {path.parent.name for path in (tmp_path / "study").glob("trials/*/checkpoint.pt")} == {
        f"{name}-r{replica}" for name in records(owner) for replica in (0, 1)
    }


def test_folds_are_trained_and_validated_on_other_events(new_owner, work):
    owner = new_owner(widths=(32,), trials_per_width=1, folds=2)
    work(owner)

    first, second = records(owner)["w32-0000"].members[40]
    assert first["train/loss"] != second["train/loss"]
    assert first["val/objective"] != second["val/objective"]


def test_a_member_that_fails_ends_its_trial_and_no_other(new_owner, work, folder):
    owner = new_owner(folds=2)
    poisoned = Poisonous(experiment_of(owner), lambda model: has_choice(4)(model) and model.held_out == 1)
    work(owner, workload=poisoned)

    states = set()
    for name, record in records(owner).items():
        is_poisoned = record.searched["alpha_output"] == 4
        states.add(record.state)
        assert record.state is (TrialState.FAILED if is_poisoned else TrialState.COMPLETE)
        assert not is_poisoned or record.failure.startswith(f"{name}-f1: ")
        assert folder.checkpoint(f"{name}-f0").exists() is not is_poisoned
    assert len(states) == 2


def test_a_trial_whose_end_was_lost_with_the_owner_ends_without_training(new_owner, work, folder, monkeypatch):
    owner = new_owner(widths=(32,), trials_per_width=1)
    with monkeypatch.context() as patch:
        patch.setattr("optuna.Study.tell", Mock(side_effect=Killed))
        work(owner)
    owner._lock.close()
    owner = new_owner(widths=(32,), trials_per_width=1)
    work(owner)

    assert records(owner)["w32-0000"].state is TrialState.COMPLETE
    assert folder.checkpoint("w32-0000").exists()


def test_a_resumed_trial_repeats_no_step_it_has_saved(new_owner, work, monkeypatch):
    steps = []
    monkeypatch.setattr("raytag.search.training_loop.flops_per_step", lambda *_: 1)  # it looks at a batch of its own
    owner = new_owner(widths=(32,), trials_per_width=1)
    workload = ToyWorkload(experiment_of(owner))
    fetch = workload.train_batch
    monkeypatch.setattr(workload, "train_batch", lambda step: steps.append(step) or fetch(step))
    work(MortalOwner(owner, num_reports=3, arrives=False), workload=workload)
    work(owner, workload=workload)

    assert steps == list(range(STEPS[-1]))


def test_pruned_trials_stop_and_leave_no_checkpoint(new_owner, work, folder):
    owner = new_owner(first_rung=10, reduction_factor=2)
    work(owner)

    states = {record.name: record.state for record in records(owner).values()}
    kept = {path.parent.name for path in folder.path.glob("trials/*/checkpoint.pt")}
    assert set(states.values()) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert kept == {name for name, state in states.items() if state is TrialState.COMPLETE}


def test_one_trials_nan_leaves_its_neighbours_alone(new_owner, work):
    owner = new_owner()
    work(owner, workload=Poisonous(experiment_of(owner), has_choice(4)))

    for record in records(owner).values():
        is_poisoned = record.searched["alpha_output"] == 4
        assert record.state is (TrialState.FAILED if is_poisoned else TrialState.COMPLETE)
        assert not is_poisoned or "not finite at step 0" in record.failure_reason
        assert record.has_diverged is is_poisoned


def test_a_validation_that_raises_fails_its_trial_only(new_owner, work):
    class Fragile(ToyWorkload):
        def evaluate(self, model, *split):
            if float(model.classify.alpha_output) == 4:
                raise ValueError("no such jet")
            return super().evaluate(model, *split)

    owner = new_owner()
    work(owner, workload=Fragile(experiment_of(owner)))

    states = {record.searched["alpha_output"] == 4: record for record in records(owner).values()}
    assert states[False].state is TrialState.COMPLETE
    assert states[True].failure.startswith("ValueError: no such jet\nTraceback")
    assert states[True].broke_off


def test_an_error_in_the_shared_step_is_not_blamed_on_one_trial(new_owner, work, monkeypatch):
    monkeypatch.setattr("raytag.search.training_loop.flops_per_step", lambda *_: 1)  # it runs a step of its own

    class Broken(ToyWorkload):
        def loss_terms(self, *_):
            raise RuntimeError("the device is gone")

    owner = new_owner()
    with pytest.raises(RuntimeError, match="the device is gone"):
        work(owner, workload=Broken(experiment_of(owner)))

    assert {record.state for record in records(owner).values()} == {TrialState.RUNNING}


@pytest.mark.parametrize(
    ("method", "num_calls"), [("build_model", 1), ("loss_terms", 1), ("loss_terms", 30), ("evaluate", 2)]
)
def test_out_of_memory_nothing_is_lost(new_owner, work, undisturbed, method, num_calls):
    settings = {"widths": (32,), "trials_per_width": 6, "resources": {"slots": 5}}
    owner = new_owner(**settings)
    workload = TightWorkload(experiment_of(owner), 2, method, num_calls)
    work(owner, workload=workload)

    assert results(owner) == undisturbed(**settings)
    assert workload.num_shortages == 1  # from 5 slots to 2, for all trials that came after
    assert owner.snapshot().notes == ["a ran out of memory at width 32: it goes on with 2 slots (cpu)"]


def test_a_row_whose_update_broke_off_goes_back_to_its_checkpoint(new_owner, work, undisturbed, monkeypatch):
    settings = {"widths": (32,), "trials_per_width": 4, "resources": {"slots": 4}}
    expected = undisturbed(**settings)
    calls = []

    def update(row, *arguments):
        calls.append(row)
        if len(calls) == 50:  # the second of four rows, at step 13
            row.parameters.fill_(0)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        optimizer.update(row, *arguments)

    monkeypatch.setattr("raytag.training.trial_group.update", update)
    owner = new_owner(**settings)
    work(owner)

    assert results(owner) == expected


def test_the_members_of_a_trial_stay_together_when_memory_runs_out(new_owner, work, undisturbed):
    settings = {"widths": (32,), "trials_per_width": 2, "replicas": 3, "resources": {"slots": 6}}
    owner = new_owner(**settings)
    work(owner, workload=TightWorkload(experiment_of(owner), 3, "loss_terms", 40))

    assert results(owner) == undisturbed(**settings)


@pytest.mark.parametrize(("free", "slots"), [(10**12, 4), (0, 1)])
def test_without_a_wish_the_slots_follow_from_the_memory(new_owner, work, monkeypatch, free, slots):
    owner = new_owner(**ONE_WIDTH, resources={"slots": None})
    monkeypatch.setattr("raytag.search.worker.free_bytes", lambda *_: free)

    work(owner)

    assert [choice["slots"] for choice in owner._study.groups.choices()] == [slots]


def test_a_later_worker_begins_with_the_slots_that_fit(new_owner, work):
    owner = new_owner()
    owner.limit_slots("b", 64, "cpu", 1)
    workload = TightWorkload(experiment_of(owner), 1, "loss_terms", 1)
    work(owner, workload=workload)

    assert workload.num_shortages == 1  # at width 32
    assert {record.state for record in records(owner).values()} == {TrialState.COMPLETE}


@pytest.mark.parametrize("method", ["build_model", "evaluate"])
def test_a_trial_that_does_not_fit_by_itself_fails_with_the_reason(new_owner, work, folder, method):
    owner = new_owner(widths=(32,), trials_per_width=3)
    work(owner, workload=TightWorkload(experiment_of(owner), 0, method, 1))

    assert len(records(owner)) == 3
    for record in records(owner).values():
        assert record.state is TrialState.FAILED
        assert record.failure_reason.startswith("out of memory: width 32 with batches of 8 does not fit")
        assert record.failure.endswith("Tried to allocate 2.00 GiB.")
        assert record.broke_off
    assert not list(folder.path.glob("trials/*/checkpoint.pt"))


def test_members_that_do_not_fit_together_are_not_said_to_fail_by_themselves(new_owner, work):
    owner = new_owner(widths=(32,), trials_per_width=1, replicas=3, resources={"slots": 6})
    work(owner, workload=TightWorkload(experiment_of(owner), 2, "loss_terms", 1))

    (record,) = records(owner).values()
    assert "(cpu), not even the 3 trainings alone that advance in step." in record.failure
    assert "Lower search.replicas, search.folds or training.batch_size" in record.failure


@pytest.fixture
def compactions(monkeypatch):
    """Where each compaction moved the trials: new slot by old one."""
    moves = []
    compact = TrialGroup.compact

    def spy(group, num_slots):
        moves.append(compact(group, num_slots))
        return moves[-1]

    monkeypatch.setattr(TrialGroup, "compact", spy)
    return moves


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_group_that_empties_is_compacted_which_changes_nothing(new_owner, work, tmp_path, compactions, replicas):
    settings = {"widths": (32,), "trials_per_width": 4, "replicas": replicas, "resources": {"slots": 4 * replicas}}
    owners = []
    for name, target in (("whole", lambda _, num_slots: num_slots), ("compacted", compaction_target)):
        owners.append(new_owner(tmp_path / name, **settings))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("raytag.search.training_loop.compaction_target", target)
            first_two = has_choice(1, 2)
            work(owners[-1], tmp_path / name, Poisonous(experiment_of(owners[-1]), first_two))

    assert compactions == [{2 * replicas + slot: slot for slot in range(2 * replicas)}]
    assert results(owners[0]) == results(owners[1])


def test_a_group_that_has_no_memory_for_a_compaction_stays_as_it_is(new_owner, work, undisturbed, monkeypatch):
    expected = undisturbed(**ONE_WIDTH, resources={"slots": 8})
    monkeypatch.setattr(TrialGroup, "compact", Mock(side_effect=torch.OutOfMemoryError))
    owner = new_owner(**ONE_WIDTH, resources={"slots": 8})
    work(owner)

    assert results(owner) == expected
    assert owner.snapshot().notes == []


AUTO = {"widths": (32,), "trials_per_width": 2, "resources": {"executor": "auto"}}


def test_the_executor_is_chosen_once_in_a_study(new_owner, work, monkeypatch):
    choose = Mock(wraps=choose_executor)
    monkeypatch.setattr("raytag.search.worker.choose_executor", choose)
    owner = new_owner(**AUTO)
    work(owner)
    owner._lock.close()
    owner = new_owner(**AUTO | {"trials_per_width": 4})
    work(owner)

    assert choose.call_count == 1
    assert owner.choice(32, "2 slots, cpu, auto, compile off") == owner._study.groups.choices()[0]
    assert {record.state for record in records(owner).values()} == {TrialState.COMPLETE}


def test_a_kept_executor_is_used(new_owner, work, monkeypatch):
    used = []
    run = Vmap.__call__
    monkeypatch.setattr(Vmap, "__call__", lambda *arguments: used.append("vmap") or run(*arguments))
    owner = new_owner(**AUTO)
    choice = ExecutorChoice(32, 2, "cpu", Candidate("vmap", "off", "plain"), "found earlier", ())
    owner.keep_choice("2 slots, cpu, auto, compile off", choice.to_dict())
    work(owner)

    assert used
