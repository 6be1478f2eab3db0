"""Experiments: each is one command, a job list and a report."""
