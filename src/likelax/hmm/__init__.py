"""Hidden Markov models: array kernels on log potentials, and the node that calls them."""
