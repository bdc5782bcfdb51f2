from copy import deepcopy

import torch
from torch import func, nn

from raytag.mup.layers import ReadoutLinear


def readout() -> ReadoutLinear:
    layer = ReadoutLinear(8, 3, width_multiplier=4.0).double()
    nn.init.normal_(layer.weight)
    layer.alpha_output.fill_(3.0)
    return layer


def test_readout_multiplies_by_alpha_over_m():
    layer, x = readout(), torch.randn(5, 8, dtype=torch.float64)

    torch.testing.assert_close(layer(x), x @ layer.weight.T * (3.0 / 4.0) + layer.bias)


def test_readout_multiplier_survives_copies_and_functional_calls():
    layer, x = readout(), torch.randn(5, 8, dtype=torch.float64)

    torch.testing.assert_close(deepcopy(layer)(x), layer(x))
    torch.testing.assert_close(func.functional_call(layer, dict(layer.named_parameters()), (x,)), layer(x))


def test_a_stack_of_readouts_holds_a_stack_of_alphas():
    layers, x = [readout(), readout()], torch.randn(5, 8, dtype=torch.float64)
    layers[1].alpha_output.fill_(0.5)
    parameters, buffers = func.stack_module_state(layers)

    stacked = func.vmap(lambda p, b: func.functional_call(layers[0], (p, b), (x,)))(parameters, buffers)

    torch.testing.assert_close(stacked, torch.stack([layer(x) for layer in layers]))
