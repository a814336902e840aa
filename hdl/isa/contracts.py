"""The names of the rounding contracts, and the number of each on the register bus.

A contract is the formula that turns an int32 accumulator into a result (docs/rounding.md). To add one, give it a name
and the next free number here, then an entry in each registry: its gateware in `hdl.core.output.requantiser`, its numpy
function in `sim.arithmetic.contracts`, and the state of its pipeline in `sim.state.scalers`.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CONTRACTS", "CONTRACT_NUMBERS", "ONNX_FLOAT", "TFLITE_DOUBLE", "TFLITE_SINGLE"]

TFLITE_DOUBLE = "tflite-double"
TFLITE_SINGLE = "tflite-single"
ONNX_FLOAT = "onnx-float"

CONTRACT_NUMBERS: Mapping[str, int] = {TFLITE_DOUBLE: 0, TFLITE_SINGLE: 1, ONNX_FLOAT: 2}
"""value of the register CONFIG_CONTRACT for each contract; a number is never reused for another contract"""

CONTRACTS = tuple(CONTRACT_NUMBERS)
"""valid values of `Config.contract`, the default first"""
