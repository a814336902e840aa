"""Passes and drains from fusion groups whose tensors have addresses."""
