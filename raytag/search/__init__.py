"""The search: an Optuna study as the only truth, Ray Tune workers that pull trials from it."""
