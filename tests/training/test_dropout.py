import numpy as np
import pytest
import torch
from torch import nn

from raytag.training.dropout import DropoutSource, SeededDropout, random_words

KEYS = (0, 1, 2**32, 2**63 - 1)


def words(key, stream=0, count=100_000):
    return random_words(torch.tensor(key), stream, count)


def correlation(left, right):
    return float(torch.corrcoef(torch.stack([left, right]).double())[0, 1])


@pytest.mark.parametrize("key", KEYS)
def test_words_are_uniform(key):
    """Bits are fair, and the 256 values of the uppermost byte equally frequent (χ² within 5 σ)."""
    drawn = words(key)

    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < 2**32
    bits = torch.stack([(drawn >> bit) & 1 for bit in range(32)]).double()
    assert float((bits.mean(1) - 0.5).abs().max()) < 5 * 0.5 / len(drawn) ** 0.5
    counts = torch.bincount(drawn >> 24, minlength=256).double()
    expected = len(drawn) / 256
    assert abs(float(((counts - expected) ** 2 / expected).sum()) - 255) < 5 * (2 * 255) ** 0.5


@pytest.mark.parametrize("distance", [1, 2, 16, 32, 64, 256])
def test_words_at_a_distance_are_uncorrelated(distance):
    drawn = words(1234567890123)

    assert abs(correlation(drawn[distance:], drawn[:-distance])) < 5 / len(drawn) ** 0.5


def key_of(*entropy):
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((key_of(1, 0), 0), (key_of(1, 0), 1)),  # layers
        ((key_of(1, 0), 0), (key_of(1, 1), 0)),  # steps
        ((key_of(1, 0), 0), (key_of(2, 0), 0)),  # trials
        ((7 + (key_of(1, 0) >> 32 << 32), 0), (7 + (key_of(1, 1) >> 32 << 32), 0)),  # starts that happen to be the same
    ],
)
def test_layers_steps_and_trials_have_unlike_words(one, other):
    first, second = words(*one), words(*other)

    assert abs(correlation(first, second)) < 5 / len(first) ** 0.5
    assert float((first == second).double().mean()) < 1e-3


def test_a_keys_stream_never_changes():
    """A resumed trial must draw the masks that it would have drawn, also by a later version."""
    assert words(2**40 + 5, stream=3, count=4).tolist() == [2852356317, 1818298641, 2732195272, 2340645974]


class Dropping(nn.Module):
    """A source with two layers; calls the second."""

    def __init__(self, source):
        super().__init__()
        self.source = source
        self.layers = nn.ModuleList([SeededDropout(source), SeededDropout(source)])

    def forward(self, x):
        return self.layers[1](x)


def dropping(probability, key=11):
    source = DropoutSource().double()
    source.set_probability(probability)
    source.set_key(key)
    return Dropping(source)


def test_dropped_share_and_mean_are_those_of_dropout():
    x = torch.ones(1000, 100, dtype=torch.float64)

    thinned = dropping(0.3).layers[0](x)

    assert float((thinned == 0).double().mean()) == pytest.approx(0.3, abs=5 * (0.21 / x.numel()) ** 0.5)
    assert thinned[thinned != 0].unique().tolist() == pytest.approx([1 / 0.7])


def test_layers_of_a_model_drop_different_numbers():
    x = torch.ones(1000, dtype=torch.float64)
    first, second = dropping(0.5).layers

    assert not torch.equal(first(x), second(x))
    assert torch.equal(first(x), dropping(0.5).layers[0](x))


def test_rows_of_vmap_drop_what_each_drops_alone():
    """A row without dropout beside others keeps every bit of its numbers."""
    x = torch.randn(3, 40, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    probabilities, keys = (0.0, 0.3, 0.3), (5, 6, 2**62 + 6)
    model = dropping(0.3)
    buffers = {
        "source.probability": torch.tensor(probabilities, dtype=torch.float64),
        "source.key": torch.tensor(keys),
    }

    together = torch.vmap(lambda row, own: torch.func.functional_call(model, own, (row,)))(x, buffers)

    for row, probability, key in zip(range(3), probabilities, keys, strict=True):
        assert torch.equal(together[row], dropping(probability, key)(x[row]))
    assert torch.equal(together[0], x[0])


def test_nothing_is_dropped_in_evaluation():
    x = torch.ones(100, dtype=torch.float64)

    assert dropping(0.5).eval()(x) is x
