"""The one place that says which version this is (read by the build, the run folders and every synthetic PNG)."""

__version__ = "0.1.0"
