"""A fold's jets teach nothing and validate the trial that held them out."""

from dataclasses import replace

import pytest
import torch
from perturbation import perturb
from torch import func, nn

from raytag.mup.multipliers import initialise
from raytag.tagging.packing import pack
from raytag.tagging.workload import TaggingWorkload

NUM_FOLDS = 4
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def experiment(tagger_experiment):
    return tagger_experiment(
        training={"num_steps": 10, "evaluate_every": 5, "batch_size": 64, "precision": "float64"},
        search={"folds": NUM_FOLDS},
    )


@pytest.fixture(scope="module")
def workload(experiment):
    return TaggingWorkload.open(experiment, CPU)


@pytest.fixture
def make_model(workload):
    def make(fold, seed=0):
        model = workload.build_model(32).double()
        initialise(model, workload.rule_table(32), seed=seed, init_scale=1.0)
        perturb(model, seed)
        model.hold_out(fold)
        return model

    return make


def gradients(workload, model, batch):
    losses = workload.loss_terms(model, batch).losses
    return torch.autograd.grad(losses.sum(), list(model.parameters()))


@pytest.mark.parametrize("fold", [None, 2])
def test_losses_are_those_of_a_batch_without_the_fold(workload, make_model, make_jets, fold):
    counts = [3, 0, 8, 7, 1, 12, 4, 9]
    folds = torch.tensor([0, 1, 2, 3, 2, 2, 1, 0])
    jets = make_jets(counts)
    model = make_model(fold)
    kept = torch.ones(8, dtype=torch.bool) if fold is None else folds != fold
    kept_tracks = kept[jets.jet_index]
    others = replace(
        jets,
        jets=jets.jets[kept],
        tracks=jets.tracks[kept_tracks],
        counts=jets.counts[kept],
        jet_index=torch.arange(int(kept.sum())).repeat_interleave(jets.counts[kept]),
        jet_labels=jets.jet_labels[kept],
        origins=jets.origins[kept_tracks],
        vertices=jets.vertices[kept_tracks],
    )

    terms = workload.loss_terms(model, pack(replace(jets, folds=folds), with_pairs=True))

    expected = workload.loss_terms(model, pack(others, with_pairs=True))
    torch.testing.assert_close(terms.numerators, expected.numerators, rtol=1e-12, atol=0)
    torch.testing.assert_close(terms.denominators, expected.denominators, rtol=1e-12, atol=0)


def test_inputs_and_labels_of_the_fold_change_no_gradient(workload, make_model):
    model, batch = make_model(1), workload.train_batch(0)
    is_held_out = batch.folds == 1
    spoiled = replace(
        batch,
        inputs=torch.where(is_held_out[batch.jet_index, None], torch.nan, batch.inputs),
        jet_labels=torch.where(is_held_out, 0, batch.jet_labels),
        origins=torch.where(is_held_out[batch.jet_index], 0, batch.origins),
        pairs=replace(
            batch.pairs,
            is_match=torch.where(is_held_out[batch.jet_index[batch.pairs.first]], 1.0, batch.pairs.is_match),
        ),
    )

    expected, found = gradients(workload, model, batch), gradients(workload, model, spoiled)

    assert 0 < is_held_out.sum() < len(is_held_out)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


class Losses(nn.Module):
    """A model whose forward pass ends with its losses."""

    def __init__(self, workload, model):
        super().__init__()
        self.workload, self.model = workload, model

    def forward(self, batch):
        return self.workload.loss_terms(self.model, batch).losses


def test_members_of_a_stack_hold_out_folds_of_their_own(workload, make_model):
    batch = workload.train_batch(0)
    members = [Losses(workload, make_model(fold, seed)) for seed, fold in enumerate((None, 0, 3))]
    parameters, buffers = func.stack_module_state(members)

    stacked = func.vmap(lambda p, b: func.functional_call(members[0], (p, b), (batch,)))(parameters, buffers)

    torch.testing.assert_close(stacked, torch.stack([member(batch) for member in members]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("num_val_jets", [50, None])
def test_a_fold_is_judged_by_jets_it_holds_out_as_many_as_validate(experiment, make_model, num_val_jets):
    data = experiment.data.model_copy(update={"num_val_jets": num_val_jets})
    workload = TaggingWorkload.open(experiment.model_copy(update={"data": data}), CPU)
    model = make_model(2)
    own = (workload.table("train").folds == 2).nonzero()[0][: num_val_jets or 174]
    losses, weights = (terms[own] for terms in workload.objective_terms(workload.predict(model, "train"), "train"))

    metrics = workload.evaluate(model, "val", fold=2)

    assert len(own) == len(workload.table("val"))
    assert metrics["objective"] == pytest.approx(((losses * weights).sum() / weights.sum()).item())
    assert metrics.keys() == workload.evaluate(model, "val").keys()


def test_without_folds_nothing_is_masked(experiment):
    search = experiment.search.model_copy(update={"folds": 1})
    workload = TaggingWorkload.open(experiment.model_copy(update={"search": search}), CPU)

    assert workload.train_batch(0).folds is None
