"""Models from TensorFlow Lite files: int8 networks, byte for byte as TensorFlow Lite Micro runs them.

Every operator becomes layers of the network (`etchnet.host.network.layers`), a step on the host, or nothing at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from etchnet.host.importers.files import parse_guarded, read_file
from etchnet.host.importers.tflite import (
    additions,
    blocks,
    host,
    multiplications,
    pools,
    products,
    quantise,
    shapes,
    slices,
)
from etchnet.host.importers.tflite.context import OPERATORS, Context
from etchnet.host.importers.tflite.reader import Operator, Reader
from etchnet.host.importers.tflite.refusals import refuse_unsupported
from etchnet.host.network.model import Model, ModelError

__all__ = ["HANDLER_MODULES", "OPERATORS", "load_tflite", "parse_tflite"]

HANDLER_MODULES = (additions, blocks, host, multiplications, pools, products, quantise, shapes, slices)
"""modules that register handlers"""


def load_tflite(path: Path) -> Model:
    """Read a .tflite file; raises ModelError as `read_file` does."""
    return read_file(path, parse_tflite)


def parse_tflite(data: bytes, *, name: str = "model") -> Model:
    """Parse the bytes of a .tflite file; raises ModelError as `load_tflite` does."""
    try:
        import tflite
    except ImportError:
        raise ModelError("reading .tflite files needs the package tflite: pip install 'etchnet[tflite]'") from None
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ModelError(f"{name} is not a TensorFlow Lite file")
    return parse_guarded(name, lambda: replace(_import(Reader(tflite, data, name)), tflite_file=data))


def _import(reader: Reader) -> Model:
    operators = list(reader.operators())
    refuse_unsupported(operators, OPERATORS)
    if reader.graphs != 1:
        raise ModelError(f"{reader.name} has {reader.graphs} graphs; one is supported")
    first = {reader.tensor(index).shape[:1] for index in reader.inputs if len(reader.tensor(index).shape) > 1}
    batch = max(1, *first.pop()) if len(first) == 1 else 1
    try:
        return _imported(reader, operators, batch)
    except ModelError:
        if batch == 1:
            raise
        # The first axis may be no batch, but one like others.
        with contextlib.suppress(ModelError):
            return _imported(reader, operators, 1)
        raise


def _imported(reader: Reader, operators: Sequence[Operator], batch: int) -> Model:
    context = Context(reader, batch)
    for operator in operators:
        context.run(operator)
    return context.finish()
