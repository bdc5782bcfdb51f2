"""What the benchmark against Salt can be wrong about without Salt at hand."""

import h5py
import numpy as np
import pytest

from benchmarks.jets import repeat_jets
from benchmarks.salt_sides import Answers
from benchmarks.salt_step import differences
from raytag.config.experiment import MupConfig, TaggerConfig
from raytag.data.cache import open_split
from raytag.tagging.tagger import GN2
from raytag.trained.salt_names import salt_name

# named_parameters() of salt-ml 0.13.0's SaltModel with one layer; each stands for a weight and a bias
HEAD_LAYERS = (0, 2, 4, 6)
SALT_PARAMETERS = (
    *("init_nets.0.net.net.0.", "init_nets.0.net.net.2."),
    *("encoder.layers.0.attn.fn.in_proj_", "encoder.layers.0.attn.fn.out_proj."),
    *("encoder.layers.0.dense.fn.in_proj.", "encoder.layers.0.dense.fn.out_proj."),
    *("encoder.out_proj.", "pool_net.gate_nn."),
    *(f"tasks.{task}.net.net.{layer}." for task in range(3) for layer in HEAD_LAYERS),
)
NUM_JETS = 3000


def test_every_parameter_has_a_counterpart_in_salt():
    model = GN2(TaggerConfig(num_layers=1), 21, 4, 64, MupConfig(parametrisation="standard"))
    expected = {"encoder.registers", *(name + kind for name in SALT_PARAMETERS for kind in ("weight", "bias"))}
    names = [salt_name(name, model.tasks) for name, _ in model.named_parameters()]
    assert sorted(names) == sorted(expected)


def test_repeated_jets_are_the_same_jets_over_and_over(tagger_experiment, tmp_path):
    data = tagger_experiment().data
    repeated = repeat_jets(data, NUM_JETS, tmp_path)
    with h5py.File(data.train) as first, h5py.File(repeated.train) as second:
        assert len(first["jets"]) < NUM_JETS == len(second["tracks"])
        assert second["tracks"].compression == first["tracks"].compression
        valid = first["tracks"]["valid"]
        again = second["tracks"][len(valid) : len(valid) + 100]
        np.testing.assert_array_equal(again["valid"], valid[:100])
        np.testing.assert_array_equal(again["d0"][valid[:100]], first["tracks"][:100]["d0"][valid[:100]])
    table = open_split(repeated, "train", ("jet_classification",))
    assert list(table.class_names) == list(open_split(data, "train", ("jet_classification",)).class_names)


@pytest.mark.parametrize("wrong", ["losses", "logits", "gradients"])
def test_a_difference_of_the_models_is_seen(wrong):
    answers = {"losses": {"jets": 2.0}, "logits": [[0.0, 1.0], [2.0, 3.0]], "gradients": {"a": 3.0, "b": 4.0}}
    others = {"losses": {"jets": 2.2}, "logits": [[0.0, 1.0], [2.0, 3.5]], "gradients": {"a": 3.0, "b": 4.5}}
    apart = differences(Answers(**answers), Answers(**{**answers, wrong: others[wrong]}))
    assert getattr(apart, wrong) == pytest.approx({"losses": 0.1, "logits": 0.3872983, "gradients": 0.1}[wrong])
    assert sum(vars(apart).values()) == getattr(apart, wrong)
