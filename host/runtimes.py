"""Other people's runtimes on this CPU, for the same network and the same int8 values: what the chip is set beside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.host.network import Dense, Network
from etchnet.host.tflite_export import to_tflite
from etchnet.sim.link import Disagreement
from etchnet.sim.verilated import MissingToolError

__all__ = ["Runtime", "litert", "onnx_runtime", "runtimes", "to_tflite"]


@dataclass(frozen=True)
class Runtime:
    """A runtime with a network in it: int8 (batch, inputs) to int8 (batch, outputs)."""

    name: str
    run: Callable[[np.ndarray], np.ndarray]


def _real_scale(layer: Dense) -> np.ndarray:
    return np.ldexp(layer.multiplier.astype(np.float64), layer.shift - 31)


def litert(data: bytes, *, threads: int) -> Runtime:
    """LiteRT with its default kernels; raises MissingToolError where it is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MissingToolError("comparing with LiteRT needs: pip install 'etchnet[bench]'") from None
    interpreter = Interpreter(model_content=data, num_threads=threads)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], x.reshape(source["shape"]))
        interpreter.invoke()
        return interpreter.get_tensor(result).reshape(len(x), -1)

    return Runtime(f"LiteRT, {threads} thread{'s'[: threads != 1]}", run)


def onnx_runtime(network: Network, *, threads: int) -> Runtime:
    """ONNX Runtime, int8 x int8 in its QGemm operator.

    Raises
    ------
    MissingToolError
        It is not installed, or the network has other layers than fully connected ones.
    """
    layers = [layer for layer in network.layers if isinstance(layer, Dense)]
    if len(layers) < len(network.layers):
        raise MissingToolError("comparing with ONNX Runtime needs a network of fully connected layers")
    try:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise MissingToolError("comparing with ONNX Runtime needs: pip install 'etchnet[bench]'") from None
    nodes, constants, at = [], [], "x"

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    one = constant("one", np.float32(1))
    for i, layer in enumerate(layers):
        inputs = [
            at, one, constant(f"zero_in_{i}", np.int8(layer.input_zero_point)),
            constant(f"weights_{i}", layer.weights),
            constant(f"scale_{i}", _real_scale(layer).astype(np.float32)),
            constant(f"zero_weights_{i}", np.zeros(layer.weights.shape[1], np.int8)),
            constant(f"bias_{i}", layer.bias.astype(np.int32)), one,
            constant(f"zero_out_{i}", np.int8(layer.zero_point)),
        ]  # fmt: skip
        nodes.append(helper.make_node("QGemm", inputs, [f"gemm_{i}"], domain="com.microsoft"))
        at = f"gemm_{i}"
        if (layer.low, layer.high) != (-128, 127):
            bounds = [constant(f"{n}_{i}", np.int8(b)) for n, b in (("low", layer.low), ("high", layer.high))]
            nodes.append(helper.make_node("Clip", [at, *bounds], [f"clip_{i}"]))
            at = f"clip_{i}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.INT8, ["n", size])
        for name, size in (("x", network.inputs), (at, network.outputs))
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Runtime(
        f"ONNX Runtime, {threads} thread{'s'[: threads != 1]}",
        lambda x: session.run(None, {"x": np.ascontiguousarray(x)})[0],
    )


def runtimes(network: Network, data: Callable[[], bytes], x: np.ndarray, expected: np.ndarray) -> Iterator[Runtime]:
    """Every runtime that is installed, at one thread and at all, each of which gave `expected` for `x`.

    They come one by one, so that the threads of one are gone before the next is timed.

    Their rounding is not the machine's, so that results may be one or two off; a mean difference above a half, or any
    of more than four, is a wrong answer.

    Raises
    ------
    Disagreement
        A runtime gives other results.
    """
    cores = os.cpu_count() or 1
    for threads in sorted({1, cores}):
        for make in (lambda n: litert(data(), threads=n), lambda n: onnx_runtime(network, threads=n)):
            try:
                runtime = make(threads)
            except MissingToolError:
                continue
            difference = np.abs(runtime.run(x).astype(int) - expected)
            if difference.mean() > 0.5 or difference.max() > 4:
                raise Disagreement(
                    f"{runtime.name} gives other results: {difference.mean():.3f} off on average, "
                    f"{difference.max()} at most"
                )
            yield runtime
            del runtime
