"""Models from TensorFlow Lite files."""
