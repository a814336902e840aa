"""Models from ONNX files: int8, in both forms that ONNX Runtime's quantiser writes.

The form QOperator has operators on int8 (QLinearConv and others). The form QDQ has float operators between
DequantizeLinear and QuantizeLinear, and means the same operators: a float operator waits here until a QuantizeLinear
says what its result is. ONNX keeps images as (channel, y, x), the machine as (y, x, channel): weights are transposed,
and where an image is flattened its order is remembered until a matrix takes it.

A file is hostile input: `onnx_reader` checks what it says about itself, this module what its operators make of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.importers.builder import GraphBuilder, Value
from etchnet.host.importers.onnx.fit import CONTRACT, Fit, fit_add, fit_map
from etchnet.host.importers.onnx.reader import Graph, Node, read_graph
from etchnet.host.network.layers import (
    Concat,
    Conv,
    Dense,
    Depthwise,
    Layer,
    MaxPool,
    NetworkError,
    Pad,
    Reshape,
    same_padding,
)
from etchnet.host.network.model import ArgMax, FloatSoftmax, Model, ModelError, Quantisation
from etchnet.host.network.network import INPUT
from etchnet.sim.arithmetic.contracts import float_scale, quantise_float
from etchnet.sim.arithmetic.onnx_ops import (
    average_bounds,
    dequantise_linear,
    global_average_scale,
    qlinear_add,
    qlinear_softmax,
    quantise_linear,
)

__all__ = ["load_onnx", "parse_onnx"]

_LARGEST_FILE = 1 << 28
_MOST_TAPS = 64
_MOST_GROUP_WEIGHTS = 1 << 26
_MOST_SEARCHES = 1024
_BIAS_TOLERANCE = 2.0**-20
_INT8 = np.arange(-128, 128)
_UINT8 = (
    "uint8 is not read: the machine multiplies int8 by int8, and ONNX Runtime's own uint8 by int8 products saturate on "
    "CPUs without VNNI. Quantise with activation_type=QuantType.QInt8"
)


def load_onnx(path: Path) -> Model:
    """Read an .onnx file.

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
    return parse_onnx(data, name=path.name)


def parse_onnx(data: bytes, *, name: str = "model") -> Model:
    """The model in the bytes of an .onnx file; errors as for `load_onnx`."""
    try:
        return replace(_Importer(read_graph(data, name)).model(), onnx_file=data)
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # what numpy and protobuf raise for values that no writer writes
        raise ModelError(f"{name} is damaged: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class _Floats:
    """The model's float input, before anything quantises it."""


@dataclass(frozen=True)
class _Tensor:
    """An int8 tensor.

    Attributes
    ----------
    value
        The layer that gives it, whose image is (height, width, channels).
    shape
        As the file has it, without the batch.
    channels_last
        Whether the file's order of values is that of the image, or (channel, y, x).
    raw
        Whether its values stand for reals as the model's input does: nothing with a scale lies between.
    """

    value: Value
    shape: tuple[int, ...]
    channels_last: bool = False
    raw: bool = False


@dataclass(frozen=True)
class _Real:
    """A tensor, dequantised, and clamped to reals."""

    tensor: _Tensor
    quantisation: Quantisation
    low: float = -math.inf
    high: float = math.inf

    @property
    def clamped(self) -> bool:
        """Whether there is a clamp."""
        return (self.low, self.high) != (-math.inf, math.inf)


@dataclass(frozen=True)
class _Stored:
    """Constants, dequantised: int8 or int32 values, and scales along an axis or one."""

    values: np.ndarray
    scales: np.ndarray
    axis: int


@dataclass(frozen=True)
class _Waiting:
    """The result of a float operator, until it is known how it will be quantised.

    Attributes
    ----------
    emit
        Makes the layers for a quantisation of the result.
    low, high
        Clamp that came behind, in reals.
    """

    where: str
    emit: Callable[[Quantisation], _Tensor]
    low: float = -math.inf
    high: float = math.inf


_Item = _Floats | _Tensor | _Real | _Stored | _Waiting | np.ndarray


class _Importer:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._items: dict[str, _Item] = {}
        self._input_quantisation: Quantisation | None = None
        self._searches = 0
        shape = graph.input_shape
        self._channels_last = len(shape) == 3 and self._begins_with_transpose()
        if len(shape) == 3 and not self._channels_last:
            image = (shape[1], shape[2], shape[0])
        elif len(shape) == 3:
            image = (shape[0], shape[1], shape[2])
        elif len(shape) == 2:
            image = (1, shape[1], shape[0])
        else:
            image = (1, 1, math.prod(shape))
        # The quantisation is known when the first operator reads the input.
        self._builder = GraphBuilder(graph.name, image, Quantisation(1.0, 0, True), contract=CONTRACT)
        self._input = _Tensor(self._builder.input, shape, self._channels_last, raw=True)
        self._handlers: dict[str, Callable[[Node], _Item]] = {
            "QuantizeLinear": self._quantise_linear,
            "DequantizeLinear": self._dequantise_linear,
            "Conv": self._conv,
            "Gemm": self._gemm,
            "MatMul": self._mat_mul,
            "Add": self._add,
            "Relu": self._clamp,
            "Clip": self._clamp,
            "MaxPool": self._max_pool,
            "AveragePool": self._average_pool,
            "GlobalAveragePool": self._average_pool,
            "Concat": self._concat,
            "Softmax": self._softmax,
            "QLinearConv": self._qlinear_conv,
            "QLinearMatMul": self._qlinear_mat_mul,
            "QGemm": self._qlinear_gemm,
            "QLinearAdd": self._qlinear_add,
            "QLinearAveragePool": self._qlinear_average_pool,
            "QLinearGlobalAveragePool": self._qlinear_average_pool,
            "QLinearConcat": self._qlinear_concat,
            "QLinearSoftmax": self._qlinear_softmax,
            "Reshape": self._reshape,
            "Flatten": self._flatten,
            "Squeeze": self._squeeze,
            "Unsqueeze": self._squeeze,
            "Transpose": self._transpose,
            "Pad": self._pad,
            "ArgMax": self._arg_max,
            "Identity": self._identity,
            "Dropout": self._identity,
            "Constant": self._constant,
        }

    def model(self) -> Model:
        """The whole model."""
        graph = self._graph
        self._items[graph.input] = self._input if graph.input_type == "int8" else _Floats()
        for node in graph.nodes:
            handler = self._handlers.get(node.kind)
            if handler is None:
                raise ModelError(f"{node.where} is not supported; supported are {', '.join(self._handlers)}")
            if not node.outputs or any(node.outputs[1:]):
                raise ModelError(f"{node.where} must have one output, not {list(node.outputs)}")
            self._items[node.outputs[0]] = handler(node)
        result = self._items.get(graph.output)
        floating = isinstance(result, _Real)
        if isinstance(result, _Real) and not result.clamped:
            tensor = dataclasses.replace(
                result.tensor, value=dataclasses.replace(result.tensor.value, quantisation=result.quantisation)
            )
        elif isinstance(result, _Tensor):
            tensor = result
        elif isinstance(result, _Waiting):
            raise ModelError(f"{result.where} gives the output without a QuantizeLinear, which the machine needs")
        else:
            raise ModelError(f"the output {graph.output!r} is not what an operator on int8 gives")
        model = self._builder.finish(tensor.value)
        # A model of int8 pools and pads alone does not say what its values stand for.
        into = self._input_quantisation or Quantisation(1.0, 0, True)
        ordered = tensor.channels_last or _trivial(self._image_of(tensor)) or bool(tensor.value.steps)
        return dataclasses.replace(
            model,
            input=into,
            output=into if tensor.raw else model.output,
            input_shape=graph.input_shape,
            output_shape=tensor.shape,
            float_input=graph.input_type == "float32",
            float_output=floating,
            input_channels_first=not self._channels_last and not _trivial(self._image_of(self._input)),
            output_channels_first=not ordered,
        )

    # What operators read

    def _begins_with_transpose(self) -> bool:
        """Whether what reads the input first turns it from (y, x, channel) to (channel, y, x)."""
        names = {self._graph.input}
        readers = []
        for node in self._graph.nodes:
            if node[0] in names:
                if node.kind in ("QuantizeLinear", "DequantizeLinear", "Identity"):
                    names.update(node.outputs)
                else:
                    readers.append(node)
        return bool(readers) and all(
            n.kind == "Transpose" and n.attributes.get("perm") == [0, 3, 1, 2] for n in readers
        )

    def _item(self, node: Node, index: int) -> _Item | None:
        """What an input is, or None where it is left out."""
        name = node[index]
        if not name:
            return None
        return self._items[name] if name in self._items else self._graph.constant(node.where, name)

    def _array(self, node: Node, index: int, what: str) -> np.ndarray:
        array = self._optional(node, index, what)
        if array is None:
            raise ModelError(f"{node.where}: {what} must be constant, but is left out")
        return array

    def _optional(self, node: Node, index: int, what: str) -> np.ndarray | None:
        item = self._item(node, index)
        if item is not None and not isinstance(item, np.ndarray):
            raise ModelError(f"{node.where}: {what} must be constant")
        return item

    def _quantisation(self, node: Node, scale: int, what: str, *, unsigned_default: bool = False) -> Quantisation:
        """The scale and zero point of a whole tensor, at inputs `scale` and `scale + 1`."""
        scales = _scales(node.where, self._array(node, scale, f"the scale of {what}"))
        zero = self._optional(node, scale + 1, f"the zero point of {what}")
        if zero is None and unsigned_default:
            raise ModelError(f"{node.where}: {what} has no zero point, and is uint8 by that. {_UINT8}")
        if zero is None:
            zero = np.zeros((), np.int8)
        if zero.dtype == np.uint8:
            raise ModelError(f"{node.where}: {what} is uint8. {_UINT8}")
        if zero.dtype != np.int8:
            raise ModelError(f"{node.where}: the zero point of {what} must be int8, not {zero.dtype}")
        if scales.size != 1 or zero.size != 1:
            raise ModelError(f"{node.where}: {what} must have one scale and one zero point, not {scales.size}")
        return Quantisation(float(scales.flat[0]), int(zero.flat[0]), True)

    def _read(self, node: Node, index: int, quantisation: Quantisation) -> _Tensor:
        """An int8 tensor that is read with that scale and zero point."""
        item = self._item(node, index)
        if not isinstance(item, _Tensor):
            raise ModelError(f"{node.where} must read an int8 tensor at input {index}, not {_describe(item)}")
        self._check_open(node.where, item)
        if item.raw:
            self._set_input(node.where, quantisation)
        return item

    def _set_input(self, where: str, quantisation: Quantisation) -> None:
        if self._input_quantisation not in (None, quantisation):
            raise ModelError(
                f"{where} reads the input as {quantisation}, an operator before it as {self._input_quantisation}"
            )
        self._input_quantisation = quantisation

    @staticmethod
    def _check_open(where: str, tensor: _Tensor) -> None:
        if tensor.value.steps:
            raise ModelError(f"{where} comes behind an operator that runs on the host")

    def _real(self, node: Node, index: int) -> _Real:
        item = self._item(node, index)
        if isinstance(item, _Real) and not item.clamped:
            self._check_open(node.where, item.tensor)
            return item
        if isinstance(item, _Waiting | _Real):
            before = item.where if isinstance(item, _Waiting) else "a clamp"
            raise ModelError(
                f"{node.where} reads the float result of {before}: a QuantizeLinear and a DequantizeLinear must "
                "lie between them, or ONNX Runtime computes both in float"
            )
        raise ModelError(
            f"{node.where} must read what a DequantizeLinear gives at input {index}, not {_describe(item)}"
        )

    def _image_of(self, tensor: _Tensor) -> tuple[int, int, int]:
        return self._builder.geometry(tensor.value)

    def _as_image(self, where: str, tensor: _Tensor) -> Value:
        """A tensor (channel, y, x), or (channel, x), as the layer whose image is that."""
        if len(tensor.shape) not in (2, 3):
            raise ModelError(f"{where} takes tensors (N, C, H, W) or (N, C, L), not shape (N, {_join(tensor.shape)})")
        channels, height, width = (*tensor.shape[:1], 1, *tensor.shape[1:]) if len(tensor.shape) == 2 else tensor.shape
        image, wanted = self._image_of(tensor), (height, width, channels)
        flat = tensor.channels_last or _trivial(image)
        if image == wanted and (not tensor.channels_last or _trivial(image)):
            return tensor.value
        if flat and _trivial(wanted):
            return self._builder.add(where, Reshape(wanted), [tensor.value], tensor.value.quantisation, as_stored=True)
        raise ModelError(
            f"{where} takes shape (N, {_join(tensor.shape)}) of values that lie as (y, x, channel) = {image}: "
            "putting them in another order is not read"
        )

    def _layer(self, where: str, layer: Layer, sources: Sequence[Value], out: Quantisation, name: str) -> Value:
        return self._builder.add(where, layer, sources, out, name=name, as_stored=True)

    def _search(self, where: str) -> None:
        """Count an operator whose settings have to be searched for, which takes up to a second."""
        self._searches += 1
        if self._searches > _MOST_SEARCHES:
            raise ModelError(f"{where}: at most {_MOST_SEARCHES} additions, averages and changes of scale are read")

    # Between floats and int8

    def _quantise_linear(self, node: Node) -> _Item:
        item = self._item(node, 0)
        if isinstance(item, np.ndarray):
            return self._quantise_constant(node, item)
        unsigned = not (self._graph.opset >= 21 and node.integer("output_dtype", 0) == 3)
        out = self._quantisation(node, 1, "the result", unsigned_default=unsigned)
        if isinstance(item, _Floats):
            self._set_input(node.where, out)
            return self._input
        if isinstance(item, _Real):
            self._check_open_or_same(node.where, item, out)
            same = (item.quantisation.scale, item.quantisation.zero_point) == (out.scale, out.zero_point)
            if same and not item.clamped:
                return item.tensor
            return self._requantised(node.where, item, out, name=_name(node))
        if isinstance(item, _Waiting):
            bounds = quantise_linear([item.low, item.high], out.scale, out.zero_point)
            if bounds.tolist() != [-128, 127]:
                raise ModelError(
                    f"{item.where}, then clamped to [{item.low:g}, {item.high:g}], is quantised over a range that the "
                    "clamp cuts, so that ONNX Runtime computes it in float. Put a QuantizeLinear and a "
                    "DequantizeLinear before the clamp, or choose the range by what the clamp leaves"
                )
            return item.emit(out)
        raise ModelError(f"{node.where} must read floats, not {_describe(item)}")

    def _check_open_or_same(self, where: str, item: _Real, out: Quantisation) -> None:
        if item.tensor.value.steps and item.quantisation != out:
            self._check_open(where, item.tensor)

    def _quantise_constant(self, node: Node, values: np.ndarray) -> np.ndarray:
        scales = _scales(node.where, self._array(node, 1, "the scale"))
        zero = self._optional(node, 2, "the zero point")
        if zero is None or zero.dtype != np.int8 or zero.any() or values.dtype != np.float32:
            raise ModelError(f"{node.where}: constants must become int8 with zero point 0")
        return np.asarray(quantise_linear(values, _along(node, scales, values.shape), 0))

    def _dequantise_linear(self, node: Node) -> _Item:
        item = self._item(node, 0)
        if isinstance(item, np.ndarray):
            scales = _scales(node.where, self._array(node, 1, "the scale"))
            zero = self._optional(node, 2, "the zero point")
            if item.dtype not in (np.int8, np.int32):
                raise ModelError(f"{node.where}: constants must be int8 or int32, not {item.dtype}")
            if zero is not None and (zero.any() or zero.dtype != item.dtype):
                if scales.size == 1 and zero.size == 1 and zero.dtype == item.dtype:
                    # A constant operand of an addition may have one; `_stored` refuses it for weights.
                    return _Stored(item.astype(np.int64) - int(zero.flat[0]), scales.reshape(1), -1)
                raise ModelError(f"{node.where}: constants must have zero point 0, of their own type")
            _along(node, scales, item.shape)
            axis = node.integer("axis", 1)
            return _Stored(item, scales.reshape(-1), axis + item.ndim if axis < 0 else axis)
        quantisation = self._quantisation(node, 1, "the input")
        if isinstance(item, _Tensor) and item.value.steps:
            return _Real(item, quantisation)
        return _Real(self._read(node, 0, quantisation), quantisation)

    def _requantised(self, where: str, item: _Real, out: Quantisation, *, name: str) -> _Tensor:
        """A tensor clamped and quantised anew, as float operators do it value by value."""
        before = item.quantisation
        reals = np.clip(
            dequantise_linear(_INT8, before.scale, before.zero_point), np.float32(item.low), np.float32(item.high)
        )
        target = quantise_linear(reals, out.scale, out.zero_point)
        if np.array_equal(target, _INT8):
            return item.tensor
        self._search(where)
        clamp = int(target.min()), int(target.max())
        ratio = float(np.float32(before.scale) / np.float32(out.scale))
        first = Fit(1, -before.zero_point, np.float32(ratio), out.zero_point)
        fit = fit_map(
            _INT8, target, ratio, out.zero_point - ratio * before.zero_point, _near(out.zero_point), *clamp, first=first
        )
        if fit is None:
            raise ModelError(f"{where}: from {_say(before)} to {_say(out)} the machine has no equal arithmetic")
        channels = self._image_of(item.tensor)[2]
        layer = _mapped(where, [fit] * channels, fit.zero_point, *clamp)
        value = self._layer(where, layer, [item.tensor.value], out, name)
        return dataclasses.replace(item.tensor, value=value, raw=False)

    # Products

    def _conv(self, node: Node) -> _Item:
        source, weights = self._real(node, 0), self._weights(node, 1)
        bias = self._bias(node, 2, source.quantisation, weights)
        return _Waiting(
            node.where,
            lambda out: self._convolved(
                node, source.tensor, source.quantisation, weights.values, weights.scales, bias, out, _name(node)
            ),
        )

    def _qlinear_conv(self, node: Node) -> _Item:
        into, out = self._quantisation(node, 1, "the input"), self._quantisation(node, 6, "the result")
        weights, scales = self._plain_weights(node, 3)
        bias = self._plain_bias(node, 8)
        return self._convolved(node, self._read(node, 0, into), into, weights, scales, bias, out, _name(node))

    def _convolved(
        self,
        node: Node,
        tensor: _Tensor,
        into: Quantisation,
        weights: np.ndarray,
        scales: np.ndarray,
        bias: np.ndarray | None,
        out: Quantisation,
        name: str,
    ) -> _Tensor:
        where = node.where
        value = self._as_image(where, tensor)
        height, width, channels = self._builder.geometry(value)
        rank = len(tensor.shape) - 1
        if weights.ndim != rank + 2 or 0 in weights.shape:
            raise ModelError(f"{where}: weights must have {rank + 2} dimensions, not shape {weights.shape}")
        kernel = list(weights.shape[2:])
        if node.integers("kernel_shape", kernel) != kernel:
            raise ModelError(f"{where}: kernel_shape must be that of the weights, {kernel}")
        group = node.integer("group", 1)
        outputs = weights.shape[0]
        if group < 1 or weights.shape[1] * group != channels or outputs % group:
            raise ModelError(
                f"{where}: weights of shape {weights.shape} in {group} groups do not take {channels} channels"
            )
        size = (height, width)[2 - rank :]
        stride, dilation, padding = _window(node, size, kernel, dilations=True)
        if rank == 1:
            weights, stride, dilation = weights[:, :, None], [1, *stride], [1, *dilation]
            padding = [(0, 0), *padding]
        spread: np.ndarray
        kind: type[Conv] | type[Depthwise] = Conv
        if group == channels and group > 1:
            kind = Depthwise
            spread = weights.reshape(channels, outputs // channels, *weights.shape[2:]).transpose(2, 3, 0, 1)
        else:
            spread = _ungrouped(where, weights, group).transpose(2, 3, 1, 0)
        multiplier, shift = self._factors(where, into, scales, out, outputs)
        layer = _made(
            where,
            kind,
            spread,
            0 if bias is None else _sized(where, bias, outputs),
            multiplier,
            shift,
            into.zero_point,
            out.zero_point,
            stride=tuple(stride),
            dilation=tuple(dilation),
            padding=tuple(padding),
        )
        result = self._layer(where, layer, [value], out, name)
        image = self._builder.geometry(result)
        return _Tensor(result, (image[2], *image[2 - rank : 2]))

    def _gemm(self, node: Node) -> _Item:
        if node.number("alpha", 1.0) != 1 or node.number("beta", 1.0) != 1:
            raise ModelError(f"{node.where}: alpha and beta must be 1; ONNX Runtime computes others in float")
        source, weights = self._real(node, 0), self._weights(node, 1)
        bias = self._bias(node, 2, source.quantisation, weights)
        matrix, axis = self._matrix(node, weights.values), 0 if node.integer("transB", 0) else 1
        self._check_axis(node, weights, axis)
        return _Waiting(
            node.where,
            lambda out: self._multiplied(
                node, source.tensor, source.quantisation, matrix, weights.scales, bias, out, _name(node)
            ),
        )

    def _mat_mul(self, node: Node) -> _Item:
        source, weights = self._real(node, 0), self._weights(node, 1)
        self._check_axis(node, weights, 1)
        return _Waiting(
            node.where,
            lambda out: self._multiplied(
                node, source.tensor, source.quantisation, weights.values, weights.scales, None, out, _name(node)
            ),
        )

    def _qlinear_gemm(self, node: Node) -> _Item:
        into = self._quantisation(node, 1, "the input")
        if not node[7] or not node[8]:
            raise ModelError(f"{node.where}: the result must be int8, with a scale and a zero point")
        out = self._quantisation(node, 7, "the result")
        weights, scales = self._plain_weights(node, 3)
        alpha = np.float32(node.number("alpha", 1.0))
        if not alpha > 0:
            raise ModelError(f"{node.where}: alpha must be positive, not {alpha}")
        bias, matrix = self._plain_bias(node, 6), self._matrix(node, weights)
        return self._multiplied(node, self._read(node, 0, into), into, matrix, scales, bias, out, _name(node), alpha)

    def _qlinear_mat_mul(self, node: Node) -> _Item:
        into, out = self._quantisation(node, 1, "the input"), self._quantisation(node, 6, "the result")
        weights, scales = self._plain_weights(node, 3)
        return self._multiplied(node, self._read(node, 0, into), into, weights, scales, None, out, _name(node))

    def _matrix(self, node: Node, weights: np.ndarray) -> np.ndarray:
        if node.integer("transA", 0):
            raise ModelError(f"{node.where}: transA must be 0")
        return weights.T if node.integer("transB", 0) else weights

    def _multiplied(
        self,
        node: Node,
        tensor: _Tensor,
        into: Quantisation,
        weights: np.ndarray,
        scales: np.ndarray,
        bias: np.ndarray | None,
        out: Quantisation,
        name: str,
        alpha: Any = 1,
    ) -> _Tensor:
        where = node.where
        if weights.ndim != 2 or 0 in weights.shape:
            raise ModelError(f"{where}: weights must be a matrix, not of shape {weights.shape}")
        if tensor.shape != (len(weights),):
            raise ModelError(f"{where}: weights take (N, {len(weights)}), not shape (N, {_join(tensor.shape)})")
        image = self._image_of(tensor)
        if not (tensor.channels_last or _trivial(image)):
            height, width, channels = image
            weights = weights.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(weights.shape)
        outputs = weights.shape[1]
        scaled = Quantisation(float(np.float32(np.float32(alpha) * np.float32(into.scale))), into.zero_point, True)
        multiplier, shift = self._factors(where, scaled, scales, out, outputs)
        folded = 0 if bias is None else _sized(where, bias, outputs)
        layer = _made(where, Dense, weights, folded, multiplier, shift, into.zero_point, out.zero_point)
        return _Tensor(self._layer(where, layer, [tensor.value], out, name), (outputs,))

    def _weights(self, node: Node, index: int) -> _Stored:
        item = self._item(node, index)
        if not isinstance(item, _Stored) or item.values.dtype != np.int8:
            raise ModelError(
                f"{node.where}: weights must be int8 constants with zero point 0, dequantised, not {_describe(item)}"
            )
        if node.kind == "Conv":
            self._check_axis(node, item, 0)
        return item

    @staticmethod
    def _check_axis(node: Node, weights: _Stored, axis: int) -> None:
        if weights.scales.size > 1 and weights.axis != axis:
            raise ModelError(f"{node.where}: scales of weights must go along axis {axis}, not {weights.axis}")

    def _plain_weights(self, node: Node, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights, their scales at the next input, and their zero points behind."""
        weights = self._array(node, index, "weights")
        scales = _scales(node.where, self._array(node, index + 1, "the scale of the weights"))
        zero = self._optional(node, index + 2, "the zero point of the weights")
        if weights.dtype != np.int8:
            raise ModelError(f"{node.where}: weights must be int8, not {weights.dtype}")
        if scales.ndim > 1 or (zero is not None and (zero.dtype != np.int8 or zero.any())):
            raise ModelError(f"{node.where}: weights must have zero point 0, int8, and one scale per output channel")
        return weights, scales.reshape(-1)

    def _bias(self, node: Node, index: int, into: Quantisation, weights: _Stored) -> np.ndarray | None:
        item = self._item(node, index)
        if item is None:
            return None
        if not isinstance(item, _Stored) or item.values.dtype != np.int32:
            raise ModelError(f"{node.where}: the bias must be an int32 constant, dequantised, not {_describe(item)}")
        wanted = np.float32(into.scale) * weights.scales
        if item.scales.size not in (1, wanted.size) and wanted.size != 1:
            raise ModelError(f"{node.where}: the bias has {item.scales.size} scales, the weights {wanted.size}")
        if (np.abs(item.scales / wanted - 1) > _BIAS_TOLERANCE).any():
            raise ModelError(f"{node.where}: the bias must have the scale of input times weights")
        return item.values

    def _plain_bias(self, node: Node, index: int) -> np.ndarray | None:
        bias = self._optional(node, index, "the bias")
        if bias is not None and bias.dtype != np.int32:
            raise ModelError(f"{node.where}: the bias must be int32, not {bias.dtype}")
        return bias

    @staticmethod
    def _factors(where: str, into: Quantisation, scales: np.ndarray, out: Quantisation, channels: int) -> Any:
        if scales.size not in (1, channels):
            raise ModelError(f"{where}: weights must have 1 or {channels} scales, not {scales.size}")
        factors = np.broadcast_to(float_scale(into.scale, scales, out.scale), channels)
        try:
            pairs = [quantise_float(float(factor)) for factor in factors]
        except ValueError as error:
            raise ModelError(f"{where}: {error}") from None
        return np.array(pairs, np.int64).T

    # Additions

    def _add(self, node: Node) -> _Item:
        items = [self._item(node, 0), self._item(node, 1)]
        if len(node.inputs) != 2:
            raise ModelError(f"{node.where} must have 2 inputs, not {len(node.inputs)}")
        operands: list[tuple[_Tensor | np.ndarray, Quantisation]] = []
        for index, item in enumerate(items):
            if isinstance(item, _Stored) and item.values.dtype != np.int32 and item.scales.size == 1:
                operands.append((item.values, Quantisation(float(item.scales[0]), 0, True)))
            else:
                real = self._real(node, index)
                operands.append((real.tensor, real.quantisation))
        return _Waiting(node.where, lambda out: self._added(node.where, operands, out, _name(node)))

    def _qlinear_add(self, node: Node) -> _Item:
        out = self._quantisation(node, 6, "the result")
        operands: list[tuple[_Tensor | np.ndarray, Quantisation]] = []
        for index in (0, 3):
            quantisation = self._quantisation(node, index + 1, "an operand")
            constant = self._item(node, index)
            if isinstance(constant, np.ndarray):
                if constant.dtype != np.int8:
                    raise ModelError(f"{node.where}: a constant operand must be int8, not {constant.dtype}")
                operands.append((constant, quantisation))
            else:
                operands.append((self._read(node, index, quantisation), quantisation))
        return self._added(node.where, operands, out, _name(node))

    def _added(
        self, where: str, operands: Sequence[tuple[_Tensor | np.ndarray, Quantisation]], out: Quantisation, name: str
    ) -> _Tensor:
        (a, first), (b, second) = operands
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            return self._added_constant(where, operands, out, name)
        image = self._image_of(a)
        same = a.shape == b.shape and image == self._image_of(b)
        if not same or (a.channels_last != b.channels_last and not _trivial(image)):
            raise ModelError(
                f"{where} must add tensors of one shape and order, not (N, {_join(a.shape)}) and (N, {_join(b.shape)})"
            )
        scales, zeros = (first.scale, second.scale, out.scale), (first.zero_point, second.zero_point, out.zero_point)
        self._search(where)
        layer = fit_add(scales, zeros, single=math.prod(image) == 1)
        if layer is None:
            raise ModelError(
                f"{where} of {_say(first)} and {_say(second)} to {_say(out)}: ONNX Runtime's float32 sums meet "
                "rounding ties that the machine has no equal arithmetic for. Other calibration data gives other scales"
            )
        return dataclasses.replace(a, value=self._layer(where, layer, [a.value, b.value], out, name), raw=False)

    def _added_constant(
        self, where: str, operands: Sequence[tuple[_Tensor | np.ndarray, Quantisation]], out: Quantisation, name: str
    ) -> _Tensor:
        tensors = [operand for operand, _ in operands if isinstance(operand, _Tensor)]
        if len(tensors) != 1:
            raise ModelError(f"{where} must have an operand that is not constant")
        tensor = tensors[0]
        at = next(index for index, (operand, _) in enumerate(operands) if isinstance(operand, np.ndarray))
        constant = np.asarray(operands[at][0])
        channels = self._image_of(tensor)[2]
        if len(tensor.shape) == 1 and math.prod(self._image_of(tensor)[:2]) == 1:
            wanted: tuple[tuple[int, ...], ...] = ((channels,), (1, channels))
        else:
            ones = (1,) * (len(tensor.shape) - 1)
            wanted = ((channels, *ones), (1, channels, *ones)) if not tensor.channels_last else ((channels,),)
        if constant.shape not in wanted or channels == 1:
            raise ModelError(
                f"{where}: a constant operand must have one value per channel, and more than one, as shape "
                f"{wanted[0]}; it has shape {constant.shape}"
            )
        scales = operands[0][1].scale, operands[1][1].scale, out.scale
        zeros = operands[0][1].zero_point, operands[1][1].zero_point, out.zero_point
        ratio, other = (float(np.float32(scales[index]) / np.float32(out.scale)) for index in (1 - at, at))
        self._search(where)
        values = constant.reshape(-1)
        for zero_point in _near(out.zero_point):
            fits: dict[int, Fit | None] = {}
            for value in map(int, np.unique(values)):
                pair = (np.full(256, value), _INT8) if at == 0 else (_INT8, np.full(256, value))
                target = qlinear_add(pair[0], pair[1], scales, zeros)
                offset = out.zero_point - ratio * zeros[1 - at] + other * (value - zeros[at])
                fits[value] = fit_map(_INT8, target, ratio, offset, [zero_point])
                if fits[value] is None:
                    break
            found = [fits.get(int(value)) for value in values]
            if None not in found:
                layer = _mapped(where, [fit for fit in found if fit], zero_point)
                result = self._layer(where, layer, [tensor.value], out, name)
                return dataclasses.replace(tensor, value=result, raw=False)
        raise ModelError(f"{where}: the machine has no arithmetic equal to ONNX Runtime's for this constant operand")

    # Clamps, pools

    def _clamp(self, node: Node) -> _Item:
        low, high = 0.0, math.inf
        if node.kind == "Clip":
            low, high = (self._bound(node, index, default) for index, default in ((1, -math.inf), (2, math.inf)))
        if not low <= high:
            raise ModelError(f"{node.where}: the lower bound {low} must not be above {high}")
        item = self._item(node, 0)
        if isinstance(item, _Waiting | _Real):
            # A clamp of a clamp: the second one moves the bounds of the first.
            least, most = (min(max(bound, low), high) for bound in (item.low, item.high))
            return dataclasses.replace(item, low=least, high=most)
        raise ModelError(f"{node.where} must read floats, not {_describe(item)}")

    def _bound(self, node: Node, index: int, default: float) -> float:
        if self._graph.opset < 11:
            return node.number("min" if index == 1 else "max", default)
        bound = self._item(node, index)
        if isinstance(bound, _Stored):
            bound = bound.values.astype(np.float32) * bound.scales if bound.scales.size == 1 else None
            if bound is None:
                raise ModelError(f"{node.where}: bounds must be single numbers")
        if bound is None:
            return default
        if not isinstance(bound, np.ndarray) or bound.dtype != np.float32 or bound.size != 1 or np.isnan(bound).any():
            raise ModelError(f"{node.where}: bounds must be constant float32 numbers")
        return float(bound.flat[0])

    def _max_pool(self, node: Node) -> _Item:
        return self._shaped(node, lambda tensor: self._pooled(node, tensor))

    def _pooled(self, node: Node, tensor: _Tensor) -> _Tensor:
        self._check_open(node.where, tensor)
        if node.integer("storage_order", 0) not in (0, 1):
            raise ModelError(f"{node.where}: storage_order must be 0 or 1")
        value = self._as_image(node.where, tensor)
        size = self._builder.geometry(value)[3 - len(tensor.shape) : 2]
        kernel = node.integers("kernel_shape", None, len(size))
        stride, _, padding = _window(node, size, kernel)
        if node.integer("ceil_mode", 0):
            padding = [_ceiling(*axis) for axis in zip(size, kernel, stride, padding, strict=True)]
        ones = 2 - len(size)
        layer = _made(
            node.where, MaxPool, (*(1,) * ones, *kernel), (*(1,) * ones, *stride), (*((0, 0),) * ones, *padding)
        )
        result = self._layer(node.where, layer, [value], tensor.value.quantisation, _name(node))
        image = self._builder.geometry(result)
        return _Tensor(result, (image[2], *image[2 - len(size) : 2]), raw=tensor.raw)

    def _average_pool(self, node: Node) -> _Item:
        source = self._real(node, 0)
        return _Waiting(
            node.where,
            lambda out: self._averaged(node, source.tensor, source.quantisation, out, _name(node)),
        )

    def _qlinear_average_pool(self, node: Node) -> _Item:
        into, out = self._quantisation(node, 1, "the input"), self._quantisation(node, 3, "the result")
        if node.integer("channels_last", 0):
            raise ModelError(f"{node.where}: channels_last must be 0")
        return self._averaged(node, self._read(node, 0, into), into, out, _name(node))

    def _averaged(self, node: Node, tensor: _Tensor, into: Quantisation, out: Quantisation, name: str) -> _Tensor:
        where = node.where
        value = self._as_image(where, tensor)
        height, width, channels = self._builder.geometry(value)
        size = [height, width][3 - len(tensor.shape) :]
        if "Global" in node.kind:
            kernel, stride, padding = size, [1] * len(size), [(0, 0)] * len(size)
        else:
            kernel = node.integers("kernel_shape", None, len(size))
            stride, _, padding = _window(node, size, kernel)
            ceiling = [_ceiling(*axis) for axis in zip(size, kernel, stride, padding, strict=True)]
            if node.integer("ceil_mode", 0) and ceiling != padding:
                raise ModelError(f"{where}: ceil_mode must be 0 where it makes windows that leave the image")
            if any(any(sides) for sides in padding) and not node.integer("count_include_pad", 0):
                raise ModelError(f"{where}: averages that leave padding out (count_include_pad = 0) are not read")
            if any(max(sides) >= n for sides, n in zip(padding, kernel, strict=True)):
                raise ModelError(f"{where}: pads must be smaller than the window {kernel}, not {padding}")
        taps = math.prod(kernel)
        if list(kernel) == size and not any(any(sides) for sides in padding):
            factor = global_average_scale(into.scale, out.scale, taps)
            if not 2.0**-32 <= factor < 256:
                raise ModelError(f"{where}: the scale {factor} is out of ONNX Runtime's range, from 2**-32 to 256")
            fit: Fit | None = Fit(1, 0, factor, out.zero_point)
        else:
            self._search(where)
            fit = self._fit_average(where, taps, into, out)
        if fit is None:
            raise ModelError(
                f"{where} from {_say(into)} to {_say(out)}: ONNX Runtime's float32 sums over {taps} values meet "
                "rounding ties that depend on their order, so that no whole-number arithmetic is equal"
            )
        ones = 2 - len(size)
        multiplier, shift = quantise_float(float(fit.factor))
        self._builder.check_size(f"{where}: the window", (*kernel, channels))
        layer = _made(
            where,
            Depthwise,
            np.full((*(1,) * ones, *kernel, channels, 1), fit.weight, np.int8),
            fit.bias,
            multiplier,
            shift,
            into.zero_point,
            fit.zero_point,
            stride=(*(1,) * ones, *stride),
            padding=(*((0, 0),) * ones, *padding),
        )
        result = self._layer(where, layer, [value], out, name)
        image = self._builder.geometry(result)
        return _Tensor(result, (image[2], *image[2 - len(size) : 2]))

    @staticmethod
    def _fit_average(where: str, taps: int, into: Quantisation, out: Quantisation) -> Fit | None:
        if taps > _MOST_TAPS:
            raise ModelError(f"{where}: windows of at most {_MOST_TAPS} pixels are read, except over the whole image")
        scales, zeros = (into.scale, out.scale), (into.zero_point, out.zero_point)
        least, most = average_bounds(taps, taps, scales, zeros)
        if not np.array_equal(least, most):
            return None
        sums = np.arange(-128 * taps, 127 * taps + 1) - taps * into.zero_point
        ratio = float(global_average_scale(into.scale, out.scale, taps))
        first = Fit(1, 0, np.float32(ratio), out.zero_point)
        return fit_map(sums, least, ratio, out.zero_point, _near(out.zero_point), first=first)

    # Tensors side by side

    def _concat(self, node: Node) -> _Item:
        parts = [self._real(node, index) for index in range(len(node.inputs))]
        if not parts:
            raise ModelError(f"{node.where} has no inputs")
        quantisations = {part.quantisation for part in parts}
        if len(quantisations) == 1:
            tensor = self._joined(node, [part.tensor for part in parts], parts[0].quantisation, _name(node))
            return _Real(tensor, parts[0].quantisation)
        return _Waiting(node.where, lambda out: self._brought_together(node, parts, out, _name(node)))

    def _qlinear_concat(self, node: Node) -> _Item:
        out = self._quantisation(node, 0, "the result")
        if len(node.inputs) < 5 or len(node.inputs) % 3 != 2:
            raise ModelError(f"{node.where} must have a tensor, a scale and a zero point for every part")
        parts = []
        for index in range(2, len(node.inputs), 3):
            quantisation = self._quantisation(node, index + 1, "a part")
            parts.append(_Real(self._read(node, index, quantisation), quantisation))
        return self._brought_together(node, parts, out, _name(node))

    def _brought_together(self, node: Node, parts: Sequence[_Real], out: Quantisation, name: str) -> _Tensor:
        return self._joined(node, [self._requantised(node.where, p, out, name=name) for p in parts], out, name)

    def _joined(self, node: Node, tensors: Sequence[_Tensor], out: Quantisation, name: str) -> _Tensor:
        where, shape = node.where, list(tensors[0].shape)
        if "axis" not in node.attributes:
            raise ModelError(f"{where} has no axis")
        axis = node.integer("axis", 1)
        axis = (axis + len(shape) + 1 if axis < 0 else axis) - 1
        if not 0 <= axis < len(shape) or len(shape) > 3:
            raise ModelError(f"{where}: axis must be one of an image or vector, not {node.integer('axis', 1)}")
        rests = {(*t.shape[:axis], *t.shape[axis + 1 :]) for t in tensors}
        if len(rests) != 1 or {len(t.shape) for t in tensors} != {len(shape)}:
            raise ModelError(f"{where}: parts must agree but along the axis, not {[t.shape for t in tensors]}")
        if len(shape) == 1:
            values = [self._as_vector(where, tensor) for tensor in tensors]
            along = 2
        else:
            values = [self._as_image(where, tensor) for tensor in tensors]
            along = (2, 0, 1)[axis] if len(shape) == 3 else (2, 1)[axis]
        shape[axis] = sum(t.shape[axis] for t in tensors)
        return _Tensor(self._layer(where, Concat(along), values, out, name), tuple(shape))

    def _as_vector(self, where: str, tensor: _Tensor) -> Value:
        image = self._image_of(tensor)
        if not (tensor.channels_last or _trivial(image)):
            raise ModelError(f"{where} takes a flattened image, whose order would have to change: that is not read")
        wanted = 1, 1, math.prod(image)
        if image == wanted:
            return tensor.value
        return self._builder.add(where, Reshape(wanted), [tensor.value], tensor.value.quantisation, as_stored=True)

    def _pad(self, node: Node) -> _Item:
        item = self._item(node, 0)
        real = None if isinstance(item, _Tensor) else self._real(node, 0)
        tensor = item if isinstance(item, _Tensor) else self._real(node, 0).tensor
        self._check_open(node.where, tensor)
        if node.text("mode", "constant") != "constant" or node[3]:
            raise ModelError(f"{node.where}: mode must be constant, over all axes")
        if self._graph.opset < 11:
            pads = node.integers("pads", None)
            fill: Any = np.float32(node.number("value", 0.0))
        else:
            pads = [int(n) for n in self._array(node, 1, "pads").reshape(-1)]
            given = self._optional(node, 2, "the value")
            fill = np.zeros((), np.float32 if real else np.int8) if given is None else given
        fill = np.asarray(fill)
        rank = len(tensor.shape) + 1
        if len(pads) != 2 * rank or any(not 0 <= n <= 1 << 15 for n in pads) or pads[0] or pads[rank]:
            raise ModelError(f"{node.where}: pads must be {2 * rank} whole numbers, none negative or of the batch")
        if fill.size != 1 or fill.dtype != (np.float32 if real else np.int8):
            raise ModelError(f"{node.where}: the value must be one constant of the tensor's type")
        if real is None:
            number = int(fill.flat[0])
        else:
            scale, zero = real.quantisation.scale, real.quantisation.zero_point
            number = int(quantise_linear(fill, scale, zero).flat[0])
            if dequantise_linear(number, scale, zero) != fill.flat[0]:
                raise ModelError(f"{node.where}: the value {fill.flat[0]} must be one that int8 stands for exactly")
        value = self._as_image(node.where, tensor)
        sides = list(zip(pads[1:rank], pads[rank + 1 :], strict=True))
        space = [(0, 0)] * (3 - len(sides)) + sides[1:]
        layer = _made(node.where, Pad, tuple(space), number, sides[0])
        result = self._layer(node.where, layer, [value], tensor.value.quantisation, _name(node))
        image = self._builder.geometry(result)
        padded = _Tensor(result, (image[2], *image[3 - len(tensor.shape) : 2]), raw=tensor.raw)
        return padded if real is None else _Real(padded, real.quantisation)

    # Shapes

    def _shaped(self, node: Node, change: Callable[[_Tensor], _Tensor]) -> _Item:
        item = self._item(node, 0)
        if isinstance(item, _Tensor):
            return change(item)
        if isinstance(item, _Real):
            return dataclasses.replace(item, tensor=change(item.tensor))
        if isinstance(item, _Waiting):
            self._real(node, 0)
        raise ModelError(f"{node.where} must read a tensor, not {_describe(item)}")

    def _reshape(self, node: Node) -> _Item:
        wanted = self._array(node, 1, "the shape")
        if wanted.dtype != np.int64 or wanted.ndim != 1:
            raise ModelError(f"{node.where}: the shape must be a list of int64")
        sizes = [int(n) for n in wanted]
        return self._shaped(node, lambda tensor: self._resized(node, tensor, sizes))

    def _resized(self, node: Node, tensor: _Tensor, sizes: Sequence[int]) -> _Tensor:
        where, total = node.where, math.prod(tensor.shape)
        if not sizes or len(sizes) > 5 or any(n < -1 for n in sizes) or list(sizes).count(-1) > 1:
            raise ModelError(f"{where}: the shape must be 1 to 5 sizes, one of which may be -1, not {list(sizes)}")
        if 0 in sizes and node.integer("allowzero", 0):
            raise ModelError(f"{where}: tensors without values are not read")
        if sizes[0] not in (-1, 0, 1, self._graph.batch):
            raise ModelError(f"{where} must keep the batch as the first dimension, not make it {sizes[0]}")
        shape = []
        for axis, size in enumerate(sizes[1:]):
            if size == 0 and axis >= len(tensor.shape):
                raise ModelError(f"{where}: the shape keeps dimension {axis + 1}, which is not there")
            shape.append(tensor.shape[axis] if size == 0 else size)
        known = math.prod(n for n in shape if n != -1)
        if -1 in shape and total % known == 0:
            shape[shape.index(-1)] = total // known
        if math.prod(shape) != total:
            raise ModelError(f"{where} must keep the batch and the number of values: {tensor.shape} to {list(sizes)}")
        return dataclasses.replace(tensor, shape=tuple(shape) or (1,))

    def _flatten(self, node: Node) -> _Item:
        axis = node.integer("axis", 1)

        def change(tensor: _Tensor) -> _Tensor:
            if axis not in (1, -len(tensor.shape)):
                raise ModelError(f"{node.where}: axis must be 1, not {axis}")
            return dataclasses.replace(tensor, shape=(math.prod(tensor.shape),))

        return self._shaped(node, change)

    def _squeeze(self, node: Node) -> _Item:
        if self._graph.opset < 13:
            axes = node.integers("axes", None)
        else:
            axes = [int(n) for n in self._array(node, 1, "axes").reshape(-1)]

        def change(tensor: _Tensor) -> _Tensor:
            shape = list(tensor.shape)
            rank = len(shape) + 1 + (len(axes) if node.kind == "Unsqueeze" else 0)
            places = sorted({axis + rank if axis < 0 else axis for axis in axes})
            if len(places) != len(axes) or not all(1 <= place < rank for place in places) or rank > 5:
                raise ModelError(f"{node.where}: axes must be others than the batch, not {axes}")
            for place in places if node.kind == "Unsqueeze" else reversed(places):
                if node.kind == "Unsqueeze":
                    shape.insert(place - 1, 1)
                elif shape.pop(place - 1) != 1:
                    raise ModelError(f"{node.where} must take away dimensions of size 1, not {tensor.shape}")
            return dataclasses.replace(tensor, shape=tuple(shape) or (1,))

        return self._shaped(node, change)

    def _transpose(self, node: Node) -> _Item:
        order = node.integers("perm", None)

        def change(tensor: _Tensor) -> _Tensor:
            rank = len(tensor.shape) + 1
            if sorted(order) != list(range(rank)) or order[0] != 0:
                raise ModelError(f"{node.where}: perm must be an order of {rank} axes, the batch first, not {order}")
            axes = [axis - 1 for axis in order[1:]]
            shape = tuple(tensor.shape[axis] for axis in axes)
            if [axis for axis in axes if tensor.shape[axis] > 1] == [a for a in range(rank - 1) if tensor.shape[a] > 1]:
                return dataclasses.replace(tensor, shape=shape)
            height, width, channels = self._image_of(tensor)
            if axes == [1, 2, 0] and not tensor.channels_last and tensor.shape == (channels, height, width):
                return dataclasses.replace(tensor, shape=shape, channels_last=True)
            if axes == [2, 0, 1] and tensor.channels_last and tensor.shape == (height, width, channels):
                return dataclasses.replace(tensor, shape=shape, channels_last=False)
            raise ModelError(f"{node.where}: perm {order} of shape (N, {_join(tensor.shape)}) is not read")

        return self._shaped(node, change)

    def _identity(self, node: Node) -> _Item:
        item = self._item(node, 0)
        if item is None:
            raise ModelError(f"{node.where} has no input")
        return item

    def _constant(self, node: Node) -> _Item:
        value = node.attributes.get("value")
        if "value_float" in node.attributes:
            value = np.float32(node.number("value_float", 0))
        elif "value_int" in node.attributes:
            value = np.int64(node.integer("value_int", 0))
        elif "value_ints" in node.attributes:
            value = np.array(node.integers("value_ints", None), np.int64)
        if not isinstance(value, np.ndarray | np.generic):
            raise ModelError(f"{node.where} must hold a tensor, a number or whole numbers")
        return np.asarray(value)

    # What the host does

    def _softmax(self, node: Node) -> _Item:
        source = self._real(node, 0)
        axis = node.integer("axis", -1 if self._graph.opset >= 13 else 1)
        return _Waiting(
            node.where, lambda out: self._softmaxed(node, source.tensor, source.quantisation, out, axis, _name(node))
        )

    def _qlinear_softmax(self, node: Node) -> _Item:
        into, out = self._quantisation(node, 1, "the input"), self._quantisation(node, 3, "the result")
        axis = node.integer("axis", -1 if node.integer("opset", 13) >= 13 else 1)
        return self._softmaxed(node, self._read(node, 0, into), into, out, axis, _name(node))

    def _softmaxed(
        self, node: Node, tensor: _Tensor, into: Quantisation, out: Quantisation, axis: int, name: str
    ) -> _Tensor:
        where = node.where
        if len(tensor.shape) != 1 or axis not in (1, -1):
            raise ModelError(f"{where} must go over the last axis of (N, K), not axis {axis} of {tensor.shape}")
        value = self._as_vector(where, tensor)
        if value.node == INPUT:
            raise ModelError(f"{where} must come behind a layer")
        try:
            qlinear_softmax(
                np.zeros((1, *tensor.shape), np.int8),
                input_scale=into.scale,
                output_scale=out.scale,
                zero_point=out.zero_point,
            )
        except ValueError as error:
            raise ModelError(f"{where}: {error}") from None
        steps = (*value.steps, FloatSoftmax(into.scale, out))
        return _Tensor(dataclasses.replace(value, steps=steps, quantisation=out, name=name), tensor.shape)

    def _arg_max(self, node: Node) -> _Item:
        item = self._item(node, 0)
        tensor = item.tensor if isinstance(item, _Real) else item
        if not isinstance(tensor, _Tensor):
            raise ModelError(f"{node.where} must read a tensor, not {_describe(item)}")
        if len(tensor.shape) != 1 or node.integer("axis", 0) not in (1, -1) or node.integer("select_last_index", 0):
            raise ModelError(f"{node.where} must go over the last axis of (N, K), the first of equals")
        if node.outputs[0] != self._graph.output:
            raise ModelError(f"{node.where} must be the last operator")
        value = self._as_vector(node.where, tensor)
        shape = (1,) if node.integer("keepdims", 1) else ()
        return _Tensor(dataclasses.replace(value, steps=(*value.steps, ArgMax(np.int64))), shape)


# Parts


def _name(node: Node) -> str:
    return node.name or node.outputs[0]


def _join(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def _say(quantisation: Quantisation) -> str:
    return f"scale {quantisation.scale:.9g}, zero point {quantisation.zero_point}"


def _describe(item: Any) -> str:
    """What an input is, for messages."""
    if isinstance(item, np.ndarray):
        return f"a constant of {item.dtype}"
    names = {
        _Floats: "the float input",
        _Tensor: "an int8 tensor",
        _Real: "a dequantised tensor",
        _Stored: "dequantised constants",
        _Waiting: "a float result",
        type(None): "nothing",
    }
    return names[type(item)]


def _trivial(image: Sequence[int]) -> bool:
    """Whether (y, x, channel) and (channel, y, x) are the same order."""
    return image[2] == 1 or image[0] * image[1] == 1


def _near(zero_point: int) -> list[int]:
    """A zero point, and its neighbours of the other parity."""
    return [z for z in (zero_point, zero_point - 1, zero_point + 1) if -128 <= z <= 127]


def _scales(where: str, scales: np.ndarray) -> np.ndarray:
    if scales.dtype != np.float32 or not scales.size:
        raise ModelError(f"{where}: scales must be float32, not {scales.dtype}")
    smallest = float(np.finfo(np.float32).tiny)
    if not (np.isfinite(scales).all() and (scales >= smallest).all()):
        raise ModelError(f"{where}: scales must be positive, finite and not subnormal, not {scales.flat[0]}")
    return scales


def _along(node: Node, scales: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Scales in a shape that broadcasts against the constants that they belong to."""
    if scales.size == 1:
        return scales.reshape(())
    axis = node.integer("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    if node.integer("block_size", 0) or scales.ndim != 1 or not 0 <= axis < len(shape) or scales.size != shape[axis]:
        raise ModelError(f"{node.where}: scales must be one, or one for each index along an axis")
    return scales.reshape([-1 if index == axis else 1 for index in range(len(shape))])


def _sized(where: str, bias: np.ndarray, channels: int) -> np.ndarray:
    if bias.shape == (1, channels):
        bias = bias[0]
    if bias.size == 1:
        bias = np.full(channels, bias.reshape(-1)[0])
    if bias.shape != (channels,):
        raise ModelError(f"{where}: the bias must have {channels} values, not shape {bias.shape}")
    return bias.astype(np.int64)


def _made(where: str, kind: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return kind(*arguments, **options)
    except NetworkError as error:
        raise ModelError(f"{where}: {error}") from None


def _mapped(where: str, fits: Sequence[Fit], zero_point: int, low: int = -128, high: int = 127) -> Depthwise:
    """One `Fit` per channel as a layer."""
    pairs = np.array([quantise_float(float(fit.factor)) for fit in fits], np.int64)
    weights = np.array([fit.weight for fit in fits], np.int8).reshape(1, 1, -1, 1)
    biases = np.array([fit.bias for fit in fits], np.int64)
    return _made(where, Depthwise, weights, biases, *pairs.T, 0, zero_point, low, high)


def _window(node: Node, size: Sequence[int], kernel: Sequence[int], *, dilations: bool = False) -> tuple[Any, Any, Any]:
    """Strides, dilations and padding (before, after) of every axis."""
    where, rank = node.where, len(size)
    stride, dilation = node.integers("strides", [1] * rank, rank), node.integers("dilations", [1] * rank, rank)
    if any(not 1 <= n <= 1 << 15 for n in (*kernel, *stride, *dilation)):
        raise ModelError(
            f"{where}: windows, strides and dilations must be from 1 to 32768, not "
            f"{list(kernel)}, {stride} and {dilation}"
        )
    if not dilations and any(n != 1 for n in dilation):
        raise ModelError(f"{where}: dilations must be 1, not {dilation}")
    pads = node.integers("pads", [0] * 2 * rank, 2 * rank)
    auto = node.text("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ModelError(f"{where}: auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, not {auto}")
    if any(not 0 <= n <= 1 << 15 for n in pads) or (auto != "NOTSET" and any(pads)):
        raise ModelError(f"{where}: pads must be from 0 to 32768, and 0 beside auto_pad, not {pads} beside {auto}")
    if auto in ("NOTSET", "VALID"):
        return stride, dilation, list(zip(pads[:rank], pads[rank:], strict=True))
    if any(n != 1 for n in dilation):
        raise ModelError(f"{where}: auto_pad {auto} must not meet dilations, but they are {dilation}")
    sides = [same_padding(*axis) for axis in zip(size, kernel, stride, strict=True)]
    return stride, dilation, sides if auto == "SAME_UPPER" else [(after, before) for before, after in sides]


def _ceiling(size: int, kernel: int, stride: int, padding: tuple[int, int]) -> tuple[int, int]:
    """Padding with which windows that fit are those of ceil_mode: none may begin behind the image and its padding."""
    padded = size + sum(padding)
    count = ceil_div(max(padded - kernel, 0), stride) + 1
    if (count - 1) * stride >= size + padding[0]:
        count -= 1
    return padding[0], padding[1] + max(0, (count - 1) * stride + kernel - padded)


def _ungrouped(where: str, weights: np.ndarray, group: int) -> np.ndarray:
    """Weights of groups as those of one convolution, with zeros between the groups."""
    if group == 1:
        return weights
    outputs, inputs = weights.shape[:2]
    if weights.size * group > _MOST_GROUP_WEIGHTS:
        raise ModelError(f"{where}: {group} groups would take {weights.size * group} weights")
    spread = np.zeros((outputs, inputs * group, *weights.shape[2:]), np.int8)
    each = outputs // group
    for index in range(group):
        spread[index * each : (index + 1) * each, index * inputs : (index + 1) * inputs] = weights[
            index * each : (index + 1) * each
        ]
    return spread
