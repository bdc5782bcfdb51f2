"""However a batch is laid out, a trial gets the same losses and gradients from it."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch

from raytag.config.experiment import ResourcesConfig
from raytag.config.hyperparameters import Hyperparameters
from raytag.tagging.static import StaticShapes
from raytag.tagging.workload import TaggingWorkload

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def make_workload(tagger_experiment):
    def make(folds=1, tasks=("jet_classification", "track_origin", "vertexing"), batch_size=64):
        experiment = tagger_experiment(
            model={"num_layers": 2, "tasks": tasks},
            training={"num_steps": 10, "evaluate_every": 5, "batch_size": batch_size, "precision": "float64"},
            search={"folds": folds},
            resources={"compile": "default"},
        )
        workload = TaggingWorkload.open(experiment, CPU)
        workload.layouts = ("rows", "classes", "static")
        return workload

    return make


@pytest.fixture
def make_model():
    def make(workload, fold=None):
        model = workload.build_model(32).double()
        with torch.no_grad():
            generator = torch.Generator().manual_seed(1)
            for parameter in model.parameters():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        model.set_hyperparameters(Hyperparameters(dropout=0.3, label_smoothing=0.1))
        model.hold_out(fold)
        model.dropout.set_key(123456789)
        return model.train()

    return make


def terms_and_gradients(workload, model, batch):
    terms = workload.loss_terms(model, batch)
    return [terms.numerators, terms.denominators, *torch.autograd.grad(terms.losses.sum(), list(model.parameters()))]


def shapes(value):
    """Return the shapes of all tensors in a batch."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape),)
    parts = (getattr(value, field.name) for field in fields(value)) if is_dataclass(value) else value or ()
    return tuple(shape for part in parts for shape in shapes(part))


@pytest.mark.parametrize("layout", ["classes", "static"])
@pytest.mark.parametrize(
    ("options", "fold"),
    [({}, None), ({"folds": 3}, None), ({"folds": 3}, 2), ({"tasks": ("jet_classification",)}, None)],
)
def test_layouts_agree(make_workload, make_model, layout, options, fold):
    workload = make_workload(**options)
    model = make_model(workload, fold)
    expected = terms_and_gradients(workload, model, workload.train_batch(3))

    workload.use_layout(layout)
    found = terms_and_gradients(workload, model, workload.train_batch(3))

    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10 * max(1.0, theirs.abs().max().item()))


def test_fillers_teach_nothing(make_workload, make_model):
    workload = make_workload()
    workload.use_layout("static")
    model, batch = make_model(workload), workload.train_batch(0)
    is_filler = batch.folds[batch.jet_index] < 0
    spoiled = replace(
        batch,
        inputs=torch.where(is_filler[:, None], torch.nan, batch.inputs),
        origins=torch.where(is_filler, 3, batch.origins),
        jet_labels=torch.where(batch.folds < 0, 3, batch.jet_labels),
    )

    found, expected = (terms_and_gradients(workload, model, b) for b in (spoiled, batch))

    assert is_filler.any()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("batch_size", [32, 256])
def test_static_batches_have_few_shapes(make_workload, batch_size):
    workload = make_workload(batch_size=batch_size)
    plain = {shapes(workload.train_batch(step)) for step in range(200)}
    num_tokens = sum(len(workload.train_batch(step).token_jets) for step in range(200))

    workload.use_layout("static")
    static = {shapes(workload.train_batch(step)) for step in range(200)}

    assert len(plain) > 150
    assert len(static) <= 4
    filled = sum(len(workload.train_batch(step).token_jets) for step in range(200))
    assert filled / num_tokens < (1.25 if batch_size == 32 else 1.1)


def test_a_batch_of_the_longest_jets_finds_a_shape(make_jets):
    counts = np.random.default_rng(0).poisson(7, 5000).clip(0, 40)
    static = StaticShapes(np.append(counts, 40), 8)

    batch = static.pack(make_jets([40] * 8), with_pairs=True)

    assert batch.num_jets == 9
    assert batch.rows.slots.unique().numel() == len(batch.token_jets)


@pytest.mark.parametrize("num_tracks", [0, 1, 9, 30])
def test_jets_that_are_all_alike_find_a_shape(make_jets, num_tracks):
    """Nine tracks and a register leave six of a row's 16 slots empty."""
    static = StaticShapes(np.full(1000, num_tracks), 8)

    batch = static.pack(make_jets([num_tracks] * 8), with_pairs=True)

    assert batch.rows.slots.unique().numel() == len(batch.token_jets) == 8 * (num_tracks + 1) + 1


def test_an_eager_cpu_does_not_fill_up_batches(make_workload):
    workload = make_workload()
    experiment = workload.experiment

    eager = TaggingWorkload(experiment.model_copy(update={"resources": ResourcesConfig()}), CPU)

    assert eager.layouts == ("rows",)
    assert TaggingWorkload(experiment, CPU).layouts == ("rows", "static")
