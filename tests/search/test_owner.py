import pytest

from raytag.records import TrialState
from raytag.search.owner import MAX_LOSSES, StudyOwner


@pytest.fixture
def new_owner(folder, make_experiment, space):
    """Start an owner as a new driver would, after the last one has died."""
    owners = []

    def new(num_workers=2, **search):
        for old in owners:
            old._lock.close()
        owners.append(StudyOwner(folder, make_experiment(**search), space, num_workers))
        return owners[-1]

    return new


def records(owner):
    return {record.name: record for record in owner.snapshot().records}


def finish(owner, worker, name, objective=1.0):
    return owner.report(worker, name, 40, [{"val/objective": objective}])


def test_workers_begin_with_the_widest_and_spread_out(new_owner):
    owner = new_owner(num_workers=3, widths=(32, 64, 128))
    for worker in "abc":
        owner.register(worker)

    assert [owner.lease(worker) for worker in "abc"] == [128, 128, 64]


def test_every_trial_of_every_width_is_handed_out_once(new_owner):
    owner = new_owner(num_workers=1)
    owner.register("a")
    names = []
    while (width := owner.lease("a")) is not None:
        while (trial := owner.ask("a", width, 1)) is not None:
            names.append(trial.name)
            assert not finish(owner, "a", trial.name)

    assert sorted(names) == [f"w{width}-{number:04d}" for width in (32, 64) for number in range(6)]
    assert owner.num_unfinished() == 0


def test_a_trial_is_handed_out_only_if_all_its_members_fit(new_owner):
    owner = new_owner(replicas=2, folds=2)
    owner.register("a")

    assert owner.ask("a", 32, 3) is None
    assert len(owner.ask("a", 32, 4).members) == 4


def test_no_worker_trains_the_last_trials_alone(new_owner):
    owner = new_owner(num_workers=3, widths=(32,), trials_per_width=6)
    owner.register("a")

    assert [owner.ask("a", 32, 1) is not None for _ in range(3)] == [True, True, False]


def test_a_worker_that_registers_again_gets_its_own_trials_back_first(new_owner):
    owner = new_owner()
    owner.register("a")
    held = [owner.ask("a", 32, 1).name, owner.ask("a", 32, 1).name]
    owner.register("a")

    assert [owner.ask("a", 32, 1).name, owner.ask("a", 32, 1).name] == held


def test_trials_of_a_dead_driver_are_handed_out_first(new_owner):
    owner = new_owner()
    owner.register("a")
    held = owner.ask("a", 32, 1)
    finish(owner, "a", owner.ask("a", 32, 1).name)

    owner = new_owner()
    owner.register("a")

    assert owner.ask("a", 32, 1) == held
    assert owner.ask("a", 32, 1).name == "w32-0002"


def test_a_trial_that_kills_its_workers_fails(new_owner):
    owner = new_owner()
    for _ in range(MAX_LOSSES):
        owner.register("a")
        assert owner.ask("a", 32, 1).name == "w32-0000"
        owner.release("a", "CUDA out of memory\nTraceback")

    record = records(owner)["w32-0000"]
    assert record.state is TrialState.FAILED
    assert record.failure == "3 workers died while they trained it; the last: CUDA out of memory\nTraceback"
    assert record.broke_off


def test_a_trial_that_gets_on_is_not_the_one_that_kills_its_workers(new_owner):
    owner = new_owner(widths=(32,), trials_per_width=1)
    for step in (10, 20, 30):
        owner.register("a")
        name = owner.ask("a", 32, 1).name
        owner.report("a", name, step, [{"val/objective": 1.0}])
        owner.release("a", "the node went away")

    assert records(owner)["w32-0000"].state is TrialState.RUNNING


def test_only_the_trial_that_kills_its_workers_fails_not_its_neighbours(new_owner):
    owner = new_owner(num_workers=1, widths=(32,), trials_per_width=6)
    culprit = "w32-0001"
    while owner.num_unfinished():
        owner.register("a")
        held = [trial.name for _ in range(4) if (trial := owner.ask("a", 32, 1))]
        if culprit in held:
            owner.release("a", "its process died")
        for name in () if culprit in held else held:
            finish(owner, "a", name)

    assert [name for name, record in records(owner).items() if record.state is TrialState.FAILED] == [culprit]


def test_a_trial_that_ended_is_not_held_any_more(new_owner):
    owner = new_owner()
    owner.register("a")
    name = owner.ask("a", 32, 1).name
    finish(owner, "a", name)

    assert not owner.report("a", name, 10, [{"val/objective": 1.0}])
    owner.register("a")
    assert owner.ask("a", 32, 1).name == "w32-0001"


def test_a_snapshot_holds_only_what_changed_since(new_owner):
    owner = new_owner()
    owner.register("a")
    first = owner.ask("a", 32, 1).name
    version = owner.snapshot().version
    second = owner.ask("a", 32, 1).name

    assert [record.name for record in owner.snapshot(version).records] == [second]
    assert sorted(records(owner)) == [first, second]


def test_a_snapshot_of_a_resumed_study_holds_the_old_trials_too(new_owner):
    owner = new_owner()
    owner.register("a")
    finish(owner, "a", owner.ask("a", 32, 1).name)

    assert list(records(new_owner())) == ["w32-0000"]


def test_a_trial_that_is_given_back_is_handed_out_again_and_counts_no_loss(new_owner):
    owner = new_owner()
    owner.register("a")
    owner.register("b")
    names = [owner.ask("a", 32, 1).name for _ in range(2)]
    for _ in range(MAX_LOSSES):
        owner.give_back("a", names[1:])
        assert owner.ask("a", 32, 1).name == names[1]
    owner.give_back("a", names[1:])

    assert owner.ask("b", 32, 1).name == names[1]
    assert records(owner)[names[1]].state is TrialState.RUNNING
