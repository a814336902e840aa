"""Exporters: networks as files for other runtimes."""
