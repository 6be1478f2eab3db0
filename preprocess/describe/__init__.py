"""What a dataset holds, and what about it should worry the person who trains on it: one HTML page."""
