"""From a checkpoint to the phone: model files, decisions, stress tests and the page."""
