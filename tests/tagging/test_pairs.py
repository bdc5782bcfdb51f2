import pytest
import torch

from raytag.data.schema import Origin
from raytag.tagging.pairs import pair_tracks


def pair(counts, origins, vertices):
    return pair_tracks(
        torch.tensor(counts), torch.tensor(origins), torch.tensor(vertices), torch.device("cpu"), torch.float64
    )


def test_pairs_are_all_ordered_pairs_of_a_jet():
    pairs = pair((3, 0, 1, 2), [2] * 6, [0] * 6)

    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 2),
        (2, 0),
        (2, 1),
        (4, 5),
        (5, 4),
    ]


@pytest.mark.parametrize(
    ("vertices", "is_match"), [((0, 0), 1), ((3, 3), 1), ((0, 1), 0), ((-2, -2), 0), ((-1, -1), 0), ((-2, 0), 0)]
)
def test_match_is_a_shared_truth_vertex(vertices, is_match):
    assert pair((2,), [2, 2], vertices).is_match.tolist() == [is_match] * 2


@pytest.mark.parametrize(
    ("first", "second", "weight"),
    [
        (Origin.FROM_B, Origin.FROM_C, 2),
        (Origin.FROM_BC, Origin.FROM_BC, 2),
        (Origin.FROM_B, Origin.FAKE, 2),
        (Origin.FAKE, Origin.FAKE, 0),
        (Origin.FAKE, Origin.PRIMARY, 1),
        (Origin.FROM_C, Origin.PRIMARY, 1),
        (Origin.FROM_TAU, Origin.OTHER_SECONDARY, 1),
        (Origin.PILEUP, Origin.PILEUP, 1),
    ],
)
def test_weight_follows_both_origins(first, second, weight):
    assert pair((2,), [first, second], [0, 0]).weights.tolist() == [weight] * 2


def test_a_batch_without_pairs_is_empty():
    pairs = pair((1, 0), [2], [0])

    assert (len(pairs.first), len(pairs.second), len(pairs.is_match), len(pairs.weights)) == (0, 0, 0, 0)
