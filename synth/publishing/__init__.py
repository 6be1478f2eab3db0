"""Published sets: what goes into them, what must not, and how a stranger checks them."""
