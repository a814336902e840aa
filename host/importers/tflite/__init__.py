"""Importer of TensorFlow Lite files."""
