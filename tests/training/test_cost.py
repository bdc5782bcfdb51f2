import torch
from toy_workload import NUM_CLASSES, NUM_FEATURES, NUM_TOKENS, ToyModel, ToyWorkload

from raytag.training.cost import flops_per_step

JETS = 32


def test_matrix_products_are_counted_forward_and_backward():
    width, tokens = 64, NUM_TOKENS + 1
    model = ToyModel(width, 32, "mup")
    macs = {
        "embed": JETS * NUM_TOKENS * NUM_FEATURES * width,
        "qkv": JETS * tokens * width * 3 * width,
        "attention": 2 * JETS * tokens * tokens * width,
        "attend": JETS * tokens * width * width,
        "feed": JETS * tokens * width * width,
        "readouts": JETS * width * (NUM_CLASSES + 1),
    }

    flops = flops_per_step(ToyWorkload(JETS), model)

    # Backward costs twice the forward, except that nothing flows back into the inputs.
    assert flops == 2 * (3 * sum(macs.values()) - macs["embed"])


def test_counting_leaves_the_model_alone():
    model = ToyModel(32, 32, "mup")
    torch.nn.utils.vector_to_parameters(torch.ones(sum(p.numel() for p in model.parameters())), model.parameters())

    flops_per_step(ToyWorkload(JETS), model)

    assert all(parameter.grad is None and (parameter == 1).all() for parameter in model.parameters())
