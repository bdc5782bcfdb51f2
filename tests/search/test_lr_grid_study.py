"""Studies whose trials follow a rule, samplers lr_grid and fixed; most with objectives that are made up."""

import math

import pytest
from mortal_workers import Killed, MortalWorkload
from toy_workload import ToyWorkload

from raytag.config.space import SearchSpace
from raytag.records import TrialState
from raytag.search import worker
from raytag.search.folder import StudyFolder
from raytag.search.owner import MAX_LOSSES, StudyOwner
from raytag.search.study import Study
from raytag.search.worker import Worker

LOW = 1e-3
GRID = {"sampler": "lr_grid", "trials_per_width": 12}
SPACE = SearchSpace.model_validate(
    {"lr": {"distribution": "log_uniform", "low": LOW, "high": 1.6e-2, "transfer": "yes"}}
)


@pytest.fixture
def new_owner(folder, make_experiment):
    """Start an owner as a new driver would, after the last one has died; its workers are a, b and c."""
    owners = []

    def new(space=SPACE, num_workers=3, **search):
        for old in owners:
            old._lock.close()
        owners.append(StudyOwner(folder, make_experiment(**GRID | search), space, num_workers))
        for name in "abc":
            owners[-1].register(name)
        return owners[-1]

    return new


def octave(trial):
    """Return how many octaves above the grid's low end a trial's learning rate lies."""
    return round(2 * math.log2(trial.members[0].hyperparameters.lr / LOW)) / 2


def objective(width, octave):
    """A parabola whose centre is 0.6 at width 32 and rises by 2 with every doubling."""
    return (octave - 0.6 - 2 * math.log2(width / 32)) ** 2


def finish(owner, worker, trial, value=None):
    """Report the last step of a trial, with the parabola's value unless another is given."""
    width = trial.members[0].width
    value = objective(width, octave(trial)) if value is None else value
    return owner.report(worker, trial.name, 40, [{"val/objective": value}] * len(trial.members))


def ask_all(owner, worker, width):
    trials = []
    while (trial := owner.ask(worker, width, 12)) is not None:
        trials.append(trial)
    return trials


def work(owner, worker="a"):
    """Let one worker do all that is left; return the octaves of each width in the order of asking."""
    asked = {}
    while (width := owner.lease(worker)) is not None:
        for trial in ask_all(owner, worker, width):
            asked.setdefault(width, []).append(octave(trial))
            finish(owner, worker, trial)
    return asked


def rates(owner, width):
    return {record.lr for record in owner.snapshot().records if record.width == width}


def test_every_width_surrounds_its_own_best_rate(new_owner):
    owner = new_owner(num_workers=1, widths=(32, 64, 128))

    asked = work(owner)

    grid = [0, 1, 2, 3, 4]
    assert asked == {32: [*grid, 0.5, 1.5, -0.5], 64: [*grid, 2.5, 3.5, 1.5], 128: [*grid, 5, 6, 4.5, 5.5, 3.5]}
    assert owner.is_over()
    assert owner.num_unfinished() == 0


def test_the_rates_of_the_grid_are_the_same_floats_at_every_width(new_owner):
    owner = new_owner(num_workers=1, widths=(32, 64))
    work(owner)

    assert {LOW * 2**k for k in range(5)} <= rates(owner, 32) & rates(owner, 64)


def test_a_rate_outside_the_space_is_tried_as_it_is(new_owner):
    owner = new_owner(num_workers=1, widths=(128,))
    work(owner)

    assert {LOW * math.exp2(5.5), LOW * 2**6} <= rates(new_owner(num_workers=1, widths=(128,)), 128)


def test_all_trials_of_all_widths_share_the_seeds_of_their_replicas(new_owner):
    owner = new_owner(num_workers=1, widths=(32, 64), replicas=3)
    work(owner)

    seeds = [[member.seed for member in owner._study.members(record.name)] for record in owner.snapshot().records]
    assert len(seeds) > 10
    assert all(of_trial == seeds[0] for of_trial in seeds)
    assert len(set(seeds[0])) == 3
    assert all(record.has_paired_seeds for record in owner.snapshot().records)


def test_nobody_ends_while_a_width_may_still_want_rates(new_owner):
    owner = new_owner(widths=(32,), num_workers=1)
    first, *others = ask_all(owner, "a", 32)
    for trial in others:
        finish(owner, "a", trial)

    assert owner.lease("b") is None
    assert owner.ask("b", 32, 12) is None
    assert not owner.is_over()
    finish(owner, "a", first)
    assert owner.lease("b") == 32
    assert not owner.is_over()


def test_workers_take_other_widths_meanwhile(new_owner):
    owner = new_owner(widths=(32, 64), num_workers=1)
    ask_all(owner, "a", 64)

    assert owner.lease("b") == 32


def test_the_trials_of_a_lost_worker_are_not_waited_for_but_taken_over(new_owner):
    owner = new_owner(widths=(32,), num_workers=1)
    ask_all(owner, "a", 32)
    assert owner.lease("b") is None
    owner.release("a", "its process died")

    assert owner.lease("b") == 32
    assert sorted(octave(trial) for trial in ask_all(owner, "b", 32)) == [0, 1, 2, 3, 4]


def test_the_two_rates_of_a_refinement_go_to_two_workers(new_owner):
    owner = new_owner(widths=(32,), num_workers=2)
    for trial in (owner.ask("ab"[k % 2], 32, 12) for k in range(5)):
        finish(owner, "a" if trial.name in owner._held["a"] else "b", trial)

    assert [octave(owner.ask(name, 32, 12)) for name in "ab"] == [0.5, 1.5]
    assert owner.ask("c", 32, 12) is None


@pytest.mark.parametrize("num_finished", range(9))
def test_a_search_that_is_killed_goes_on_to_the_same_rates(new_owner, num_finished):
    owner = new_owner(widths=(32,), num_workers=1)
    trials = []
    for _ in range(num_finished):
        trials = trials or ask_all(owner, "a", 32)
        finish(owner, "a", trials.pop())
    ask_all(owner, "a", 32)

    owner = new_owner(widths=(32,), num_workers=1)
    work(owner)

    octaves = sorted(round(2 * math.log2(lr / LOW)) / 2 for lr in rates(owner, 32))
    assert octaves == [-0.5, 0, 0.5, 1, 1.5, 2, 3, 4]
    assert {record.state for record in owner.snapshot().records} == {TrialState.COMPLETE}


def test_a_diverged_trial_bounds_the_best_rate_as_a_poor_one_does(new_owner):
    owner = new_owner(widths=(32,), num_workers=1)
    for trial in ask_all(owner, "a", 32):
        finish(owner, "a", trial, value=math.nan if octave(trial) == 4 else -octave(trial))

    assert [octave(trial) for trial in ask_all(owner, "a", 32)] == [2.5, 3.5]


def test_a_rate_that_kills_its_workers_is_passed_over_as_unknown(new_owner):
    owner = new_owner(widths=(32,), num_workers=1)
    *others, highest = ask_all(owner, "a", 32)
    for trial in others:
        finish(owner, "a", trial, value=-octave(trial))
    for _ in range(MAX_LOSSES):
        owner.register("a")  # it was lost, and begins anew
        ask_all(owner, "a", 32)
    owner.register("a")

    assert octave(highest) == 4
    assert [octave(trial) for trial in ask_all(owner, "a", 32)] == [5]


def test_a_trial_is_pruned_once_five_are_better_and_bounds_the_best_rate_as_a_poor_one_does(new_owner):
    owner = new_owner(widths=(32,), num_workers=1, first_rung=10, reduction_factor=2)
    grid = ask_all(owner, "a", 32)
    for place, trial in enumerate(grid):
        assert owner.report("a", trial.name, 10, [{"val/objective": 1.0 + place}])
        finish(owner, "a", trial, value=10.0 + place)  # the lowest rate is the best, with objectives that grew

    (below,) = ask_all(owner, "a", 32)
    assert octave(below) == -1
    assert not owner.report("a", below.name, 10, [{"val/objective": 6.0}])

    assert [octave(trial) for trial in ask_all(owner, "a", 32)] == [-0.5, 0.5]


def test_the_budget_of_a_width_is_the_most_it_tries(new_owner):
    owner = new_owner(widths=(32, 128), num_workers=1, trials_per_width=6)

    assert work(owner) == {32: [0, 1, 2, 3, 4, 0.5], 128: [0, 1, 2, 3, 4, 5]}
    assert owner.is_over()


def test_a_larger_budget_goes_on_where_a_smaller_one_ended(new_owner):
    work(new_owner(widths=(32,), num_workers=1, trials_per_width=6))

    assert work(new_owner(widths=(32,), num_workers=1)) == {32: [1.5, -0.5]}


def test_a_snapshot_tells_what_can_be_asked_for(new_owner):
    owner = new_owner(widths=(32, 64), num_workers=1)
    ask_all(owner, "a", 32)

    assert owner.snapshot().to_ask == {32: 0, 64: 5}


@pytest.mark.parametrize(
    ("trials_per_width", "num_finished", "at_once"), [(12, 0, 5), (12, 4, 2), (12, 6, 2), (5, 4, 1), (12, 8, 0)]
)
def test_later_rounds_may_keep_two_workers_busy_as_far_as_the_budget_goes(
    new_owner, trials_per_width, num_finished, at_once
):
    owner = new_owner(widths=(32,), num_workers=1, trials_per_width=trials_per_width)
    trials = []
    for _ in range(num_finished):
        trials = trials or ask_all(owner, "a", 32)
        finish(owner, "a", trials.pop())

    assert owner._study.most_at_once() == at_once


def test_a_study_that_has_not_begun_knows_its_grids(make_experiment):
    assert Study(make_experiment(**GRID, widths=(32, 64)), SPACE).num_left() == 10


def train(owner, folder, name="a", workload=None):
    """Let a worker train the toy until the search is over."""
    Worker(name, owner, workload or ToyWorkload(owner._study.experiment), folder).work()


def objectives(owner):
    return {record.lr: record.objectives for record in owner.snapshot().records}


def test_a_worker_killed_again_and_again_ends_with_the_same_rates_and_results(new_owner, folder):
    settings = {"widths": (32,), "num_workers": 1, "replicas": 2}
    train(owner := new_owner(**settings), folder)
    undisturbed = objectives(owner)
    folder.path.rename(folder.path.with_name("undisturbed"))

    num_kills = 0
    while (owner := new_owner(**settings)).num_unfinished():
        try:
            train(owner, folder, workload=MortalWorkload(owner._study.experiment, 110))
        except Killed:
            num_kills += 1

    assert num_kills > 2
    assert len(undisturbed) > 6
    assert objectives(owner) == undisturbed


class Meanwhile:
    """An owner whose other worker finishes a trial whenever this one finds nothing to lease."""

    def __init__(self, owner, trials):
        self.owner, self.trials, self.num_waits = owner, trials, 0

    def __getattr__(self, name):
        return getattr(self.owner, name)

    def is_over(self):
        if is_over := self.owner.is_over():
            return is_over
        self.num_waits += 1
        finish(self.owner, "b", self.trials.pop())
        return is_over


def test_a_worker_waits_for_what_others_train_and_goes_on(new_owner, folder, monkeypatch):
    monkeypatch.setattr(worker, "WAITING_SECONDS", 0)
    owner = new_owner(widths=(32,), num_workers=1, trials_per_width=7)
    meanwhile = Meanwhile(owner, ask_all(owner, "b", 32))
    train(meanwhile, folder)

    assert meanwhile.num_waits == 5
    assert len(rates(owner, 32)) == 7
    assert owner.is_over()


def test_fixed_has_one_trial_of_each_width_with_the_experiments_own_values(new_owner, make_experiment):
    settings = {"sampler": "fixed", "replicas": 2, "num_workers": 1}
    owner = new_owner(SearchSpace({}), **settings)
    trials = {}
    while (width := owner.lease("a")) is not None:
        (trial,) = ask_all(owner, "a", width)
        trials[width] = trial
        owner.report("a", trial.name, 40, [{"val/objective": 1.0}] * 2)

    assert sorted(trials) == [32, 64]
    assert all(record.searched == {} for record in owner.snapshot().records)
    own = make_experiment().hyperparameters
    assert {member.hyperparameters for trial in trials.values() for member in trial.members} == {own}
    assert new_owner(SearchSpace({}), **settings).num_unfinished() == 0


def test_a_study_without_a_space_is_read_back(tmp_path, make_experiment):
    folder, experiment = StudyFolder(tmp_path / "study"), make_experiment(sampler="fixed")
    folder.prepare(experiment, SearchSpace({}))
    Study.open(folder, experiment, SearchSpace({})).ask(32)

    assert [record.name for record in Study.load(folder).records()] == ["w32-0000"]
