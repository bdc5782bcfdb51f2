"""In float64, with a narrow model far from its first values: the untrained one of the study has readouts of zero."""

from dataclasses import replace

import pytest
import torch
from finished_study import COMPLETE

from raytag.config.document import dump_yaml, load_yaml
from raytag.config.resolved import dump_experiment
from raytag.errors import StudyError
from raytag.trained.extract import extract
from raytag.training import checkpoint
from raytag.training.trial_group import TrialGroup
from raytag.transfer.folder import WideFolder
from raytag.transfer.source import Source
from raytag.transfer.warm_start import (
    NOISE,
    check_start,
    continued_state,
    narrow_model,
    plan_warm_start,
    widened_state,
    write_starts,
)
from raytag.workloads import open_workload

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def narrow(finished):
    """The study's model of width 16 with random weights and multipliers of its own."""
    file = extract(finished)
    generator = torch.Generator().manual_seed(1)
    weights = {
        rule["name"]: torch.randn(rule["shape"], generator=generator, dtype=torch.float64) / 4
        for rule in file.rules["rules"]
    }
    values = file.trial.hyperparameters.model_copy(update={"alpha_output": 2.0, "alpha_attention": 0.5})
    return replace(file, state_dict=file.state_dict | weights, trial=replace(file.trial, hyperparameters=values))


@pytest.fixture
def head_width():
    return None


@pytest.fixture
def warm(plan, narrow, head_width):
    training = plan.experiment.training.model_copy(update={"precision": "float64", "schedule": "constant"})
    model = plan.experiment.model.model_copy(update={"head_width": head_width})
    experiment = plan.experiment.model_copy(update={"training": training, "model": model})
    narrow = replace(narrow, experiment=dump_experiment(experiment))
    return plan_warm_start(replace(plan, experiment=experiment), "tiny", narrow)


@pytest.fixture
def workload(warm):
    return open_workload(warm.wide.experiment, CPU)


def group_at(workload, state):
    group = TrialGroup(workload, state.trial.width, 1)
    group.start(0, state.trial, state)
    return group


def widened(workload, warm, **settings):
    return widened_state(workload, warm.wide.trial, warm.narrow.state_dict, 16, **settings)


def logits(group, workload):
    with torch.no_grad():
        return [group.model(0).eval()(batch) for batch in workload.batches("val")]


def largest_split(state):
    """The largest difference of two copies of a unit, in the layer that embeds tracks."""
    copies = state.parameters["init_net.first.weight"].unflatten(0, (-1, 2))
    return float((copies[:, 0] - copies[:, 1]).abs().max())


@pytest.mark.parametrize("head_width", [None, 8], ids=["wider heads", "more heads"])
def test_without_noise_the_wide_model_is_the_narrow_one(workload, warm):
    narrow = group_at(workload, continued_state(workload, warm.continued.trial, warm.narrow.state_dict))
    wide = group_at(workload, widened(workload, warm, noise=0.0))

    for expected, found in zip(logits(narrow, workload), logits(wide, workload), strict=True):
        assert all(logit.std() > 1e-3 for logit in expected.values())
        for task in expected:
            torch.testing.assert_close(found[task], expected[task], rtol=1e-12, atol=1e-12)


def test_without_noise_it_stays_the_narrow_one_for_ever(workload, warm):
    narrow = group_at(workload, continued_state(workload, warm.continued.trial, warm.narrow.state_dict))
    wide = group_at(workload, widened(workload, warm, noise=0.0))

    losses = [(narrow.step()[0].loss, wide.step()[0].loss) for _ in range(15)]

    assert losses[-1][0] != pytest.approx(losses[0][0], rel=1e-2)
    assert all(found == pytest.approx(expected, rel=1e-9) for expected, found in losses)
    assert largest_split(wide.state(0)) < 1e-12


def test_noise_however_small_tells_the_copies_apart_more_and_more(workload, warm):
    wide = group_at(workload, widened(workload, warm, noise=1e-3))
    before = largest_split(wide.state(0))

    for _ in range(15):
        wide.step()

    assert 0 < before < largest_split(wide.state(0)) - 1e-3


def test_the_noise_is_a_share_of_fresh_first_values(workload, warm):
    noisy, plain = widened(workload, warm), widened(workload, warm, noise=0.0)

    table = workload.rule_table(32)
    for rule in table:
        added = (noisy.parameters[rule.name] - plain.parameters[rule.name])[rule.num_zero_rows :]
        expected = NOISE * rule.init_std
        assert added.std(correction=0) == pytest.approx(expected, rel=0.2 if added.numel() > 64 else 0.5, abs=1e-12)
    assert all(torch.equal(noisy.parameters[r.name], widened(workload, warm).parameters[r.name]) for r in table)


def test_moments_and_schedule_begin_anew(workload, warm):
    for state in (widened(workload, warm), continued_state(workload, warm.continued.trial, warm.narrow.state_dict)):
        assert state.step == 0
        assert not any(moment.any() for kind in state.moments.values() for moment in kind.values())


def test_both_trainings_are_alike_but_for_the_width(plan, narrow):
    warm = plan_warm_start(plan, "tiny", narrow)

    wide, continued = warm.wide, warm.continued
    assert (wide.trial.name, continued.trial.name) == (
        f"w32-warm-from-{COMPLETE}",
        f"w16-continued-from-{COMPLETE}",
    )
    assert (wide.trial.width, continued.trial.width) == (32, 16)
    assert wide.trial.seed == continued.trial.seed
    assert wide.experiment.hyperparameters == continued.experiment.hyperparameters
    assert wide.experiment.training == continued.experiment.training
    assert wide.experiment.training.data_seed != plan.experiment.training.data_seed


def test_multipliers_come_with_the_weights(plan, narrow):
    values = plan_warm_start(plan, "tiny", narrow).wide.experiment.hyperparameters

    assert (values.alpha_output, values.alpha_attention) == (2.0, 0.5)
    assert values.lr == plan.experiment.hyperparameters.lr


def test_weights_that_are_not_the_sources_are_named(plan, narrow):
    other = replace(narrow, trial=replace(narrow.trial, name="w16-0007"))

    assert plan_warm_start(plan, "tiny", other).wide.trial.name == f"w32-warm-w16-0007-from-{COMPLETE}"
    assert plan_warm_start(plan, "next", narrow).wide.trial.name == f"w32-warm-tiny-{COMPLETE}-from-{COMPLETE}"


@pytest.fixture
def replicated(study):
    """The study, with two trainings of its completed trial."""
    settings = load_yaml(study.experiment).data
    settings["search"] |= {"replicas": 2}
    study.experiment.write_text(dump_yaml(settings))
    saved = checkpoint.load(study.checkpoint(COMPLETE))
    for name in (f"{COMPLETE}-r0", f"{COMPLETE}-r1"):
        state = replace(saved.state, trial=replace(saved.state.trial, name=name))
        study.checkpoint(name).parent.mkdir()
        checkpoint.save(study.checkpoint(name), state, saved.table, saved.history)
    return study


@pytest.mark.parametrize(
    ("run", "name"),
    [(None, "r0"), (COMPLETE, "r0"), ("best", "r0"), (f"{COMPLETE}-r0", "r0"), (f"{COMPLETE}-r1", "r1")],
)
def test_of_a_trial_of_several_trainings_the_first_is_widened_or_the_one_named(replicated, run, name):
    assert narrow_model(Source(replicated, run)).trial.name == f"{COMPLETE}-{name}"


def test_a_run_that_does_not_exist_is_told(replicated):
    with pytest.raises(StudyError, match=rf"^{COMPLETE}-r2: the study has no such trial\. Did you mean "):
        narrow_model(Source(replicated, f"{COMPLETE}-r2"))


@pytest.mark.parametrize("width", [16, 40])
def test_a_width_that_is_no_multiple_is_refused(plan, narrow, width):
    with pytest.raises(StudyError, match=f"--width {width}: {COMPLETE} has width 16, .* Nearest widths: 32, 48"):
        plan_warm_start(replace(plan, width=width), "tiny", narrow)


def test_the_control_cannot_be_warm_started(plan, narrow):
    mup = plan.experiment.mup.model_copy(update={"parametrisation": "standard"})

    with pytest.raises(StudyError, match="only muP makes a widened model the same function"):
        plan_warm_start(replace(plan, experiment=plan.experiment.model_copy(update={"mup": mup})), "tiny", narrow)


def test_another_structure_is_refused(plan, finished, narrow):
    experiment = finished.load_settings()[0]
    deeper = experiment.model_copy(update={"model": experiment.model.model_copy(update={"num_layers": 2})})
    inputs = replace(narrow.jets, names=("pt_btagJes", "mass"))

    with pytest.raises(StudyError, match=r"differs from the wide model in model.num_layers, its inputs\."):
        plan_warm_start(plan, "tiny", replace(narrow, experiment=dump_experiment(deeper), jets=inputs))


def test_a_run_does_not_go_on_with_other_weights_than_it_began_with(warm, tmp_path):
    folder = WideFolder(tmp_path / "wide")
    folder.continued.path.mkdir(parents=True)
    check_start(warm, folder)  # it has not begun
    write_starts(warm, folder, CPU)
    check_start(warm, folder)
    weights = {name: 2 * values for name, values in warm.narrow.state_dict.items()}

    with pytest.raises(StudyError, match=r"start\.pt: this run began with other weights than .* --restart"):
        check_start(replace(warm, narrow=replace(warm.narrow, state_dict=weights)), folder)
