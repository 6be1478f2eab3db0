"""Explanations: which pixels a classifier used."""
