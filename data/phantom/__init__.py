"""Phantoms: simulated eyes with exact ground truth, for demonstrations, tests and simulation studies."""
