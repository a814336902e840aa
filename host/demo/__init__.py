"""Demonstration on Fashion-MNIST images, and the training of its network."""
