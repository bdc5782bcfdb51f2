from dataclasses import replace

import numpy as np
import pytest
from scaling_grid import GAMMA, JETS, KAPPA, LAW, SHAPES, make_cell, make_cells

from raytag.config.experiment import DataConfig, Experiment, SearchConfig, TaggerConfig, TrainingConfig
from raytag.errors import RaytagError
from raytag.records import TrialState
from raytag.report.scaling_fit import ScalingLaw
from raytag.report.scaling_law import analyse_scaling, cells_of


@pytest.fixture(scope="module")
def analysis():
    return analyse_scaling(make_cells(noise=0.005), num_draws=60)


def test_exponents_and_limit_are_found_within_their_intervals(analysis):
    for name in ("limit", "size_exponent", "data_exponent"):
        interval = analysis.intervals[name]
        assert interval.is_determined
        assert interval.low <= getattr(LAW, name) <= interval.high


def test_the_best_use_of_compute_is_found_within_its_interval(analysis):
    power = LAW.data_exponent / (LAW.size_exponent + GAMMA * LAW.data_exponent)

    assert analysis.cost.factor == pytest.approx(KAPPA)
    assert analysis.cost.exponent == pytest.approx(GAMMA)
    assert analysis.intervals["size_power"].is_determined
    assert analysis.intervals["size_power"].low <= power <= analysis.intervals["size_power"].high


def test_what_the_noise_hides_is_not_determined():
    noisy = analyse_scaling(make_cells(noise=0.1, seeds=2), num_draws=60)

    names = ("size_exponent", "data_exponent", "size_power", "data_power")
    assert not any(noisy.intervals[name].is_determined for name in names)


def test_an_exponent_that_no_loss_depends_on_is_not_determined():
    flat = analyse_scaling(make_cells(ScalingLaw(0.6, 0.0, 0.5, 15.0, 0.35), noise=0.003), num_draws=60)

    assert not flat.intervals["size_exponent"].is_determined
    assert not flat.intervals["size_power"].is_determined
    assert flat.intervals["data_exponent"].is_determined


def test_repetition_is_told_and_too_much_of_it_left_out_of_the_fit():
    cells = make_cells(jets=(*JETS, 10 * JETS[-1]))
    spoiled = [replace(cell, losses=(5.0,)) if cell.num_jets > 4 * JETS[-1] else cell for cell in cells]

    analysis = analyse_scaling(spoiled, num_draws=3)

    assert {cell.num_jets for cell in analysis.cells if not cell.is_fitted} == {10 * JETS[-1]}
    assert analysis.law.data_exponent == pytest.approx(LAW.data_exponent, rel=0.01)
    assert [make_cell(SHAPES[0], jets, [1.0]).is_repeated for jets in (57_600, 57_601)] == [False, True]
    assert not make_cell(SHAPES[0], 10**9, [1.0], unique=None).is_repeated


def test_the_best_cells_are_those_that_no_cheaper_one_beats():
    cells = make_cells(noise=0.01)

    best = analyse_scaling(cells, num_draws=1).best_cells

    assert set(best) == {
        cell
        for cell in cells
        if all(other.loss > cell.loss or other.train_flops > cell.train_flops for other in cells if other is not cell)
    }
    assert [cell.loss for cell in best] == sorted((cell.loss for cell in best), reverse=True)


def test_cells_whose_seeds_disagree_count_less():
    cells = [
        replace(cell, losses=(*cell.losses[:2], 1.5 * cell.losses[2])) if cell.num_jets == JETS[0] else cell
        for cell in make_cells(noise=0.001)
    ]

    law = analyse_scaling(cells, num_draws=1).law

    assert law.data_exponent == pytest.approx(LAW.data_exponent, rel=0.05)  # 1.34 if all counted alike


def test_one_seed_per_cell_is_enough():
    analysis = analyse_scaling(make_cells(seeds=1), num_draws=3)

    assert np.isnan(analysis.cells[0].stderr)
    assert analysis.scatter == 0
    assert analysis.law.size_exponent == pytest.approx(LAW.size_exponent, rel=0.01)


@pytest.mark.parametrize(
    ("shapes", "jets", "found"),
    [
        (SHAPES[:1], JETS, "found 4, with 1 and 4"),
        (SHAPES[:2], JETS[:2], "found 4, with 2 and 2"),
        (SHAPES, JETS[:2], "found 10, with 5 and 2"),
        ((), (), "found 0, with 0 and 0"),
    ],
)
def test_too_small_a_grid_is_refused(shapes, jets, found):
    with pytest.raises(RaytagError, match=f"at least 6 finished trainings, with 3 model sizes and 3 .*{found}"):
        analyse_scaling(make_cells(shapes=shapes, jets=jets))


def test_a_refusal_says_that_trainings_are_missing():
    with pytest.raises(RaytagError, match="2 trainings are missing: go on with raytag search FILE"):
        analyse_scaling([], ["first: running", "second: running"])


@pytest.fixture
def experiment():
    return Experiment(
        name="grid-num_layers4",
        data=DataConfig(train="train.h5", val="val.h5", norm_dict="norm_dict.yaml"),
        model=TaggerConfig(num_layers=4),
        training=TrainingConfig(num_steps=200, batch_size=32),
        search=SearchConfig(sampler="fixed", widths=(32, 64), replicas=2),
    )


def finished(record, *, flops=8e9, size=12_345.0):
    history = {step: dict(metrics) for step, metrics in record.history.items()}
    history = {200: history.popitem()[1] | {"train_flops": flops} | ({"num_parameters": size} if size else {})}
    return replace(record, history=history, members={200: record.members[100]})


def test_a_trial_becomes_a_cell_with_the_cost_of_one_training(experiment, make_matrix):
    (cell,), missing = cells_of(experiment, [finished(make_matrix(32, 0, [0.9], [0.94]))], 3200)

    assert (cell.width, cell.num_layers, cell.num_parameters) == (32, 4, 12_345)
    assert (cell.num_jets, cell.epochs, cell.is_repeated) == (6400, 2.0, True)
    assert (cell.losses, cell.loss, cell.train_flops) == ((0.9, 0.94), pytest.approx(0.92), 4e9)
    assert cell.stderr == pytest.approx(0.02)
    assert missing == ["grid-num_layers4, width 64: not begun"]


def test_trials_that_failed_or_are_not_finished_or_have_no_number_are_missing(experiment, make_record, make_matrix):
    failed = replace(make_record(32, 0, None, state=TrialState.FAILED), failure="the loss became nan\ntraceback")
    running = make_record(64, 0, 0.9, state=TrialState.RUNNING)
    unnumbered = make_record(64, 1, float("nan"))
    old = finished(make_matrix(64, 2, [0.9], [0.94]), size=None)

    cells, missing = cells_of(experiment, [failed, running, unnumbered, old], 3200)

    assert not cells
    assert missing == [
        "grid-num_layers4, width 32: the loss became nan",
        "grid-num_layers4, width 64: running",
        "grid-num_layers4, width 64: its loss is nan",
        "grid-num_layers4, width 64: trained before raytag recorded the size of a model",
    ]
