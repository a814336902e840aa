"""Models from TensorFlow Lite files: int8 networks, byte for byte as TensorFlow Lite Micro runs them.

Every operator becomes layers of the network (`etchnet.host.network.layers`), a step of the host, or nothing at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from etchnet.host.importers.builder import GraphBuilder, Value
from etchnet.host.importers.tflite.reader import Operator, Reader, Tensor
from etchnet.host.network.layers import (
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    MaxPool,
    NetworkError,
    Pad,
    Padding,
    Scaling,
    same_padding,
)
from etchnet.host.network.model import ArgMax, Model, ModelError, Quantisation, Softmax
from etchnet.sim.arithmetic.reference import quantise_multiplier

__all__ = ["load_tflite", "parse_tflite"]

_LARGEST_FILE = 1 << 28
_LARGEST_STEP = 1 << 15
_LARGEST_BOUND = (1 << 31) - 128
_EQUAL_SCALES = 1e-6
"""by which scales before and behind a pool may differ, as TensorFlow Lite Micro has it"""


def load_tflite(path: Path) -> Model:
    """Read a .tflite file.

    Raises
    ------
    ModelError
        The file is damaged, or uses what the machine does not have; the message names the operator, its index and the
        reason.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise ModelError(f"{path} has {size} bytes; at most {_LARGEST_FILE} are read")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    return parse_tflite(data, name=path.name)


def parse_tflite(data: bytes, *, name: str = "model") -> Model:
    """The model in the bytes of a .tflite file; errors as for `load_tflite`."""
    try:
        import tflite
    except ImportError:
        raise ModelError("reading .tflite files needs the package tflite: pip install 'etchnet[tflite]'") from None
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ModelError(f"{name} is not a TensorFlow Lite file")
    try:
        return replace(_Importer(Reader(tflite, data, name)).model(), tflite_file=data)
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # the accessors raise whatever struct, numpy and slicing raise
        raise ModelError(f"{name} is damaged: {type(error).__name__}: {error}") from None


class _Importer:
    """Operators in, layers out: what every tensor of the file is among the builder's values."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._values: dict[int, Value] = {}
        self._reals: dict[int, tuple[int, ...]] = {}
        """float32 tensors that hold the input as it is, and their shapes without the batch"""
        self._sizes: set[int] = set()
        """int32 tensors that are computed from shapes; a reshape has its shape from the file all the same"""
        self._builder: GraphBuilder | None = None
        self._handlers: dict[str, Callable[[Operator], None]] = {
            "FULLY_CONNECTED": self._fully_connected,
            "CONV_2D": self._conv,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "AVERAGE_POOL_2D": self._pool,
            "MAX_POOL_2D": self._pool,
            "MEAN": self._mean,
            "ADD": self._add,
            "CONCATENATION": self._concatenation,
            "PAD": self._pad,
            "PADV2": self._pad,
            "RESHAPE": self._reshape,
            "SQUEEZE": self._reshape,
            "EXPAND_DIMS": self._reshape,
            "SHAPE": self._size,
            "STRIDED_SLICE": self._size,
            "PACK": self._size,
            "RELU": self._relu,
            "RELU_N1_TO_1": self._relu,
            "RELU6": self._relu6,
            "QUANTIZE": self._quantise,
            "DEQUANTIZE": self._dequantise,
            "SOFTMAX": self._softmax,
            "ARG_MAX": self._arg_max,
        }

    def model(self) -> Model:
        """The whole model."""
        reader = self._reader
        first = reader.tensor(reader.input)
        reader.check_type("the input", first, "int8", "float32")
        if len(first.shape) < 2 or not first.shape[0]:
            raise ModelError(f"the input has shape {first.shape}: a batch and at least one more axis are read")
        self._input, self._batch = first, first.shape[0]
        if first.type == reader.tflite.TensorType.INT8:
            self._begin(reader.activation("the input", first), floating=False)
            self._values[first.index] = replace(self._made.input, name=first.name or "input")
        else:
            self._reals[first.index] = first.shape[1:]
        for operator in reader.operators():
            if operator.kind not in self._handlers:
                raise ModelError(f"{operator} is not supported; supported are {', '.join(self._handlers)}")
            if not operator.inputs or len(operator.outputs) != 1:
                raise ModelError(f"{operator} has {len(operator.inputs)} inputs and {len(operator.outputs)} outputs")
            written = reader.tensor(operator.outputs[0])
            there = (self._values, self._reals, self._sizes)
            if written.constant or any(written.index in kind for kind in there):
                raise ModelError(f"{operator} writes {written}, which is already there")
            self._handlers[operator.kind](operator)
        if reader.output not in self._values:
            raise ModelError(f"no operator gives the output, {reader.tensor(reader.output)}, from the input as int8")
        return self._made.finish(self._values[reader.output])

    # Values

    @property
    def _made(self) -> GraphBuilder:
        if self._builder is None:
            raise ModelError("the input is float32, and no QUANTIZE comes first")
        return self._builder

    def _begin(self, quantisation: Quantisation, *, floating: bool) -> None:
        self._builder = GraphBuilder(self._reader.name, self._input.shape[1:], quantisation, floating=floating)

    def _value(self, operator: Operator, position: int, *, host: bool = False) -> Value:
        """What an operator reads there; int8 on the machine, unless `host`."""
        tensor = self._reader.tensor(operator.inputs[position])
        if tensor.index in self._values:
            value = self._values[tensor.index]
            if not host and (value.steps or value.floating):
                raise ModelError(f"{operator} comes behind an operator that runs on the host")
            return value
        if tensor.constant:
            raise ModelError(f"{operator} reads {tensor}, a constant, where only results of operators are read")
        if tensor.index in self._reals:
            raise ModelError(f"{operator} reads float32; QUANTIZE must come first")
        raise ModelError(f"{operator} reads {tensor}, which no operator before it gives")

    def _result(self, operator: Operator) -> Tensor:
        """The tensor that an operator writes: a batch as large as the input's."""
        tensor = self._reader.tensor(operator.outputs[0])
        if not tensor.shape or tensor.shape[0] != self._batch:
            raise ModelError(f"{operator} must keep the batch of {self._batch}, but gives shape {tensor.shape}")
        self._made.check_size(f"{operator}: the result", tensor.shape[1:])
        return tensor

    def _out(self, operator: Operator) -> tuple[Tensor, Quantisation]:
        tensor = self._result(operator)
        return tensor, self._reader.activation(f"{operator}: the result", tensor)

    def _name(self, operator: Operator) -> str:
        return self._reader.tensor(operator.outputs[0]).name or str(operator)

    def _set(self, operator: Operator, value: Value) -> None:
        self._values[operator.outputs[0]] = value

    # Layers with weights

    def _fully_connected(self, operator: Operator) -> None:
        options = self._reader.options(operator, "FullyConnectedOptions")
        if options.WeightsFormat() != 0:
            raise ModelError(f"{operator} has shuffled weights (format {options.WeightsFormat()}); plain ones are read")
        source, (result, out) = self._value(operator, 0), self._out(operator)
        weights, settings = self._weights(operator, source, out, 2, 0, options)
        channels, terms = weights.shape
        values = math.prod(source.shape)
        if values != terms:
            rows = f"{values // terms} rows of them in an image; one is taken" if values % terms == 0 else ""
            shape = (self._batch, *source.shape)
            raise ModelError(f"{operator}: weights take {terms} values, but the input has {rows or f'shape {shape}'}")
        if result.shape[-1] != channels:
            raise ModelError(f"{operator} gives {channels} values, but the file says shape {result.shape}")
        layer = self._layer(operator, Dense, weights.T, settings)
        self._append(operator, layer, [source])

    def _conv(self, operator: Operator) -> None:
        options = self._reader.options(operator, "Conv2DOptions")
        source, (_, out) = self._value(operator, 0), self._out(operator)
        weights, settings = self._weights(operator, source, out, 4, 0, options)
        if len(source.shape) == 3 and weights.shape[3] != source.shape[2]:
            raise ModelError(
                f"{operator}: weights take {weights.shape[3]} channels, but the input has {source.shape[2]} "
                "(groups are not read)"
            )
        window = self._window(operator, source, weights.shape[1:3], options, dilated=True)
        self._append(operator, self._layer(operator, Conv, weights.transpose(1, 2, 3, 0), settings | window), [source])

    def _depthwise(self, operator: Operator) -> None:
        options = self._reader.options(operator, "DepthwiseConv2DOptions")
        source, (_, out) = self._value(operator, 0), self._out(operator)
        weights, settings = self._weights(operator, source, out, 4, 3, options)
        window = self._window(operator, source, weights.shape[1:3], options, dilated=True)
        channels, multiplier = source.shape[2], options.DepthMultiplier()
        if weights.shape[0] != 1 or channels * multiplier != weights.shape[3]:
            raise ModelError(
                f"{operator}: weights must have shape (1, y, x, {channels} channels x multiplier {multiplier}), "
                f"not {weights.shape}"
            )
        shaped = weights.reshape(*weights.shape[1:3], channels, multiplier)
        self._append(operator, self._layer(operator, Depthwise, shaped, settings | window), [source])

    def _append(self, operator: Operator, layer: Any, sources: list[Value]) -> None:
        result, out = self._out(operator)
        self._set(
            operator,
            self._made.add(str(operator), layer, sources, out, name=self._name(operator), shape=result.shape[1:]),
        )

    @staticmethod
    def _layer(operator: Operator, kind: type, weights: np.ndarray, settings: dict[str, Any]) -> Any:
        try:
            return kind(np.ascontiguousarray(weights), **settings)
        except NetworkError as error:
            raise ModelError(f"{operator}: {error}") from None

    def _weights(
        self, operator: Operator, source: Value, out: Quantisation, ndim: int, axis: int, options: Any
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """An operator's int8 weights as the file has them, and what its layer has besides.

        `axis` is that of output channels, along which scales may differ.
        """
        reader = self._reader
        if len(operator.inputs) not in (2, 3):
            raise ModelError(f"{operator} must have 2 or 3 inputs, not {len(operator.inputs)}")
        tensor = reader.tensor(operator.inputs[1])
        reader.check_type(f"{operator}: weights", tensor, "int8")
        if len(tensor.shape) != ndim or 0 in tensor.shape:
            raise ModelError(f"{operator}: weights must have {ndim} dimensions, not shape {tensor.shape}")
        weights = reader.constant(f"{operator}: weights", tensor, "i1", tensor.shape)
        channels = tensor.shape[axis]
        if tensor.zero_points.any():
            raise ModelError(f"{operator}: weights must have zero point 0, not {tensor.zero_points.max()}")
        if len(tensor.scales) not in (1, channels) or (len(tensor.scales) > 1 and tensor.axis != axis):
            raise ModelError(f"{operator}: weights must have 1 or {channels} scales, along axis {axis}")
        bias: Any = 0
        if len(operator.inputs) == 3 and operator.inputs[2] != -1:
            tensor_bias = reader.tensor(operator.inputs[2])
            reader.check_type(f"{operator}: the bias", tensor_bias, "int32")
            bias = reader.constant(f"{operator}: the bias", tensor_bias, "<i4", (channels,)).astype(np.int64)
        # One double product and one double quotient per channel, as the reference prepares them.
        pairs = [
            self._multiplier(operator, source.quantisation.scale * float(scale) / out.scale) for scale in tensor.scales
        ]
        multipliers, shifts = np.array(pairs, np.int64).T
        low, high = self._clamp(operator, options.FusedActivationFunction(), out)
        return weights, {
            "bias": bias,
            "multiplier": multipliers if len(pairs) == channels else multipliers[0],
            "shift": shifts if len(pairs) == channels else shifts[0],
            "input_zero_point": source.quantisation.zero_point,
            "zero_point": out.zero_point,
            "low": low,
            "high": high,
        }

    @staticmethod
    def _multiplier(operator: Operator, real: float) -> tuple[int, int]:
        try:
            return quantise_multiplier(real)
        except ValueError as error:
            raise ModelError(f"{operator}: {error}") from None

    def _window(
        self, operator: Operator, source: Value, kernel: tuple[int, ...], options: Any, *, dilated: bool
    ) -> dict[str, Any]:
        """Stride, dilation and padding of what slides over an image, by those names."""
        if len(source.shape) != 3:
            shape = (self._batch, *source.shape)
            raise ModelError(f"{operator} takes images of 4 dimensions with the batch, not shape {shape}")
        stride = options.StrideH(), options.StrideW()
        dilation = (options.DilationHFactor(), options.DilationWFactor()) if dilated else (1, 1)
        for what, pair in (("stride", stride), ("dilation", dilation), ("window", kernel)):
            if not all(1 <= n <= _LARGEST_STEP for n in pair):
                raise ModelError(f"{operator}: the {what} must be from 1 to {_LARGEST_STEP}, not {tuple(pair)}")
        mode = options.Padding()
        if mode not in (self._reader.tflite.Padding.SAME, self._reader.tflite.Padding.VALID):
            raise ModelError(f"{operator}: padding must be SAME or VALID, not {mode}")
        padding: Padding = ((0, 0), (0, 0))
        if mode == self._reader.tflite.Padding.SAME:
            ends = [same_padding(source.shape[axis], kernel[axis], stride[axis], dilation[axis]) for axis in range(2)]
            padding = ends[0], ends[1]
        window = {"stride": stride, "padding": padding}
        return window | ({"dilation": dilation} if dilated else {})

    def _clamp(self, operator: Operator, activation: int, out: Quantisation) -> tuple[int, int]:
        kinds = self._reader.tflite.ActivationFunctionType
        names = {v: k for k, v in vars(kinds).items() if not k.startswith("_")}
        ranges = {"NONE": (None, None), "RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
        name = names.get(activation, str(activation))
        if name not in ranges:
            raise ModelError(f"{operator}: activation {name} is not supported; supported are {', '.join(ranges)}")
        low, high = ranges[name]
        return (-128 if low is None else _quantised(operator, low, out)), (
            127 if high is None else _quantised(operator, high, out)
        )

    # Layers without weights

    def _pool(self, operator: Operator) -> None:
        self._inputs(operator, 1)
        options = self._reader.options(operator, "Pool2DOptions")
        source, (_, out) = self._value(operator, 0), self._out(operator)
        before = source.quantisation
        # The reference moves values as they are, and takes scales that are nearly equal.
        if before.zero_point != out.zero_point or abs(np.float32(before.scale) - np.float32(out.scale)) > _EQUAL_SCALES:
            raise ModelError(f"{operator} must keep scale and zero point")
        size = options.FilterHeight(), options.FilterWidth()
        window = self._window(operator, source, size, options, dilated=False)
        low, high = self._clamp(operator, options.FusedActivationFunction(), out)
        kind = AveragePool if operator.kind == "AVERAGE_POOL_2D" else MaxPool
        try:
            layer = kind(size, low=low, high=high, **window)
        except NetworkError as error:
            raise ModelError(f"{operator}: {error}") from None
        self._append(operator, layer, [source])

    def _mean(self, operator: Operator) -> None:
        self._inputs(operator, 2)
        source, (result, out) = self._value(operator, 0), self._out(operator)
        self._made.image(str(operator), source)
        tensor, rank = self._reader.tensor(operator.inputs[1]), len(source.shape) + 1
        self._reader.check_type(f"{operator}: the axes", tensor, "int32")
        if len(tensor.shape) > 1 or not 1 <= math.prod(tensor.shape) <= rank:
            raise ModelError(f"{operator}: the axes must be a list of 1 to {rank}, not shape {tensor.shape}")
        given = self._reader.constant(f"{operator}: the axes", tensor, "<i4", tensor.shape)
        axes = {int(axis) + rank * (axis < 0) for axis in given.ravel()}
        if not axes <= set(range(1, rank)):
            raise ModelError(
                f"{operator} must go along axes of an image, 1 to {rank - 1}, not {given.ravel().tolist()}"
            )
        count = math.prod(source.shape[axis - 1] for axis in axes)
        multiplier, shift = self._multiplier(operator, source.quantisation.scale / out.scale)
        # The reference divides the multiplier by the count, and makes up for it with the shift.
        extra = min(count.bit_length() - 1, 32, 31 + shift)
        shift -= extra
        scaling = Scaling((multiplier << extra) // count, max(shift, 0), max(-shift, 0))
        value = self._made.mean(
            str(operator),
            source,
            [axis - rank + 3 for axis in axes],
            scaling,
            out,
            name=self._name(operator),
            shape=result.shape[1:],
        )
        self._set(operator, value)

    def _add(self, operator: Operator) -> None:
        self._inputs(operator, 2)
        options = self._reader.options(operator, "AddOptions")
        tensors = [self._reader.tensor(index) for index in operator.inputs]
        if any(t.constant and t.index not in self._values for t in tensors):
            raise ModelError(f"{operator} adds a constant; only results of operators are added")
        sources = [self._value(operator, position) for position in range(2)]
        if sources[0].shape != sources[1].shape:
            raise ModelError(f"{operator} must add equal shapes, not {tensors[0].shape} and {tensors[1].shape}")
        _, out = self._out(operator)
        low, high = self._clamp(operator, options.FusedActivationFunction(), out)
        first, second = (value.quantisation for value in sources)
        try:
            layer = Add.from_scales(
                (first.scale, second.scale),
                out.scale,
                zero_points=(first.zero_point, second.zero_point),
                zero_point=out.zero_point,
                low=low,
                high=high,
            )
        except NetworkError as error:
            raise ModelError(f"{operator}: {error}") from None
        if layer.result.left or 2 * max(first.scale, second.scale) >= (1 << 20) * out.scale:
            raise ModelError(
                f"{operator}: the result's scale must be above 2**-19 of its operands', not {out.scale} for "
                f"{first.scale} and {second.scale}"
            )
        self._append(operator, layer, sources)

    def _concatenation(self, operator: Operator) -> None:
        options = self._reader.options(operator, "ConcatenationOptions")
        if self._clamp(operator, options.FusedActivationFunction(), Quantisation(1.0, 0)) != (-128, 127):
            raise ModelError(f"{operator} must have no activation")
        sources = [self._value(operator, position) for position in range(len(operator.inputs))]
        result, out = self._out(operator)
        for value in sources:
            if value.quantisation != out:
                raise ModelError(
                    f"{operator} must keep scale and zero point: {value.name} has {value.quantisation}, "
                    f"the result {out}"
                )
        rank = len(result.shape)
        axis = options.Axis() + rank * (options.Axis() < 0)
        if not 1 <= axis < rank or any(len(value.shape) != rank - 1 for value in sources):
            raise ModelError(f"{operator} must go along an axis of an image, 1 to {rank - 1}, not {options.Axis()}")
        self._made.image(str(operator), sources[0])
        self._append(operator, Concat(axis - rank + 3), sources)

    def _pad(self, operator: Operator) -> None:
        reader = self._reader
        self._inputs(operator, 2 if operator.kind == "PAD" else 3)
        source, (_, out) = self._value(operator, 0), self._out(operator)
        if source.quantisation != out:
            raise ModelError(f"{operator} must keep scale and zero point")
        rank, tensor = len(source.shape) + 1, reader.tensor(operator.inputs[1])
        reader.check_type(f"{operator}: paddings", tensor, "int32")
        paddings = [
            (int(before), int(after))
            for before, after in reader.constant(f"{operator}: paddings", tensor, "<i4", (rank, 2))
        ]
        self._made.image(str(operator), source)
        if any(paddings[0]) or not all(0 <= n <= _LARGEST_STEP for pair in paddings for n in pair):
            raise ModelError(f"{operator}: paddings must be from 0 to {_LARGEST_STEP}, 0 for the batch, not {paddings}")
        value = out.zero_point
        if operator.kind == "PADV2":
            constant = reader.tensor(operator.inputs[2])
            if reader.activation(f"{operator}: the value", constant) != out:
                raise ModelError(f"{operator}: the value must have the result's scale and zero point")
            value = int(reader.constant(f"{operator}: the value", constant, "i1", (1,))[0])
        height, width, channels = ((0, 0), (0, 0), *paddings[1:])[-3:]
        self._append(operator, Pad((height, width), value, channels), [source])

    def _reshape(self, operator: Operator) -> None:
        index, real = operator.inputs[0], self._reals.get(operator.inputs[0])
        after = self._reader.tensor(operator.outputs[0])
        before = real if real is not None else self._value(operator, 0, host=True).shape
        if math.prod(before) != math.prod(after.shape[1:]) or after.shape[:1] != (self._batch,):
            raise ModelError(
                f"{operator} must keep the batch and the number of values: {(self._batch, *before)} to {after.shape}"
            )
        if self._reader.tensor(index).type != after.type:
            raise ModelError(f"{operator} must keep the type")
        if real is not None:
            self._reals[after.index] = after.shape[1:]
            return
        value = self._value(operator, 0, host=True)
        if after.type == self._reader.tflite.TensorType.INT8:
            if self._reader.activation(str(operator), after) != value.quantisation:
                raise ModelError(f"{operator} must keep scale and zero point")
        elif not value.floating:
            raise ModelError(f"{operator} comes behind ARG_MAX, which must be the last operator")
        self._set(operator, self._made.reshape(str(operator), value, after.shape[1:], name=after.name))

    def _size(self, operator: Operator) -> None:
        """What converters compute a reshape's shape with, where a batch was left open: it is known here."""
        reader, tensors = self._reader, [self._reader.tensor(index) for index in operator.inputs]
        reader.check_type(f"{operator}: the result", reader.tensor(operator.outputs[0]), "int32")
        for position, tensor in enumerate(tensors):
            if operator.kind == "SHAPE":
                self._value(operator, position, host=True)
            elif tensor.index not in self._sizes and not tensor.constant:
                raise ModelError(f"{operator} is only read on sizes for a RESHAPE, not on {tensor}")
        self._sizes.add(operator.outputs[0])

    def _relu(self, operator: Operator) -> None:
        self._inputs(operator, 1)
        source, (result, out) = self._value(operator, 0), self._out(operator)
        factor = source.quantisation.scale / out.scale
        if operator.kind == "RELU_N1_TO_1":
            # Only LiteRT has this operator, and it divides in float32.
            with np.errstate(over="ignore", under="ignore"):
                factor = float(np.float32(source.quantisation.scale) / np.float32(out.scale))
        low, high = self._clamp(operator, getattr(self._reader.tflite.ActivationFunctionType, operator.kind), out)
        self._requantise(operator, source, result, out, factor, low=low, high=high)

    def _relu6(self, operator: Operator) -> None:
        self._inputs(operator, 1)
        source, (result, out) = self._value(operator, 0), self._out(operator)
        if source.quantisation != out:
            raise ModelError(f"{operator} must keep scale and zero point: the reference clamps and does not rescale")
        self._requantise(operator, source, result, out, 1.0, low=out.zero_point, high=_quantised(operator, 6.0, out))

    def _requantise(
        self,
        operator: Operator,
        source: Value,
        result: Tensor,
        out: Quantisation,
        factor: float,
        *,
        low: int = -128,
        high: int = 127,
    ) -> None:
        """Every value by itself; no layer where nothing changes."""
        where, name, shape = str(operator), self._name(operator), result.shape[1:]
        if source.shape != shape:
            raise ModelError(f"{operator} must keep the shape: {(self._batch, *source.shape)} to {result.shape}")
        same = source.quantisation == out
        if same and (low, high) == (-128, 127):
            self._set(operator, replace(source, name=name))
            return
        value = self._made.identity(where, source, out, scale=None if same else factor, name=name, low=low, high=high)
        self._set(operator, value)

    def _inputs(self, operator: Operator, count: int) -> None:
        if len(operator.inputs) != count:
            raise ModelError(f"{operator} must have {count} input{'s'[: count != 1]}, not {len(operator.inputs)}")

    # The host

    def _quantise(self, operator: Operator) -> None:
        self._inputs(operator, 1)
        reader, index = self._reader, operator.inputs[0]
        if index not in self._reals:
            source, (result, out) = self._value(operator, 0), self._out(operator)
            self._requantise(operator, source, result, out, source.quantisation.scale / out.scale)
            return
        after = reader.tensor(operator.outputs[0])
        out = reader.activation(f"{operator}: the result", after)
        if self._builder is None:
            self._begin(out, floating=True)
        elif self._made.input.quantisation != out:
            raise ModelError(
                f"{operator}: the input is quantised in two ways, {self._made.input.quantisation} and {out}"
            )
        if self._result(operator).shape[1:] != self._reals[index]:
            raise ModelError(f"{operator} must keep the shape")
        value = self._made.reshape(str(operator), self._made.input, after.shape[1:], name=after.name)
        self._set(operator, value)

    def _dequantise(self, operator: Operator) -> None:
        self._inputs(operator, 1)
        if operator.inputs[0] in self._reals:
            raise ModelError(f"{operator} is only read at the end, from int8")
        value, after = self._value(operator, 0, host=True), self._result(operator)
        self._reader.check_type(f"{operator}: the result", after, "float32")
        if value.floating or (value.steps and isinstance(value.steps[-1], ArgMax)) or after.shape[1:] != value.shape:
            raise ModelError(f"{operator} is only read at the end, from int8, and must keep the shape")
        self._set(operator, replace(value, floating=True))

    def _softmax(self, operator: Operator) -> None:
        self._inputs(operator, 1)
        value, (after, out) = self._value(operator, 0, host=True), self._out(operator)
        if out != Quantisation(1 / 256, -128):
            raise ModelError(f"{operator}: the result must have scale 1/256 and zero point -128, not {out}")
        beta = float(self._reader.options(operator, "SoftmaxOptions").Beta())
        if not (np.isfinite(beta) and beta > 0):
            raise ModelError(f"{operator}: beta must be positive, not {beta}")
        scale = value.quantisation.scale
        if scale * beta * (1 << 26) <= 1:
            raise ModelError(f"{operator}: scale x beta must be above 2**-26, not {scale * beta}")
        if after.shape[1:] != value.shape or not value.shape:
            raise ModelError(f"{operator} must keep the shape")
        step = Softmax(scale, beta, channels=value.shape[-1])
        self._set(operator, self._made.step(str(operator), value, step, out, name=self._name(operator)))

    def _arg_max(self, operator: Operator) -> None:
        self._inputs(operator, 2)
        reader = self._reader
        value, after = self._value(operator, 0, host=True), self._result(operator)
        axis = reader.tensor(operator.inputs[1])
        reader.check_type(f"{operator}: the axis", axis, "int32", "int64")
        reader.check_type(f"{operator}: the result", after, "int32", "int64")
        wide = axis.type == reader.tflite.TensorType.INT64
        along = int(reader.constant(f"{operator}: the axis", axis, "<i8" if wide else "<i4", (1,))[0])
        shape = (self._batch, *value.shape)
        if along not in (-1, len(shape) - 1) or not value.shape:
            raise ModelError(f"{operator} must go along the last axis, not axis {along} of shape {shape}")
        if after.shape[1:] != value.shape[:-1]:
            raise ModelError(f"{operator} gives shape {shape[:-1]}, but the file says {after.shape}")
        number = np.int64 if after.type == reader.tflite.TensorType.INT64 else np.int32
        step = ArgMax(number, channels=value.shape[-1])
        self._set(
            operator,
            self._made.step(
                str(operator), value, step, value.quantisation, name=self._name(operator), shape=after.shape[1:]
            ),
        )


def _quantised(operator: Operator, value: float, quantisation: Quantisation) -> int:
    """A bound of an activation as int8."""
    if abs(value) / quantisation.scale > _LARGEST_BOUND:
        raise ModelError(
            f"{operator}: an activation's bound of {value} must be at most 2**31 times the result's scale, not of "
            f"{quantisation.scale}"
        )
    return int(quantisation.quantise(np.float32(value)))
