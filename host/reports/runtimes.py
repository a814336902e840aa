"""LiteRT and ONNX Runtime on this CPU, running the same network on the same int8 inputs as the chip.

A runtime loads the model's own file if it supports the format, and otherwise a file that is exported for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.host.network.model import Model
from etchnet.host.network.network import Network
from etchnet.host.network.steps import ArgMax
from etchnet.sim.engines.link import Disagreement
from etchnet.sim.engines.verilated import MissingToolError

__all__ = ["RUNTIMES", "Runtime", "check", "litert", "onnx_runtime", "runtimes", "titled", "to_onnx", "to_tflite"]


RUNTIMES = ("LiteRT", "ONNX Runtime")
"""names of the runtimes that `runtimes` tries"""


@dataclass(frozen=True)
class Runtime:
    """Runtime with a loaded model and a batch of inputs; `run` returns the results, an array for each output."""

    name: str
    run: Callable[[], Sequence[np.ndarray]]


def titled(name: str, threads: int) -> str:
    """Return the title of a runtime that uses that many threads."""
    return f"{name}, {threads} thread{'s'[: threads != 1]}"


def litert(data: bytes, inputs: Sequence[np.ndarray], *, threads: int) -> Runtime:
    """Load a TensorFlow Lite file into LiteRT with its default kernels, resized to the batch of the inputs."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MissingToolError("LiteRT is not installed: pip install 'etchnet[bench]'") from None
    with _quiet():
        interpreter = Interpreter(model_content=data, num_threads=threads)
    given = {}
    for source, x in zip(interpreter.get_input_details(), inputs, strict=True):
        if x.size == np.prod(source["shape"]):
            given[source["index"]] = x.reshape(source["shape"])
        else:
            given[source["index"]] = x
            interpreter.resize_tensor_input(source["index"], x.shape)
    results = [result["index"] for result in interpreter.get_output_details()]
    with _quiet():
        interpreter.allocate_tensors()

    def run() -> list[np.ndarray]:
        for index, x in given.items():
            interpreter.set_tensor(index, x)
        interpreter.invoke()
        return [interpreter.get_tensor(result) for result in results]

    return Runtime(titled("LiteRT", threads), run)


def onnx_runtime(data: bytes, inputs: Sequence[np.ndarray], *, threads: int) -> Runtime:
    """Load an ONNX file into ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingToolError("ONNX Runtime is not installed: pip install 'etchnet[bench]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Keep the file's int8 x int8: the default on x86-64, uint8 x int8, overflows on CPUs without VNNI.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    given = {p.name: np.ascontiguousarray(x) for p, x in zip(session.get_inputs(), inputs, strict=True)}
    return Runtime(titled("ONNX Runtime", threads), lambda: session.run(None, given))


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what native libraries write to standard error, such as LiteRT's greeting, which no setting turns off."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def to_tflite(network: Network, *, batch: int = 1) -> bytes:
    """Return a network as the bytes of a TensorFlow Lite file.

    Raises
    ------
    MissingToolError
        A package for it is not installed.
    """
    try:
        from etchnet.host.exporters import tflite as tflite_export
    except ModuleNotFoundError as error:
        raise MissingToolError(f"{error.name} is missing: pip install 'etchnet[bench]'") from None
    return tflite_export.to_tflite(network, batch=batch)


def to_onnx(network: Network) -> bytes:
    """Return a network as the bytes of an ONNX file.

    Raises
    ------
    MissingToolError
        The package onnx is not installed.
    """
    try:
        from etchnet.host.exporters import onnx as onnx_export
    except ModuleNotFoundError as error:
        raise MissingToolError(f"{error.name} is missing: pip install 'etchnet[bench]'") from None
    return onnx_export.to_onnx(network)


def check(
    name: str, got: np.ndarray, accepted: Sequence[np.ndarray], *, step: float = 1.0, indices: bool = False
) -> None:
    """Check that the results of the runtime `name` are close to one of the arrays in `accepted`.

    Runtimes round differently, so results may be off by one or two steps. The mean difference must not exceed half a
    step, nor any difference four steps.

    Parameters
    ----------
    step
        Quantisation step (scale) of the results.
    indices
        Whether results are indices of largest values; one in ten may then differ.

    Raises
    ------
    Disagreement
        The results have another size, or are close to none of the arrays.
    """
    differences = []
    for wanted in accepted:
        if got.size != wanted.size:
            raise Disagreement(f"results of {name} have shape {got.shape}, not {wanted.shape}")
        off = np.abs(got.astype(np.float64).ravel() - wanted.astype(np.float64).ravel()) / step
        if (off != 0).mean() <= 0.1 if indices else off.mean() <= 0.5 and off.max() <= 4:
            return
        differences.append(off)
    off = min(differences, key=np.mean)
    raise Disagreement(
        f"results of {name} differ from the reference by {off.mean():.3f} steps on average, {off.max():g} at most"
    )


def _check_outputs(
    model: Model, name: str, got: Sequence[np.ndarray], accepted: Sequence[np.ndarray], *, exported: bool
) -> None:
    """Check the results of a runtime for each output, of the model's own file or of its exported network."""
    wanted = [model.network.split_outputs(y) if exported else model.finish_all(y) for y in accepted]
    for number, (values, port) in enumerate(zip(got, model.outputs, strict=True)):
        results = [outputs[number] for outputs in wanted]
        if exported:
            check(name, values, results)
            continue
        step = port.quantisation.scale if port.dtype == "float32" else 1.0
        indices = port.dtype == "int64" or any(isinstance(made, ArgMax) for made in port.steps)
        check(name, values, results, step=step, indices=indices)


def runtimes(
    model: Model,
    x: np.ndarray,
    accepted: Sequence[np.ndarray],
    *,
    names: Collection[str] = RUNTIMES,
    threads: Collection[int] | None = None,
    left_out: Callable[[str], None] = lambda line: None,
) -> Iterator[Runtime]:
    """Yield every installed runtime that supports the model, loaded with `x` and checked.

    The caller should delete each runtime before it asks for the next, so that idle threads do not disturb the timing.

    Parameters
    ----------
    x
        The network's inputs, int8 (M, input_size).
    accepted
        Results of the network for `x` that count as correct: the reference, and those of other roundings.
    names
        Runtimes to try, of `RUNTIMES`.
    threads
        Numbers of threads, by default one and as many as there are cores.
    left_out
        Function that is called with a message for every runtime that is left out.

    Raises
    ------
    Disagreement
        Results of a runtime differ from all of `accepted`.
    """
    network, missing = model.network, set()
    exported = [part.reshape(len(x), -1) for part in network.split_inputs(x)]
    choices: list[tuple[str, bytes | None, Callable[[], bytes], Callable[..., Any]]] = [
        ("LiteRT", model.tflite_file, lambda: to_tflite(network, batch=len(x)), litert),
        ("ONNX Runtime", model.onnx_file, lambda: to_onnx(network), onnx_runtime),
    ]
    for used in sorted(threads or {1, os.cpu_count() or 1}):
        for name, file, write, make in choices:
            if name not in names:
                continue
            try:
                if file is None:
                    runtime = make(write(), exported, threads=used)
                else:
                    runtime = make(file, model.restore_all(x), threads=used)
                got = runtime.run()
            except Exception as error:  # runtimes raise exceptions of many kinds for models that they do not support
                if name not in missing:
                    missing.add(name)
                    left_out(f"{name} is left out: {' '.join(str(error).split())}")
                continue
            _check_outputs(model, runtime.name, got, accepted, exported=file is None)
            yield runtime
            del runtime
