"""muP: parameter roles, the factors that follow from them, and the two gates' mathematics."""
