from collections.abc import Callable, Sequence

import pytest
import torch

from raytag.data.batches import PackedBatch

MakeJets = Callable[..., PackedBatch]


@pytest.fixture(scope="session")
def make_jets() -> MakeJets:
    """Random jets with these track counts: 2 jet and 19 track variables, 4 classes, all origins, small vertices."""

    def make(counts: Sequence[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> PackedBatch:
        generator = torch.Generator().manual_seed(seed)
        num_jets, num_tracks = len(counts), sum(counts)
        return PackedBatch(
            jets=torch.randn(num_jets, 2, generator=generator, dtype=dtype),
            tracks=torch.randn(num_tracks, 19, generator=generator, dtype=dtype),
            counts=torch.tensor(counts),
            jet_index=torch.arange(num_jets).repeat_interleave(torch.tensor(counts)),
            jet_labels=torch.randint(0, 4, (num_jets,), generator=generator),
            origins=torch.randint(0, 8, (num_tracks,), generator=generator),
            vertices=torch.randint(-2, 4, (num_tracks,), generator=generator),
        )

    return make
