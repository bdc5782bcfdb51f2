"""Training: the workload interface, trial groups, optimizers, schedules, checkpoints and gates."""
