"""Settings of ONNX Runtime's `quantize_static`, and graphs that it quantises."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType

OPTIONS: dict[str, list[Any]] = {
    "ActivationSymmetric": [False, True],
    "WeightSymmetric": [True, False],
    "AddQDQPairToWeight": [False, True],
    "DedicatedQDQPair": [False, True],
    "QDQDisableWeightAdjustForInt32Bias": [False, True],
    "QuantizeBias": [True, False],
    "QDQKeepRemovableActivations": [False, True],
    "ForceQuantizeNoInputCheck": [False, True],
    "MatMulConstBOnly": [False, True],
    "UseQDQContribOps": [False, True],
    "MinimumRealRange": [None, 0.01],
    "CalibTensorRangeSymmetric": [False, True],
    "CalibMovingAverage": [False, True],
    "EnableSubgraph": [False, True],
    "OpTypesToExcludeOutputQuantization": [[], ["Conv"], ["MatMul", "Gemm"]],
}
"""extra options, the default first"""

ARGUMENTS: dict[str, list[Any]] = {
    "quant_format": [QuantFormat.QDQ, QuantFormat.QOperator],
    "per_channel": [False, True],
    "reduce_range": [False, True],
    "activation_type": [QuantType.QInt8, QuantType.QUInt8, QuantType.QInt16, QuantType.QUInt16],
    "weight_type": [QuantType.QInt8, QuantType.QUInt8, QuantType.QInt16, QuantType.QInt4],
    "calibrate_method": [
        CalibrationMethod.MinMax,
        CalibrationMethod.Entropy,
        CalibrationMethod.Percentile,
        CalibrationMethod.Distribution,
    ],
    "op_types_to_quantize": [None, ["Conv", "Gemm", "MatMul"], ["Conv", "Add", "Relu", "Clip"]],
}
"""arguments, the default first"""


class _Reader(quantization.CalibrationDataReader):
    def __init__(self, feeds: list[dict[str, np.ndarray]]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def quantise(data: bytes, feeds: list[dict[str, np.ndarray]], arguments: dict, options: dict) -> bytes:
    """Return a float model as `quantize_static` quantises it after calibration with `feeds`.

    Calibration by histograms fails where there is nothing to quantise; then it is by least and greatest values.
    """
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(4)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source, result = Path(folder) / "float.onnx", Path(folder) / "result.onnx"
            source.write_bytes(data)
            options = {name: value for name, value in options.items() if value is not None}
            with contextlib.redirect_stdout(io.StringIO()):
                try:
                    quantization.quantize_static(source, result, _Reader(feeds), **arguments, extra_options=options)
                except ValueError as error:
                    if "Histogram has not been collected" not in str(error):
                        raise
                    arguments = arguments | {"calibrate_method": CalibrationMethod.MinMax}
                    quantization.quantize_static(source, result, _Reader(feeds), **arguments, extra_options=options)
            return result.read_bytes()
    finally:
        logging.disable(logging.NOTSET)
        onnxruntime.set_default_logger_severity(2)


def supported(arguments: dict[str, Any]) -> bool:
    """Return whether `quantize_static` takes these types together, as its errors say."""
    activation, weight = arguments["activation_type"], arguments["weight_type"]
    wide = {QuantType.QInt16, QuantType.QUInt16, QuantType.QInt4}
    if arguments["quant_format"] == QuantFormat.QOperator and wide & {activation, weight}:
        return False
    return not (activation == QuantType.QInt8 and weight == QuantType.QUInt8)


def random_settings(random: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return arguments and extra options: int8 mostly, everything else at random."""

    def choose(choices: list[Any], usual: float) -> Any:
        return choices[0] if random.random() < usual else choices[int(random.integers(1, len(choices)))]

    usual = {"quant_format": 0.75, "per_channel": 0.5, "reduce_range": 0.8, "calibrate_method": 0.9}
    arguments = {name: choose(values, usual.get(name, 0.985)) for name, values in ARGUMENTS.items()}
    often = ("ActivationSymmetric", "DedicatedQDQPair", "AddQDQPairToWeight", "QuantizeBias")
    if arguments["op_types_to_quantize"]:
        arguments["calibrate_method"] = CalibrationMethod.MinMax  # the others fail where there is no such operator
    if not supported(arguments):
        arguments["activation_type"], arguments["weight_type"] = QuantType.QInt8, QuantType.QInt8
    options = {name: choose(values, 0.65 if name in often else 0.9) for name, values in OPTIONS.items()}
    return arguments, options


def matrix() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return arguments and options, each once: all combinations of what changes how a graph is written, and of types.

    Every other option and every calibration is combined with the format, `per_channel` and `ActivationSymmetric`.
    """
    both = (False, True)
    rows: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def row(arguments: dict[str, Any], options: dict[str, Any]) -> None:
        complete = {name: values[0] for name, values in ARGUMENTS.items()} | arguments
        if supported(complete) and (complete, options) not in rows:
            rows.append((complete, options))

    written = ("AddQDQPairToWeight", "DedicatedQDQPair", "QuantizeBias", "QDQKeepRemovableActivations")
    for form, *values in product(ARGUMENTS["quant_format"], *[both] * 4):
        arguments = {"quant_format": form, "per_channel": values[0], "reduce_range": values[1]}
        options = {"ActivationSymmetric": values[2], "WeightSymmetric": values[3]}
        for more in product(both, repeat=4) if form == QuantFormat.QDQ else [(False, False, True, False)]:
            row(arguments, options | dict(zip(written, more, strict=True)))
    for form, channels, symmetric in product(ARGUMENTS["quant_format"], both, both):
        arguments, options = {"quant_format": form, "per_channel": channels}, {"ActivationSymmetric": symmetric}
        for name, choices in OPTIONS.items():
            for choice in choices[1:]:
                row(arguments, options | {name: choice})
        for name in ("calibrate_method", "op_types_to_quantize"):
            for choice in ARGUMENTS[name][1:]:
                row(arguments | {name: choice}, options)
        for activation, weight in product(ARGUMENTS["activation_type"], ARGUMENTS["weight_type"]):
            row(arguments | {"activation_type": activation, "weight_type": weight}, options)
    return rows


def settings_text(arguments: dict[str, Any], options: dict[str, Any]) -> str:
    """Return what differs from the defaults."""
    chosen = {**arguments, **options}
    defaults = {name: values[0] for name, values in {**ARGUMENTS, **OPTIONS}.items()}
    return ", ".join(f"{name}={value}" for name, value in chosen.items() if value != defaults[name]) or "defaults"
