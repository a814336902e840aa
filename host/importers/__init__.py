"""Importers: models and inputs from files."""
