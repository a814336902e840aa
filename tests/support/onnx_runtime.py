"""ONNX Runtime, the reference that imported ONNX models are held to; modules that import this need it."""

import platform
from pathlib import Path

import numpy as np
import pytest

from etchnet.host.importers.onnx.importer import parse_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

_CPU = Path("/proc/cpuinfo")
same_formulas = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or (_CPU.exists() and " fma " not in _CPU.read_text()),
    reason="ONNX Runtime's contributed operators have other formulas on CPUs without AVX2 and FMA",
)


def session(data, *, save=None):
    """Return a session that keeps int8 as int8, as the models say; on x86-64 its default is to turn QDQ into uint8.

    `save` is a path for the graph that it runs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    if save:
        options.optimized_model_filepath = str(save)
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def theirs(data, x):
    """Results of ONNX Runtime; a list if there are several outputs. `x` is a dict if there are several inputs."""
    results = session(data).run(None, x if isinstance(x, dict) else {"x": x})
    return results[0] if len(results) == 1 else results


def ours(data, x):
    """Results of the imported model in numpy."""
    model = parse_onnx(data)
    return model.finish(model.network.reference(model.prepare(x)))


def agree(data, x):
    """Ours and theirs are the same; returns theirs."""
    expected, got = theirs(data, x), ours(data, x)
    pairs = [(expected, got)] if isinstance(expected, np.ndarray) else list(zip(expected, got, strict=True))
    for want, have in pairs:
        assert have.dtype == want.dtype
        assert have.shape == want.shape
        assert have.tobytes() == want.tobytes()
    return expected
