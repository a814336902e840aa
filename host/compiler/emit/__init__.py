"""Emission of passes and drains for fusion groups, once tensors have addresses."""
