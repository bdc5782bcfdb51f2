"""A model trained alone as users of `mup` would: base shapes, one of its optimizers, a plain loop."""

import mup
import torch

from raytag.mup.multipliers import initialise


def mu_adamw(model, hyperparameters, without=()):
    """mup's own, with the epsilon that it forgets: gradients of all but the readouts' biases fall with the width."""
    parameters = [parameter for name, parameter in model.named_parameters() if name not in without]
    return mup.MuAdamW(
        [{"params": [p], "eps": hyperparameters.eps / p.infshape.width_mult()} for p in parameters],
        lr=hyperparameters.lr,
        weight_decay=hyperparameters.weight_decay,
        betas=(hyperparameters.beta1, hyperparameters.beta2),
    )


def oracle_losses(workload, trial, make_optimizer, num_steps):
    """Return the loss of each step of a trial of a group's workload, in float64."""
    base_width = workload.experiment.mup.base_width
    with torch.device("meta"):
        base, delta = workload.build_model(base_width), workload.build_model(2 * base_width)
    model = workload.build_model(trial.width).double()
    mup.set_base_shapes(model, base, delta=delta, rescale_params=False, do_assert=False)
    model.set_hyperparameters(trial.hyperparameters)
    initialise(model, workload.rule_table(trial.width), trial.seed, init_scale=1.0)
    optimizer, losses = make_optimizer(model, trial.hyperparameters), []
    for step in range(num_steps):
        optimizer.zero_grad()
        loss = (model.loss_weights * workload.loss_terms(model, workload.train_batch(step)).losses).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
