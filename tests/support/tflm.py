"""TensorFlow Lite Micro, the reference that imported models are held to; modules that import this need it."""

import numpy as np
import pytest
import tflite

_runtime = pytest.importorskip(
    "tflite_micro.python.tflite_micro.runtime", reason="TensorFlow Lite Micro is not installed"
)


def run(data: bytes, x: np.ndarray, *, batch: int = 1) -> np.ndarray:
    """Return a file's results for inputs (M, *shape), in groups of the file's batch."""
    # The border of SPACE_TO_BATCH_ND is never written. An arena larger than any free part of the heap is new memory,
    # which holds zeros; pages that the model does not use take no memory.
    interpreter = _runtime.Interpreter.from_bytes(bytes(data), arena_size=max(10 * len(data), 1 << 30))
    results = []
    for start in range(0, len(x), batch):
        interpreter.set_input(x[start : start + batch], 0)
        interpreter.invoke()
        results.append(np.atleast_1d(interpreter.get_output(0)).copy())
    return np.concatenate(results)


def with_output(data: bytes, tensor: int) -> bytes:
    """Return the file with another tensor as its output."""
    graph = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    outputs = graph._tab.Vector(graph._tab.Offset(8))  # the third field of the schema's SubGraph
    changed = bytearray(data)
    assert int.from_bytes(changed[outputs : outputs + 4], "little") == graph.Outputs(0)
    changed[outputs : outputs + 4] = tensor.to_bytes(4, "little")
    return bytes(changed)


def results(data: bytes) -> list[int]:
    """Return the tensors that a file's operators write, in order."""
    graph = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    return [graph.Operators(i).Outputs(0) for i in range(graph.OperatorsLength())]
