"""Privacy: whether synthetic images give away the photographs, or the people, that their generator was trained on."""
