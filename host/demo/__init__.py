"""The demonstration, and the training of its network."""
