"""Camera file -> standardised image: reading, field of view, crop and resize, and the pipeline over a whole folder."""
