"""Models from TensorFlow Lite files: int8, fully connected.

A file is hostile input. It is read with the schema's own accessors, which check nothing; so everything that they
return is checked here, every length before it is walked through, and whatever they raise becomes one `ModelError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from etchnet.host.model import ArgMax, Model, ModelError, Quantisation, Softmax
from etchnet.host.network import Dense, Network, NetworkError
from etchnet.sim.reference import quantise_multiplier

__all__ = ["load_tflite", "parse_tflite"]

_LARGEST_FILE = 1 << 28
_MOST_OPERATORS = 1 << 16
_MOST_DIMENSIONS = 8


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
        return _Reader(tflite, data, name).model()
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # the accessors raise whatever struct, numpy and slicing raise
        raise ModelError(f"{name} is damaged: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class _Tensor:
    index: int
    name: str
    shape: tuple[int, ...]
    type: int
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int
    data: bytes | None


@dataclass
class _Chain:
    """The layers found so far, and the tensor that the next operator must read."""

    at: int
    layers: list[Dense] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    steps: list[Softmax | ArgMax] = field(default_factory=list)
    input: Quantisation | None = None
    float_input: bool = False
    float_output: bool = False
    ends: _Tensor | None = None
    """the last int8 tensor"""


class _Reader:
    def __init__(self, tflite: Any, data: bytes, name: str) -> None:
        self._tflite, self._name, self._size = tflite, name, len(data)
        self._root = tflite.Model.GetRootAs(data, 0)
        self._opcodes = {value: key for key, value in vars(tflite.BuiltinOperator).items() if not key.startswith("_")}

    # Checked access

    def _count(self, what: str, length: int, most: int) -> int:
        if not 0 <= length <= most:
            raise ModelError(f"{self._name} is damaged: {what} claims {length} entries")
        return length

    def _vector(self, what: str, length: int, array: Any, most: int) -> np.ndarray:
        self._count(what, length, most)
        return np.zeros(0, np.int64) if length == 0 else np.array(array())

    def _tensor(self, index: int) -> _Tensor:
        graph = self._graph
        if not 0 <= index < self._tensors:
            raise ModelError(f"{self._name} is damaged: tensor {index} does not exist, there are {self._tensors}")
        tensor = graph.Tensors(int(index))
        shape = self._vector("a shape", tensor.ShapeLength(), tensor.ShapeAsNumpy, _MOST_DIMENSIONS)
        quantisation = tensor.Quantization()
        scales, points, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        if quantisation is not None:
            most = self._size // 4
            scales = self._vector("a list of scales", quantisation.ScaleLength(), quantisation.ScaleAsNumpy, most)
            points = self._vector(
                "a list of zero points", quantisation.ZeroPointLength(), quantisation.ZeroPointAsNumpy, most
            )
            axis = quantisation.QuantizedDimension()
        buffer_index = tensor.Buffer()
        if not 0 <= buffer_index < self._root.BuffersLength():
            raise ModelError(f"{self._name} is damaged: tensor {index} names buffer {buffer_index}, which is not there")
        buffer = self._root.Buffers(buffer_index)
        data = None
        if buffer is not None and buffer.DataLength():
            self._count("a buffer", buffer.DataLength(), self._size)
            data = buffer.DataAsNumpy().tobytes()
        name = (tensor.Name() or b"").decode("utf-8", "replace")
        if any(n < 0 for n in shape):
            raise ModelError(f"tensor {index} ({name}) has shape {tuple(map(int, shape))}: sizes must be known")
        return _Tensor(int(index), name, tuple(map(int, shape)), tensor.Type(), scales, points, axis, data)

    # The graph

    def model(self) -> Model:
        """The whole model."""
        root, limit = self._root, self._size
        if root.Version() != 3:
            raise ModelError(f"{self._name} has schema version {root.Version()}; 3 is read")
        if self._count("the list of graphs", root.SubgraphsLength(), limit) != 1:
            raise ModelError(f"{self._name} has {root.SubgraphsLength()} graphs; one is read")
        self._graph = graph = root.Subgraphs(0)
        self._tensors = self._count("the list of tensors", graph.TensorsLength(), limit)
        operators = self._count("the list of operators", graph.OperatorsLength(), min(limit, _MOST_OPERATORS))
        inputs = self._vector("the list of inputs", graph.InputsLength(), graph.InputsAsNumpy, limit)
        outputs = self._vector("the list of outputs", graph.OutputsLength(), graph.OutputsAsNumpy, limit)
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(f"{self._name} has {len(inputs)} inputs and {len(outputs)} outputs; one of each is read")
        chain = _Chain(int(inputs[0]))
        first = self._tensor(chain.at)
        if first.type == self._tflite.TensorType.INT8:
            chain.input, chain.ends = self._activation("the input", first), first
        elif first.type != self._tflite.TensorType.FLOAT32:
            raise ModelError(f"the input must be int8 or float32, not {self._type(first)}")
        for index in range(operators):
            self._operator(index, chain)
        if chain.at != int(outputs[0]):
            raise ModelError(f"the output is tensor {int(outputs[0])}, but the last operator gives tensor {chain.at}")
        if not chain.layers or chain.input is None or chain.ends is None:
            raise ModelError(f"{self._name} has no FULLY_CONNECTED operator on int8: there is nothing to run")
        last = self._tensor(chain.at)
        indices = bool(chain.steps) and isinstance(chain.steps[-1], ArgMax)
        output_shape = () if indices else last.shape[1:] or (chain.layers[-1].weights.shape[1],)
        try:
            network = Network(chain.layers)
        except NetworkError as error:
            raise ModelError(str(error)) from None
        return Model(
            name=self._name,
            network=network,
            names=chain.names,
            input=chain.input,
            output=self._activation("the output", chain.ends),
            input_shape=first.shape[1:] if len(first.shape) > 1 else (network.inputs,),
            output_shape=output_shape,
            steps=chain.steps,
            float_input=chain.float_input,
            float_output=chain.float_output,
        )

    def _operator(self, index: int, chain: _Chain) -> None:
        operator = self._graph.Operators(index)
        code_index = operator.OpcodeIndex()
        if not 0 <= code_index < self._root.OperatorCodesLength():
            raise ModelError(f"{self._name} is damaged: operator {index} names code {code_index}, which is not there")
        code = self._root.OperatorCodes(code_index)
        # Codes below 127 also stand in the field of older files.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = self._opcodes.get(number, f"operator {number}")
        where = f"{kind} (operator {index})"
        handlers: dict[str, Callable[[str, Any, list[int], list[int], _Chain], None]] = {
            "FULLY_CONNECTED": self._fully_connected,
            "RESHAPE": self._reshape,
            "SOFTMAX": self._softmax,
            "ARG_MAX": self._arg_max,
            "QUANTIZE": self._quantise,
            "DEQUANTIZE": self._dequantise,
        }
        if kind not in handlers:
            raise ModelError(f"{where} is not supported; supported are {', '.join(handlers)}")
        limit = self._size
        inputs = self._vector(f"inputs of {where}", operator.InputsLength(), operator.InputsAsNumpy, limit)
        outputs = self._vector(f"outputs of {where}", operator.OutputsLength(), operator.OutputsAsNumpy, limit)
        if len(inputs) < 1 or len(outputs) != 1:
            raise ModelError(f"{where} has {len(inputs)} inputs and {len(outputs)} outputs")
        if int(inputs[0]) != chain.at:
            raise ModelError(
                f"{where} reads tensor {int(inputs[0])}, not the result of the operator before it: only chains are read"
            )
        if chain.steps and isinstance(chain.steps[-1], ArgMax):
            raise ModelError(f"{where} comes behind ARG_MAX, which must be the last operator")
        handlers[kind](where, operator, [int(i) for i in inputs], [int(i) for i in outputs], chain)
        chain.at = int(outputs[0])

    # Operators

    def _fully_connected(self, where: str, operator: Any, inputs: list[int], outputs: list[int], chain: _Chain) -> None:
        if len(inputs) not in (2, 3):
            raise ModelError(f"{where} must have 2 or 3 inputs, not {len(inputs)}")
        if chain.steps or chain.float_output:
            raise ModelError(f"{where} comes behind an operator that runs on the host")
        types = self._tflite.TensorType
        source, weights, result = self._tensor(inputs[0]), self._tensor(inputs[1]), self._tensor(outputs[0])
        options = self._options(where, operator, "FullyConnectedOptions")
        if options.WeightsFormat() != 0:
            raise ModelError(f"{where} has shuffled weights (format {options.WeightsFormat()}); plain ones are read")
        into, out = self._activation(f"{where}: the input", source), self._activation(f"{where}: the result", result)
        if weights.type != types.INT8:
            raise ModelError(f"{where}: weights must be int8, not {self._type(weights)}")
        if len(weights.shape) != 2 or not weights.shape[0] or not weights.shape[1]:
            raise ModelError(f"{where}: weights must have 2 dimensions, not shape {weights.shape}")
        channels, terms = weights.shape
        values = self._constant(f"{where}: weights", weights, np.dtype("i1"), weights.shape)
        if weights.zero_points.any():
            raise ModelError(f"{where}: weights must have zero point 0, not {weights.zero_points[0]}")
        if len(weights.scales) not in (1, channels) or (len(weights.scales) > 1 and weights.axis != 0):
            raise ModelError(f"{where}: weights must have 1 or {channels} scales, along axis 0")
        bias: Any = 0
        if len(inputs) == 3 and inputs[2] != -1:
            tensor = self._tensor(inputs[2])
            if tensor.type != types.INT32:
                raise ModelError(f"{where}: the bias must be int32, not {self._type(tensor)}")
            bias = self._constant(f"{where}: the bias", tensor, np.dtype("<i4"), (channels,)).astype(np.int64)
        multipliers, shifts = self._multipliers(where, into, weights, out)
        low, high = self._clamp(where, options.FusedActivationFunction(), out)
        try:
            layer = Dense(values.T.copy(), bias, multipliers, shifts, into.zero_point, out.zero_point, low, high)
        except NetworkError as error:
            raise ModelError(f"{where}: {error}") from None
        if chain.layers and chain.layers[-1].weights.shape[1] != terms:
            raise ModelError(
                f"{where}: weights take {terms} channels, but the layer before gives "
                f"{chain.layers[-1].weights.shape[1]}"
            )
        if not chain.layers and int(np.prod(source.shape[1:], dtype=np.int64)) != terms:
            raise ModelError(f"{where}: weights take {terms} values, but the input has shape {source.shape}")
        chain.layers.append(layer)
        chain.names.append(result.name or where)
        chain.ends = result

    def _reshape(self, where: str, operator: Any, inputs: list[int], outputs: list[int], chain: _Chain) -> None:
        before, after = self._tensor(inputs[0]), self._tensor(outputs[0])
        sizes = [int(np.prod(t.shape, dtype=object)) for t in (before, after)]
        if sizes[0] != sizes[1] or before.shape[:1] != after.shape[:1]:
            raise ModelError(f"{where} must keep the batch and the number of values: {before.shape} to {after.shape}")
        if before.type != after.type:
            raise ModelError(f"{where} must keep the type")
        if before.type == self._tflite.TensorType.INT8:
            kept = self._activation(where, before) == self._activation(where, after)
            if not kept:
                raise ModelError(f"{where} must keep scale and zero point")
            chain.ends = after

    def _softmax(self, where: str, operator: Any, inputs: list[int], outputs: list[int], chain: _Chain) -> None:
        before, after = self._tensor(inputs[0]), self._tensor(outputs[0])
        scale, result = self._activation(f"{where}: the input", before), self._activation(where, after)
        if result != Quantisation(1 / 256, -128):
            raise ModelError(f"{where}: the result must have scale 1/256 and zero point -128, not {result}")
        beta = float(self._options(where, operator, "SoftmaxOptions").Beta())
        if not (np.isfinite(beta) and beta > 0):
            raise ModelError(f"{where}: beta must be positive, not {beta}")
        chain.steps.append(Softmax(scale.scale, beta))
        chain.ends = after

    def _arg_max(self, where: str, operator: Any, inputs: list[int], outputs: list[int], chain: _Chain) -> None:
        types = self._tflite.TensorType
        if len(inputs) != 2 or not chain.layers or chain.float_output:
            raise ModelError(f"{where} is only read behind the layers, with one axis")
        before, axis, after = self._tensor(inputs[0]), self._tensor(inputs[1]), self._tensor(outputs[0])
        self._activation(f"{where}: the input", before)
        number = {types.INT32: np.int32, types.INT64: np.int64}
        if axis.type not in number or after.type not in number:
            raise ModelError(f"{where}: axis and result must be int32 or int64")
        along = self._constant(f"{where}: the axis", axis, np.dtype(number[axis.type]), (1,))[0]
        if len(before.shape) != 2 or along not in (-1, 1):
            raise ModelError(f"{where} must go along the last of 2 axes, not axis {along} of shape {before.shape}")
        chain.steps.append(ArgMax(number[after.type]))

    def _quantise(self, where: str, operator: Any, inputs: list[int], outputs: list[int], chain: _Chain) -> None:
        before, after = self._tensor(inputs[0]), self._tensor(outputs[0])
        if chain.layers or chain.input is not None or before.type != self._tflite.TensorType.FLOAT32:
            raise ModelError(f"{where} is only read at the beginning, from float32")
        chain.input, chain.float_input, chain.ends = self._activation(where, after), True, after

    def _dequantise(self, where: str, operator: Any, inputs: list[int], outputs: list[int], chain: _Chain) -> None:
        after = self._tensor(outputs[0])
        if chain.float_output or not chain.layers or after.type != self._tflite.TensorType.FLOAT32:
            raise ModelError(f"{where} is only read at the end, to float32")
        chain.float_output = True

    # Their parts

    def _options(self, where: str, operator: Any, kind: str) -> Any:
        tflite = self._tflite
        if operator.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, kind) or operator.BuiltinOptions() is None:
            raise ModelError(f"{where} has no {kind}")
        options = getattr(tflite, kind)()
        table = operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    def _type(self, tensor: _Tensor) -> str:
        names = {v: k for k, v in vars(self._tflite.TensorType).items() if not k.startswith("_")}
        return str(names.get(tensor.type, tensor.type)).lower()

    def _activation(self, what: str, tensor: _Tensor) -> Quantisation:
        if tensor.type != self._tflite.TensorType.INT8:
            raise ModelError(f"{what} must be int8, not {self._type(tensor)}")
        if len(tensor.scales) != 1 or len(tensor.zero_points) != 1:
            raise ModelError(f"{what} must have one scale and one zero point, not {len(tensor.scales)}")
        scale, point = float(tensor.scales[0]), int(tensor.zero_points[0])
        if not (np.isfinite(scale) and scale > 0):
            raise ModelError(f"{what} must have a positive scale, not {scale}")
        if not -128 <= point <= 127:
            raise ModelError(f"{what} must have a zero point from -128 to 127, not {point}")
        return Quantisation(scale, point)

    def _constant(self, what: str, tensor: _Tensor, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if tensor.data is None:
            raise ModelError(f"{what} must be constant")
        if len(tensor.data) != wanted:
            raise ModelError(f"{what} must have {wanted} bytes for shape {shape}, not {len(tensor.data)}")
        return np.frombuffer(tensor.data, dtype).reshape(shape)

    def _multipliers(
        self, where: str, into: Quantisation, weights: _Tensor, out: Quantisation
    ) -> tuple[np.ndarray, np.ndarray]:
        """One double product and one double quotient per channel, as the reference prepares them."""
        pairs = []
        for scale in weights.scales.astype(np.float64):
            real = into.scale * float(scale) / out.scale
            try:
                pairs.append(quantise_multiplier(real))
            except ValueError as error:
                raise ModelError(f"{where}: {error}") from None
        multipliers, shifts = np.array(pairs, np.int64).T
        if len(pairs) == 1:
            return np.full(weights.shape[0], multipliers[0]), np.full(weights.shape[0], shifts[0])
        return multipliers, shifts

    def _clamp(self, where: str, activation: int, out: Quantisation) -> tuple[int, int]:
        names = {v: k for k, v in vars(self._tflite.ActivationFunctionType).items() if not k.startswith("_")}
        ranges = {"NONE": (None, None), "RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
        name = names.get(activation, str(activation))
        if name not in ranges:
            raise ModelError(f"{where}: activation {name} is not supported; supported are {', '.join(ranges)}")

        def bound(value: float | None, default: int) -> int:
            if value is None:
                return default
            scaled = np.float32(value) / np.float32(out.scale)
            rounded = int(np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled))
            return max(-128, min(127, out.zero_point + rounded))

        low, high = ranges[name]
        return bound(low, -128), bound(high, 127)
