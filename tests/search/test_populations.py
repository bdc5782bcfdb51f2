"""Population-based training with a real study and the toy workload, in this process."""

from unittest.mock import Mock

import pytest
from mortal_workers import Killed
from row_states import same_bits
from toy_workload import ToyWorkload

from raytag.records import SECONDS, TrialState
from raytag.search import population
from raytag.search.folder import StudyFolder
from raytag.search.population_owner import PopulationOwner
from raytag.search.worker import Worker
from raytag.training import checkpoint

SETTINGS = {"scheduler": "pbt", "population": 4, "trials_per_width": 8, "widths": (32,)}
NAMES = [f"w32-{number:04d}" for number in range(8)]


@pytest.fixture
def start(make_experiment, space, tmp_path):
    """Start an owner, as a new process would, with its registered workers."""

    def start_(name="study", workers=("a",), checkpoint_seconds=None, **settings):
        (tmp_path / name).mkdir(exist_ok=True)
        resources = {"slots": 4, "checkpoint_seconds": checkpoint_seconds}
        experiment = make_experiment(resources=resources, **SETTINGS | settings)
        owner = PopulationOwner(StudyFolder(tmp_path / name), experiment, space, num_workers=len(workers))
        for worker in workers:
            owner.register(worker)
        return owner

    return start_


@pytest.fixture
def work(tmp_path):
    def work_(owner, name="study"):
        Worker("a", owner, ToyWorkload(owner._study.experiment), StudyFolder(tmp_path / name)).work()

    return work_


def close(owner):
    """End the owner's process."""
    owner._lock.close()


def results(owner):
    return {
        record.name: (
            record.hyperparameters,
            record.moves,
            {step: {k: v for k, v in m.items() if k != SECONDS} for step, m in record.history.items()},
        )
        for record in owner.snapshot().records
    }


def states(tmp_path, name, trials):
    folder = StudyFolder(tmp_path / name)
    return {trial: checkpoint.load(folder.checkpoint(trial)).state for trial in trials}


def test_after_each_generation_the_worst_goes_on_from_the_best(start, work):
    owner = start()

    work(owner)

    records = {record.name: record for record in owner.snapshot().records}
    assert [record.state for record in records.values()] == [TrialState.COMPLETE] * 8
    for names in (NAMES[:4], NAMES[4:]):
        for step in (10, 20, 30):
            ranked = sorted(names, key=lambda name: records[name].history[step]["val/objective"])
            (moved,) = [name for name in names if step in records[name].moves]
            assert moved == ranked[-1]
            assert records[moved].moves[step].source == ranked[0]
    assert all(max(record.moves, default=0) < 40 for record in records.values())


def test_a_move_is_a_copy_of_the_row_with_other_hyperparameters(start, work, monkeypatch):
    """Replaced by an unperturbed copy of a trial with its own data order, a trial becomes that trial."""
    monkeypatch.setattr(population, "PERTURBED", frozenset())
    owner = start()

    work(owner)

    histories = {record.name: record for record in owner.snapshot().records}
    copies = [(name, step, move.source) for name in NAMES for step, move in histories[name].moves.items()]
    assert copies
    for name, step, source in copies:
        following = step + 10
        if step in histories[name].moves and following not in (*histories[name].moves, *histories[source].moves):
            mine, theirs = (histories[n].history[following]["val/objective"] for n in (name, source))
            assert mine == theirs


def test_the_moved_trial_trains_with_the_new_values(start, work, tmp_path):
    owner = start()

    work(owner)

    records = {record.name: record for record in owner.snapshot().records}
    moved = [record for record in records.values() if record.moves]
    assert moved
    for record in moved:
        last = record.moves[max(record.moves)].hyperparameters
        saved = states(tmp_path, "study", [record.name])[record.name]
        assert saved.trial.hyperparameters == record.hyperparameters == last
        assert record.hyperparameters.lr != record.searched["lr"]
        assert record.hyperparameters_at(10).lr == record.searched["lr"]


# At each validation the four trials are saved, then the one that moved. With 1e-9 s between saves every step is: the
# 41st file is that of the first move.
@pytest.mark.parametrize("kill_at", [1, 4, 5, 6, 9, 10, 42, 43, 44, 45])
def test_a_worker_killed_at_any_save_changes_no_result(start, work, tmp_path, monkeypatch, kill_at):
    settings = {"trials_per_width": 4, "checkpoint_seconds": 1e-9 if kill_at > 40 else None}
    undisturbed = start("undisturbed", **settings)
    work(undisturbed, "undisturbed")
    save, left = checkpoint.save, [kill_at]

    def mortal_save(*arguments, **settings):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        save(*arguments, **settings)

    owner = start(**settings)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", mortal_save)
        with pytest.raises(Killed):
            work(owner)
    close(owner)

    owner = start(**settings)
    work(owner)

    assert results(owner) == results(undisturbed)
    expected = states(tmp_path, "undisturbed", NAMES[:4])
    for name, state in states(tmp_path, "study", NAMES[:4]).items():
        assert same_bits(state, expected[name]), name


def test_nobody_goes_on_from_a_trial_that_is_lost(start, work, tmp_path, monkeypatch):
    owner = start(trials_per_width=4)
    with monkeypatch.context() as patch:
        patch.setattr(owner, "evolve", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            work(owner)
    best = min(owner.snapshot().records, key=lambda record: record.objective).name
    StudyFolder(tmp_path / "study").checkpoint(best).write_bytes(b"damaged")
    close(owner)

    owner = start(trials_per_width=4)
    work(owner)

    states = {record.name: record.state for record in owner.snapshot().records}
    assert states.pop(best) is TrialState.FAILED
    assert set(states.values()) == {TrialState.COMPLETE}


def test_what_a_generation_has_decided_stays_when_a_trial_fails(start):
    owner = start(population=8)
    owner.lease("a")
    for name in [owner.ask("a", 32, 8).name for _ in range(8)]:
        owner.report("a", name, 10, [{"val/objective": float(name[-1])}])
    moves = owner.evolve("a", 10)

    owner.fail("a", NAMES[6], "its checkpoint is damaged")

    assert moves.keys() == {NAMES[6], NAMES[7]}
    assert owner.evolve("a", 10) == moves


def test_two_workers_never_share_a_population(start):
    owner = start(workers=("a", "b", "c"))

    assert [owner.lease(worker) for worker in ("a", "b", "c")] == [32, 32, None]

    first = [owner.ask("a", 32, 4).name for _ in range(4)]
    second = [owner.ask("b", 32, 4).name for _ in range(4)]
    assert (first, second) == (NAMES[:4], NAMES[4:])
    assert owner.ask("a", 32, 4) is None


def test_the_population_of_a_dead_worker_goes_whole_to_the_next(start):
    owner = start(workers=("a", "b"))
    owner.lease("a")
    for _ in range(2):
        owner.ask("a", 32, 4)
    owner.release("a", "died")

    owner.lease("b")

    assert [owner.ask("b", 32, 4).name for _ in range(4)] == NAMES[:4]


def test_a_worker_may_die_before_it_has_registered(start):
    owner = start(workers=())

    owner.release("a", "its process died")

    owner.register("a")
    assert owner.lease("a") == 32


def test_a_trial_that_fails_leaves_its_population(start):
    owner = start()
    owner.lease("a")
    for name in [owner.ask("a", 32, 4).name for _ in range(4)]:
        if name == NAMES[0]:
            owner.fail("a", name, "the loss became nan")
        else:
            owner.report("a", name, 10, [{"val/objective": float(name[-1])}])

    moves = owner.evolve("a", 10)

    assert moves.keys() == {NAMES[3]}
    assert moves[NAMES[3]].source == NAMES[1]
    assert owner.evolve("a", 10) == moves
