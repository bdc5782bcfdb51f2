"""Transfer: carry a tuned narrow model's hyperparameters to a wide one and train it with Ray Train."""
