"""Importer of ONNX files."""
