"""Generators: networks, adversarial training, sampling."""
