"""A comparison of ONNX Runtime and Etchnet on one file: equal, different, a refusal, or an error that should not be."""

from __future__ import annotations

import re
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from support.onnx_runtime import session

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.host.compiler.capacity import MEMORIES
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.importers.onnx.importer import parse_onnx

HOST = (
    *("Relu", "Clip", "MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Pad"),
    *("Identity", "Softmax", "LogSoftmax", "Sigmoid", "Tanh", "ArgMax"),
)
"""operators that may be at an end of a graph in float32"""

EQUAL, DIFFERENT, REFUSED, TRACEBACK, INVALID = "equal", "different", "refused", "traceback", "invalid"


@dataclass(frozen=True)
class Outcome:
    """Which of the five it is, and details: the reason, or what is different."""

    kind: str
    detail: str = ""

    @property
    def reason(self) -> str:
        """The detail without names and numbers."""
        text = re.sub(r"'[^']*'|\"[^\"]*\"", "NAME", self.detail.splitlines()[-1] if self.detail else "")
        text = re.sub(r"\b[A-Za-z]+_\d+\b", "NAME", text)
        return re.sub(r"[-+]?\d[\d.,x ]*(e[-+]?\d+)?", "# ", text)[:160]


def theirs(data: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Results of ONNX Runtime, in as many runs as a fixed batch needs."""
    runtime = session(data)
    batch = runtime.get_inputs()[0].shape[0]
    samples = len(next(iter(inputs.values())))
    step = batch if isinstance(batch, int) else samples
    feeds = [{name: x[i : i + step] for name, x in inputs.items()} for i in range(0, samples, step)]
    return [np.concatenate(parts) for parts in zip(*(runtime.run(None, feed) for feed in feeds), strict=True)]


def ours(data: bytes, inputs: dict[str, np.ndarray], *, machine: bool) -> list[np.ndarray]:
    """Results of the imported model by its layers in numpy; `machine`: as `etchnet run` computes them."""
    model = parse_onnx(data)
    x = model.prepare(inputs)
    if not machine:
        return model.finish_all(model.network.reference(x))
    program = compile_network(model.network, Config(contract=model.network.contract), grow=MEMORIES)
    accelerator = Accelerator(program.config, engine="exact")
    accelerator.load_program(program)
    return model.finish_all(accelerator.run(x))


def _difference(want: list[np.ndarray], got: list[np.ndarray]) -> str:
    if len(want) != len(got):
        return f"{len(got)} outputs, not {len(want)}"
    for number, (a, b) in enumerate(zip(want, got, strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"output {number}: {b.dtype} {b.shape}, not {a.dtype} {a.shape}"
        if a.tobytes() != b.tobytes():
            wrong = int(np.count_nonzero(a != b))
            at = np.flatnonzero((a != b).ravel())[:1]
            return f"output {number}: {wrong} of {a.size} differ: {b.ravel()[at]}, not {a.ravel()[at]}"
    return ""


def compare(data: bytes, inputs: dict[str, np.ndarray], *, machine: bool = False) -> Outcome:
    """Compare results in bytes, dtypes and shapes; `machine`: on the exact engine.

    A file that ONNX Runtime does not run must be refused.
    """
    want: list[np.ndarray] | str
    try:
        want = theirs(data, inputs)
    except Exception as error:  # the runtime has no error class of its own
        want = str(error)
    try:
        got = ours(data, inputs, machine=machine)
    except EtchnetError as error:
        if isinstance(want, str):
            return Outcome(INVALID, want)
        # The files are whole: what a guard calls damaged is an error of the importer.
        return Outcome(TRACEBACK if "is damaged: " in str(error) else REFUSED, str(error))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = next((f for f in reversed(frames) if "etchnet" in f.filename), frames[-1])
        return Outcome(TRACEBACK, f"{type(error).__name__} in {where.name}: {error}")
    difference = f"ONNX Runtime does not run it: {want}" if isinstance(want, str) else _difference(want, got)
    return Outcome(DIFFERENT, difference) if difference else Outcome(EQUAL)


def optimised(data: bytes) -> onnx.ModelProto:
    """Return the graph that ONNX Runtime runs, as it saves it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        session(data, save=path)
        return onnx.load(path)


def float_operators(data: bytes) -> list[str]:
    """Return the operators that ONNX Runtime computes in float32, sorted, each once.

    Quantising, dequantising, changes of shape and layout, clamps and the last steps of the host are not computations.
    """
    graph = optimised(data).graph
    floats = {i.name for i in graph.input if i.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    found = set()
    for node in graph.node:
        is_float = node.op_type != "QuantizeLinear" and bool(floats.intersection(node.input[:2]))
        if node.op_type in ("DequantizeLinear", "MatMulIntegerToFloat") or is_float:
            floats.update(node.output)
        if (is_float and node.op_type not in HOST) or node.op_type == "MatMulIntegerToFloat":
            found.add(node.op_type)
    return sorted(found)
