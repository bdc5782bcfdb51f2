import numpy as np
import pytest
import torch
import yaml
from perturbation import perturb

from raytag.config.experiment import TaggerConfig
from raytag.config.hyperparameters import Hyperparameters
from raytag.mup.multipliers import initialise
from raytag.tagging.metrics import weighted_mean
from raytag.tagging.workload import NUM_RECENT_BATCHES, TaggingWorkload
from raytag.training.workload import Shard
from raytag.workloads import open_workload

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def experiment(tagger_experiment):
    return tagger_experiment(training={"num_steps": 10, "evaluate_every": 5, "batch_size": 64, "precision": "float64"})


@pytest.fixture(scope="module")
def workload(experiment):
    return open_workload(experiment, CPU)


@pytest.fixture
def model(workload):
    tagger = workload.build_model(32).double()
    initialise(tagger, workload.rule_table(32), seed=0, init_scale=1.0)
    return perturb(tagger, seed=0)


def with_tasks(experiment, *tasks):
    return experiment.model_copy(update={"model": TaggerConfig(num_layers=1, tasks=tasks)})


def test_slots_at_the_same_step_share_a_batch(workload):
    assert workload.train_batch(3) is workload.train_batch(3)


def test_batches_are_a_function_of_the_step(experiment, workload):
    workload.train_batch(7)
    for step in range(100, 100 + NUM_RECENT_BATCHES):
        workload.train_batch(step)

    other = TaggingWorkload.open(experiment, CPU)

    assert torch.equal(workload.train_batch(7).inputs, other.train_batch(7).inputs)
    assert workload.train_batch(7).inputs.dtype == torch.float64


def test_shards_add_up_to_the_batch(experiment, workload, model):
    shards = [TaggingWorkload.open(experiment, CPU, Shard(rank, 2)) for rank in range(2)]

    whole = workload.loss_terms(model, workload.train_batch(0))
    parts = [shard.loss_terms(model, shard.train_batch(0)) for shard in shards]

    torch.testing.assert_close(parts[0].numerators + parts[1].numerators, whole.numerators)
    torch.testing.assert_close(parts[0].denominators + parts[1].denominators, whole.denominators)


def test_metrics_do_not_depend_on_how_the_split_is_cut(workload, model, monkeypatch):
    whole = workload.evaluate(model, "val")

    monkeypatch.setattr("raytag.tagging.workload.EVALUATION_BATCH_SIZE", 13)
    pieces = workload.evaluate(model, "val")

    assert pieces == pytest.approx(whole, rel=1e-9)
    assert set(whole) == {
        "objective",
        "objective_stderr",
        "loss",
        "jet_classification_loss",
        "track_origin_loss",
        "vertexing_loss",
        "auc_b_vs_light",
        "light_rejection_70",
        "light_rejection_70_stderr",
        "auc_b_vs_c",
        "c_rejection_70",
        "c_rejection_70_stderr",
        "track_origin_accuracy",
        "vertexing_f1",
    }


def test_losses_of_the_split_are_those_of_training_without_smoothing(workload, model, monkeypatch):
    monkeypatch.setattr("raytag.tagging.workload.EVALUATION_BATCH_SIZE", 10_000)
    (batch,) = workload.batches("val")
    model.set_hyperparameters(Hyperparameters(label_smoothing=0.3, dropout=0.5, loss_weight_vertexing=2.5))
    expected = workload.loss_terms(model.eval(), batch).losses.tolist()

    metrics = workload.evaluate(model.train(), "val")

    assert [metrics[f"{task}_loss"] for task in workload.task_names] == pytest.approx(expected)
    assert metrics["objective"] == metrics["jet_classification_loss"]
    assert metrics["loss"] == pytest.approx(expected[0] + 0.5 * expected[1] + 2.5 * expected[2])
    assert model.training


def test_objective_and_its_error_weigh_the_jets_by_class(workload, model, jets, monkeypatch):
    monkeypatch.setattr("raytag.tagging.workload.EVALUATION_BATCH_SIZE", 10_000)
    (batch,) = workload.batches("val")
    class_dict = yaml.safe_load((jets / "class_dict.yaml").read_text())
    weights = np.array(class_dict["jets"]["flavour_label"])[batch.jet_labels.numpy()]
    logits = model.eval()(batch)["jet_classification"].detach()
    losses = torch.nn.functional.cross_entropy(logits, batch.jet_labels, reduction="none").numpy()

    metrics = workload.evaluate(model, "val")

    assert (metrics["objective"], metrics["objective_stderr"]) == pytest.approx(weighted_mean(losses, weights))


def test_objective_is_the_weighted_mean_of_its_terms(workload, model):
    model.set_hyperparameters(Hyperparameters(label_smoothing=0.3, dropout=0.5))

    losses, weights = workload.objective_terms(workload.predict(model.train(), "val"), "val")

    assert len(losses) == len(workload.table("val"))
    assert (losses * weights).sum() / weights.sum() == pytest.approx(workload.evaluate(model, "val")["objective"])
    assert model.training


def test_scores_of_predictions_are_those_of_the_model(workload, model):
    predictions = workload.predict(model.train(), "val")

    scores, metrics = workload.score(predictions, "val"), workload.evaluate(model, "val")

    assert predictions.dtype == torch.float64
    torch.testing.assert_close(predictions.sum(1), torch.ones(len(workload.table("val")), dtype=torch.float64))
    assert scores == pytest.approx({name: metrics[name] for name in scores})
    assert {"objective", "objective_stderr", "auc_b_vs_light", "c_rejection_70_stderr"} <= scores.keys()
    assert model.training


def test_a_certain_mistake_has_a_finite_loss(workload):
    labels = torch.tensor(workload.table("val").labels).long()

    scores = workload.score(torch.nn.functional.one_hot((labels + 1) % 4, 4).double(), "val")

    assert scores["objective"] == pytest.approx(708.4, abs=0.1)


def test_perfect_and_wrong_auxiliary_predictions(workload, model, monkeypatch):
    monkeypatch.setattr("raytag.tagging.workload.EVALUATION_BATCH_SIZE", 10_000)
    truth = {}

    def forward(batch):
        return {
            "jet_classification": torch.zeros(batch.num_jets, 4, dtype=torch.float64),
            "track_origin": torch.nn.functional.one_hot(batch.origins, 8).double(),
            "vertexing": truth["sign"] * (2 * batch.pairs.is_match - 1),
        }

    monkeypatch.setattr(model, "forward", forward)

    truth["sign"] = 1.0
    assert workload.evaluate(model, "val")["track_origin_accuracy"] == 1
    assert workload.evaluate(model, "val")["vertexing_f1"] == 1
    truth["sign"] = -1.0
    assert workload.evaluate(model, "val")["vertexing_f1"] == 0


def test_tagger_of_one_task_needs_no_track_truth(experiment):
    workload = TaggingWorkload.open(with_tasks(experiment, "jet_classification"), CPU)
    model = workload.build_model(32).double()
    batch = workload.train_batch(0)

    assert (batch.origins, batch.pairs) == (None, None)
    assert workload.loss_terms(model, batch).losses.shape == (1,)
    assert "track_origin_loss" not in workload.evaluate(model, "val")


def test_without_class_dict_every_class_weighs_one(experiment, model):
    data = experiment.data.model_copy(update={"class_dict": None})
    workload = TaggingWorkload.open(experiment.model_copy(update={"data": data}), CPU)
    batch = workload.train_batch(0)

    terms = workload.loss_terms(model, batch)

    assert terms.denominators[:2].tolist() == [batch.num_jets, len(batch.jet_index)]


def test_smoothing_acts_in_training_only(workload, model):
    batch = workload.train_batch(0)
    plain = workload.loss_terms(model.train(), batch).losses
    model.set_hyperparameters(Hyperparameters(label_smoothing=0.3))

    smoothed, evaluated = (workload.loss_terms(model.train(mode), batch).losses for mode in (True, False))

    assert smoothed[0] != plain[0]
    assert torch.equal(smoothed[1:], plain[1:])
    assert torch.equal(evaluated, plain)


def test_a_few_steps_lower_the_loss(workload, model):
    initialise(model, workload.rule_table(32), seed=0, init_scale=1.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = workload.evaluate(model, "val")["loss"]

    for step in range(50):
        optimizer.zero_grad()
        (model.loss_weights * workload.loss_terms(model, workload.train_batch(step)).losses).sum().backward()
        optimizer.step()

    assert workload.evaluate(model, "val")["loss"] < 0.9 * before
