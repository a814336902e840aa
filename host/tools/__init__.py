"""Programs of others: finding them, running them, and writing files whole or not at all."""
