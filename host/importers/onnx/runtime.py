"""ONNX Runtime: which operators it runs for a file, and operators that it runs for the host.

What ONNX Runtime computes for a graph of float operators, quantisations and dequantisations is decided by its own
optimiser: it fuses operators, folds pairs of quantisations, and moves them past other operators. The importer does not
model that. It lets the installed runtime optimise the graph, and imports the operators that are left.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etchnet.host.importers.onnx.reader import Graph, Node, parse_model
from etchnet.host.network.model import ModelError

__all__ = ["SOURCE", "OnnxStep", "check_installed", "optimise", "run", "submodel"]

SOURCE = "etchnet_source"
"""name of the input of a submodel"""

_SILENT = 4
_INT8_SETTING = "session.qdqisint8allowed"
_LONGEST_REASON = 400
_LARGEST_INPUT = 1 << 20
_HALVINGS = 48


def check_installed() -> None:
    """Raise ModelError unless the packages are installed that reading ONNX files needs."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"reading .onnx files needs the package {error.name or 'onnxruntime'}: pip install 'etchnet[onnx]'"
        ) from None


def optimise(model: Any, name: str) -> Any:
    """Return the message of the model that ONNX Runtime runs for the message of a file.

    The level is `extended`. At the highest level, which is the runtime's default, it also changes the order in which
    float and int8 convolutions store images, which changes no int8 result.

    Raises
    ------
    ModelError
        ONNX Runtime does not load the file; the message has its reason.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="etchnet-") as folder:
            return _optimise(model, name, Path(folder) / "optimised.onnx")
    except OSError as error:
        raise ModelError(f"{name}: ONNX Runtime needs a temporary file for its graph: {error}") from None


def _optimise(model: Any, name: str, path: Path) -> Any:
    import onnxruntime

    options = _options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    # Weights are packed for products that are never computed here.
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        _open(model.SerializeToString(), options)
    except Exception as error:  # the runtime's exceptions have no common class
        raise ModelError(f"{name}: ONNX Runtime does not load it: {_one_line(error)}") from None
    return parse_model(path.read_bytes(), name)


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = 1
    options.add_session_config_entry(_INT8_SETTING, "1")
    return options


def _one_line(error: Exception) -> str:
    """Return the runtime's reason in one line, without its error codes and the places in its source."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"\S*/onnxruntime/\S+:\d+ (.*? was false\. |.*?\) (?=[A-Z]))|Status Message: ", "", text)
    return text[:_LONGEST_REASON]


def _session(data: bytes) -> Any:
    """Return a session that runs a model as it is."""
    import onnxruntime

    options = _options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _open(data, options)


def _open(data: bytes, options: Any) -> Any:
    """Return a session that prints nothing: without its fallback, it does not report errors on its own."""
    import onnxruntime

    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)


_kept_session = functools.lru_cache(maxsize=16)(_session)
"""`_session`, for models that run again and again"""


def run(where: str, model: bytes, inputs: dict[str, np.ndarray], *, again: bool = False) -> np.ndarray:
    """Run a model as it is, and return its one result; raises ModelError with ONNX Runtime's reason.

    With `again`, its session is kept for another run.
    """
    try:
        (result,) = (_kept_session if again else _session)(model).run(None, inputs)
    except Exception as error:  # the runtime's exceptions have no common class
        raise ModelError(f"{where}: ONNX Runtime does not compute it: {_one_line(error)}") from None
    return np.asarray(result)


def input_type(model: bytes) -> str:
    """Return numpy's name of the type of a model's one input."""
    kind = _kept_session(model).get_inputs()[0].type
    return {"tensor(float)": "float32"}.get(kind, kind[7:-1])


@dataclass(frozen=True)
class OnnxStep:
    """Operators of an ONNX file that ONNX Runtime computes on the host, before the first or after the last layer.

    Parameters
    ----------
    model
        Bytes of a model of these operators alone, with one input, `SOURCE`, and one output.
    shape
        Shape of its input for one image. The first dimension counts rows per image, and is 1 for most tensors.
    operators
        Their types, for messages.
    dtype
        Type of the results.
    batch
        Number of images that the operators take at once; None if any.
    """

    model: bytes
    shape: tuple[int, ...]
    operators: tuple[str, ...]
    dtype: str
    batch: int | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute (M, results) from (M, values), in the file's order."""
        return self.shaped(x).reshape(len(x), -1)

    def shaped(self, x: np.ndarray) -> np.ndarray:
        """Compute results of M images in the shape that the file gives them, (M, ...)."""
        images = x.reshape(len(x), *self.shape)
        size = self.batch or len(x)
        # Operators that take a fixed number of images see the last one repeated.
        if missing := -len(x) % size:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        parts = [self._run(images[begin : begin + size]) for begin in range(0, len(images), size)]
        return np.concatenate(parts)[: len(x)]

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Return values of which the step makes `y`, or values near them, for monotonic functions of single values."""
        kind = np.dtype(input_type(self.model))
        low, high = (-_LARGEST_INPUT, _LARGEST_INPUT) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
        below, above = np.full(y.shape, low, np.float64), np.full(y.shape, high, np.float64)
        falls = self(below.astype(kind)) > self(above.astype(kind))
        below, above = np.where(falls, above, below), np.where(falls, below, above)
        for _ in range(_HALVINGS):
            middle = (below + above) / 2
            reached = self(middle.astype(kind)).astype(np.int64) >= y
            below, above = np.where(reached, below, middle), np.where(reached, middle, above)
        return above.astype(kind)

    def _run(self, images: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(images.reshape(-1, *self.shape[1:]))
        result = run(", ".join(self.operators), self.model, {SOURCE: rows}, again=True)
        if result.shape[:1] != (len(images),):
            raise ModelError(f"{', '.join(self.operators)} must keep the batch as the first dimension of the result")
        return result


def submodel(
    graph: Graph, nodes: Sequence[Node], result: str, constants: dict[str, np.ndarray], dtype: str, rank: int
) -> bytes:
    """Return the bytes of a model of some operators of a graph.

    Parameters
    ----------
    nodes
        The operators in order, which call the input `SOURCE`.
    result
        Name of the value that the model gives.
    constants
        Values of the names that no operator gives.
    dtype, rank
        Type of the input, and its number of dimensions, whose sizes stay open.
    """
    import onnx
    from onnx import helper, numpy_helper

    # Names are numbers, so that the same computation always is the same model.
    names = {"": "", SOURCE: SOURCE}
    protos = []
    for node in nodes:
        proto = onnx.NodeProto()
        proto.CopyFrom(node.proto)
        proto.name = ""
        del proto.input[:], proto.output[:]
        proto.input.extend(names.setdefault(name, f"value_{len(names)}") for name in node.inputs)
        proto.output.extend(names.setdefault(name, f"value_{len(names)}") for name in node.outputs)
        protos.append(proto)
    sizes: list[str | int] = [f"size_{axis}" for axis in range(rank)]
    source = helper.make_tensor_value_info(SOURCE, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), sizes)
    given = onnx.ValueInfoProto()
    given.name = names[result]
    model = onnx.ModelProto()
    model.ir_version = graph.model.ir_version
    model.opset_import.extend(graph.model.opset_import)
    model.graph.CopyFrom(
        helper.make_graph(
            protos,
            "host",
            [source] if any(SOURCE in node.inputs for node in nodes) else [],
            [given],
            [numpy_helper.from_array(value, names[name]) for name, value in constants.items()],
        )
    )
    return model.SerializeToString()
