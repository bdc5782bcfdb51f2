"""Jets: the GN2 h5 layout, its packed cache, minibatches and the simulation."""
