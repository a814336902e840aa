"""TensorFlow Lite files that are damaged, malicious, or use unsupported features: one clear error each."""

import contextlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import randoms

from etchnet.host.network.model import ModelError

pytest.importorskip("tflite", reason="the package tflite is not installed")
import tflite
from support.model_strategies import tflite_graphs
from support.tflite_cases import (
    FLOAT32,
    INT32,
    Case,
    add,
    add_constant,
    arg_max_in_the_middle,
    arg_max_of_rows,
    deep,
    depthwise,
    later,
    mean,
    options,
    pad,
    reads,
    reduce_max,
    softmax_in_the_middle,
    split,
    strided_slice,
    tensor,
    two_quantisations,
    weights,
    writes,
)

from etchnet.host.exporters.flatbuffer import Graph
from etchnet.host.importers.tflite.importer import parse_tflite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # operators and graphs
        (lambda c: c.append("GELU", (1, 7)), r"GELU \(operator 4\) is not supported: .*; supported are ADD, .*, CONV"),
        (
            lambda c: [c.append(kind, (1, 7)) for kind in ("ELU", "VAR_HANDLE", "ELU", "GELU", "ELU", "ELU", "ELU")],
            r"ELU \(operators 4, 6, 8 and 2 more\) and GELU \(operator 7\) are not supported: a curve takes a table "
            r".*; VAR_HANDLE \(operator 5\) is not supported: the network keeps state .*; supported are ADD",
        ),
        (
            lambda c: c.g.simple(tflite.BuiltinOperator.CUSTOM, c.dense, c.g.like(c.dense)),
            r"CUSTOM '' \(operator 4\) is not supported: a custom operator",
        ),
        (
            later,
            r"FULLY_CONNECTED \(operator 0\) reads tensor \d+ \(t\d+\), which must be the result of an operator",
        ),
        (
            reads(0, "pool"),
            r"CONV_2D \(operator 0\) reads tensor \d+ \(pool\), which must be the result of an operator before it",
        ),
        (
            reads(0, "conv"),
            r"CONV_2D \(operator 0\) reads tensor \d+ \(conv\), which must be the result of an operator before it",
        ),
        (
            writes(1, "conv"),
            r"AVERAGE_POOL_2D \(operator 1\) writes tensor \d+ \(conv\), which is constant or already written",
        ),
        (writes(0, "first"), r"CONV_2D \(operator 0\) writes tensor 0 \(input\), which is constant or already written"),
        (lambda c: setattr(c, "last", c.operator(0)[1][1]), "the output, tensor .*, must be computed from the input"),
        (lambda c: c.operator(0)[1].__setitem__(0, 99), "damaged: tensor 99 does not exist"),
        (lambda c: c.operator(0)[1].__setitem__(0, -1), "damaged: tensor -1 does not exist"),
        (lambda c: c.operator(0)[1].clear(), r"CONV_2D \(operator 0\) must have inputs and one output, not 0 and 1"),
        (lambda c: c.operator(0)[2].append(1), r"CONV_2D \(operator 0\) must have inputs and one output, not 3 and 2"),
        (lambda c: c.operator(0)[1].extend([1, 1]), r"CONV_2D \(operator 0\) must have 2 or 3 inputs, not 5"),
        (lambda c: c.operator(1)[1].append(1), r"AVERAGE_POOL_2D \(operator 1\) must have 1 input, not 2"),
        # types and quantisation
        (
            tensor("first", type=tflite.TensorType.INT64),
            "the input must be int8 or uint8 or .*, not int64",
        ),
        (
            tensor("first", type=tflite.TensorType.UINT8),
            r"CONV_2D \(operator 0\) reads \w+, which is uint8: it must be quantised to int8 first",
        ),
        (
            tensor("first", type=FLOAT32),
            r"CONV_2D \(operator 0\) reads \w+, which is float32: it must be quantised to int8 first",
        ),
        (tensor("conv", type=tflite.TensorType.INT16), r"CONV_2D .*: the result must be int8, not int16"),
        (tensor("first", scales=[-1.0]), "the input must have a positive scale, not -1.0"),
        (tensor("first", scales=[float("nan")]), "the input must have a positive scale, not nan"),
        (tensor("first", scales=[0.5, 0.5]), "the input must have one scale and one zero point, not 2 and 1"),
        (tensor("first", zero_points=[200]), "the input must have a zero point from -128 to 127, not 200"),
        (two_quantisations, r"QUANTIZE \(operator 1\): the input real must be quantised in one way"),
        (weights(0, type=tflite.TensorType.INT4), r"CONV_2D \(operator 0\): weights must be int8, not int4"),
        (weights(0, zero_points=[0, 0, 5, 0]), r"CONV_2D \(operator 0\): weights must have zero point 0, not 5"),
        (weights(0, scales=[0.1, 0.2]), r"CONV_2D \(operator 0\): weights must have 1 or 4 scales, along axis 0"),
        (weights(0, axis=3), r"CONV_2D \(operator 0\): weights must have 1 or 4 scales, along axis 0"),
        (weights(0, scales=[float("inf")]), r"CONV_2D \(operator 0\): a requantisation scale must be finite"),
        (weights(0, scales=[-0.1]), r"CONV_2D \(operator 0\): a requantisation scale must be finite"),
        (weights(0, data=None), r"CONV_2D \(operator 0\): weights must be constant"),
        (weights(0, data=np.ones(7, np.int8)), r"weights must have 72 bytes for shape \(4, 3, 2, 3\), not 7"),
        (
            lambda c: c.g.tensors[c.operator(0)[1][2]].__setattr__("type", tflite.TensorType.INT64),
            r"CONV_2D \(operator 0\): the bias must be int32, not int64",
        ),
        (
            lambda c: (tensor("dense", scales=[1e-9])(c), options(3, FusedActivationFunction=3)(c)),
            r"FULLY_CONNECTED .*: the activation's bound 6.0 must be at most 2\*\*31 times the result's scale",
        ),
        # windows
        (options(0, FusedActivationFunction=4), r"CONV_2D \(operator 0\): activation TANH is not supported"),
        (options(0, FusedActivationFunction=99), r"CONV_2D \(operator 0\): activation 99 is not supported"),
        (options(0, StrideH=0), r"CONV_2D \(operator 0\): the stride must be from 1 to 32768, not \(0, 1\)"),
        (options(0, StrideW=-3), r"CONV_2D \(operator 0\): the stride must be from 1 to 32768, not \(1, -3\)"),
        (options(0, StrideW=1 << 30), r"the stride must be from 1 to 32768, not \(1, 1073741824\)"),
        (options(0, DilationHFactor=0), r"the dilation must be from 1 to 32768, not \(0, 1\)"),
        (options(0, DilationHFactor=1 << 30), r"the dilation must be from 1 to 32768"),
        (
            options(0, DilationHFactor=32768, DilationWFactor=32768),
            r"the padded input must have at most 16777216 values per image",
        ),
        (options(0, Padding=7), r"CONV_2D \(operator 0\): padding must be SAME or VALID, not 7"),
        (
            options(0, Padding=1),
            r"CONV_2D \(operator 0\): the result must have shape \(4, 4, 4\), not \(6, 5, 4\) as in the file",
        ),
        (options(1, FilterHeight=0), r"AVERAGE_POOL_2D \(operator 1\): the window must be from 1 to 32768"),
        (options(1, FilterHeight=-2), r"AVERAGE_POOL_2D \(operator 1\): the window must be from 1 to 32768"),
        (options(1, FilterHeight=9), r"AVERAGE_POOL_2D \(operator 1\): AveragePool of 9 x 2 must fit its padded input"),
        (options(1, FilterHeight=32768, Padding=0, StrideH=1), r"the padded input|the result must have shape"),
        (tensor("pool", scales=[0.6]), r"AVERAGE_POOL_2D \(operator 1\) must keep scale and zero point"),
        (tensor("pool", zero_points=[0]), r"AVERAGE_POOL_2D \(operator 1\) must keep scale and zero point"),
        (
            weights(0, shape=(4, 3, 1, 6)),
            r"weights must have as many channels as the input, 3, or those of one of several equal groups, not 6 for 4",
        ),
        (weights(0, shape=(72,)), r"CONV_2D \(operator 0\): weights must have 4 dimensions, not shape \(72,\)"),
        (weights(0, shape=(0, 3, 2, 3)), r"CONV_2D \(operator 0\): weights must have 4 dimensions, not shape \(0"),
        (depthwise((1, 3, 3, 8), 1), r"weights must have shape \(1, y, x, 4 channels x multiplier 1\), not"),
        (depthwise((1, 3, 3, 4), 0), r"weights must have shape \(1, y, x, 4 channels x multiplier 0\)"),
        (depthwise((2, 3, 3, 4), 1), r"weights must have shape \(1, y, x, 4 channels x multiplier 1\), not"),
        (depthwise((1, 3, 3, 4), 1, scales=[0.1] * 4, axis=0), r"weights must have 1 or 4 scales, along axis 3"),
        (
            deep,
            r"MAX_POOL_2D \(operator 5\) must have an image of 4 dimensions, .*, not shape \(1, 2, 3, 5, 4\)",
        ),
        # shapes
        (
            tensor("first", shape=(1, 6, 5, -3)),
            r"tensor 0 \(input\) has shape \(1, 6, 5, -3\): sizes must be at least 0",
        ),
        (tensor("first", shape=(1, 6, 0, 3)), r"the input must have sizes of at least 1, not shape \(6, 0, 3\)"),
        (
            tensor("first", shape=(0, 6, 5, 3)),
            r"input must have sizes of at least 1, not shape \(0, 6, 5, 3\)",
        ),
        (
            tensor("first", shape=(3,)),
            r"CONV_2D .* must have an image of 4 dimensions, batch included, not shape \(1, 3\)",
        ),
        (tensor("first", shape=(1, 1 << 15, 1 << 15, 3)), r"must have at most 16777216 values per image"),
        (tensor("first", shape=(1, *[1 << 30] * 3)), r"must have at most 16777216 values per image"),
        (tensor("first", shape=(1,) * 9), r"damaged: a shape claims 9 entries"),
        (
            tensor("conv", shape=(2, 6, 5, 4)),
            r"CONV_2D .*: the result must have shape \(6, 5, 4\), not \(2, 6, 5, 4\) as in the file",
        ),
        (
            tensor("conv", shape=(1, 6, 5, 1 << 30)),
            r"CONV_2D \(operator 0\): the result must have at most 16777216 values",
        ),
        (tensor("flat", shape=(1, 25)), r"RESHAPE .* must keep the batch and the number of values: \(1, 3, 2, 4\) to"),
        (tensor("flat", scales=[0.6]), r"RESHAPE \(operator 2\) must keep scale and zero point"),
        (tensor("flat", type=FLOAT32), r"RESHAPE \(operator 2\) must keep the type"),
        (weights(3, shape=(6, 28)), r"weights have 28 values per output channel, but the input has shape \(1, 24\)"),
        (
            tensor("dense", shape=(1, 7, 1)),
            r"FULLY_CONNECTED \(operator 3\): the result must have 7 values per image, 7 along the last axis",
        ),
        (
            options(3, WeightsFormat=1),
            r"FULLY_CONNECTED \(operator 3\) must have weights in the default format, 0, not 1 \(shuffled\)",
        ),
        (
            lambda c: c.g.operator("PACK", "PackOptions", {}, [c.dense], c.g.tensor("packed", (1,), INT32)),
            r"PACK \(operator 4\) must compute sizes for a RESHAPE, not read tensor \d+ \(dense\)",
        ),
        (
            lambda c: c.g.operator("SHAPE", "ShapeOptions", {}, [c.dense], c.g.like(c.dense)),
            r"SHAPE \(operator 4\): the result must be int32, not int8",
        ),
        # additions and concatenations
        (add("conv", "pool"), r"ADD .* must add equal shapes, not \(1, 6, 5, 4\) and \(1, 3, 2, 4\)"),
        (
            add_constant,
            r"ADD \(operator 4\): the constant must be one number or one per channel, as in shape \(1, 1, 1, 4\), not",
        ),
        (add("conv", "conv", scale=1e-7), r"ADD .*: the result's scale must be above 2\*\*-19 of its operands'"),
        (add("conv", "conv", shape=(1, 6, 5, 5)), r"ADD .* the result must have shape \(6, 5, 4\), not \(6, 5, 5\)"),
        (add("conv", "conv", (1, 6, 5, 8), 0.7, "concatenation"), r"CONCATENATION .* must keep scale and zero point"),
        # paddings
        (pad([[0, 0], [-1, 0], [0, 0], [0, 0]], (1, 5, 5, 4)), r"paddings must be from 0 to 32768, 0 for the batch"),
        (pad([[0, 0], [1 << 30, 0], [0, 0], [0, 0]], (1, 6, 5, 4)), r"paddings must be from 0 to 32768"),
        (pad([[0, 0], [0, 0], [0, 0]], (1, 6, 5, 4)), r"paddings must have 32 bytes for shape \(4, 2\), not 24"),
        (pad([[0, 0], [1, 0], [0, 0], [0, 0]], (1, 6, 5, 4)), r"PAD .* the result must have shape \(1, 7, 5, 4\), not"),
        # parts
        (strided_slice([0] * 4, [1, 6, 5, 0]), r"STRIDED_SLICE .* must take values inside shape \(1, 6, 5, 4\), not"),
        (strided_slice([0] * 4, [1, 6, 5, 4], [1, 1, 0, 1]), r"must have strides of at least 1, not \[1, 1, 0, 1\]"),
        (split([0, 4]), r"SPLIT_V \(operator 4\) must have parts of 4 values along axis 3, not \[0, 4\]"),
        (split([1, 2]), r"SPLIT_V \(operator 4\) must have parts of 4 values along axis 3, not \[1, 2\]"),
        # means
        (mean([1, 7], (1, 6, 5, 4)), r"MEAN \(operator 4\) must be over axes of an image, 0 to 3, not \[1, 7\]"),
        (mean([], (1, 6, 5, 4)), r"MEAN \(operator 4\): the axes must be a list of 1 to 4"),
        (mean([1, 2], (1, 5)), r"MEAN \(operator 4\): the result must have shape \(1, 1, 1, 4\), not \(1, 5\)"),
        # maxima
        (
            reduce_max([1, 2], (1, 4), 0.7),
            r"REDUCE_MAX \(operator 4\) must keep scale and zero point: .*, not scale 0.69",
        ),
        (
            reduce_max([1, 3], (1, 5)),
            r"REDUCE_MAX .* over height and width, or over the last axes .*, not over axes \[1, 3\]",
        ),
        (reduce_max([4], (1, 6, 5, 4)), r"REDUCE_MAX \(operator 4\) must be over axes of an image, 0 to 3, not \[4\]"),
        (
            reduce_max([1, 2], (1, 5)),
            r"REDUCE_MAX \(operator 4\): the result must have shape \(1, 1, 1, 4\), not \(1, 5\)",
        ),
        # single values
        (lambda c: c.append("RELU6", (1, 7), scale=0.4), r"RELU6 .* must keep scale and zero point: the ref"),
        (lambda c: c.append("RELU", (1, 8)), r"RELU \(operator 4\) must keep the shape: \(1, 7\) to \(1, 8\)"),
        (lambda c: c.append("QUANTIZE", (1, 7), scale=1e-30), r"QUANTIZE .*: a requantisation scale must be finite"),
        # steps on the host
        (softmax_in_the_middle, r"RELU \(operator 5\) comes after an operator that runs on the host"),
        (arg_max_in_the_middle, r"ARG_MAX \(operator 5\)"),
        (arg_max_of_rows, r"ARG_MAX \(operator 4\) must be along the last axis, not axis 2 of shape \(1, 6, 5, 4\)"),
        (
            lambda c: c.append("SOFTMAX", (1, 7), options="SoftmaxOptions", values={"Beta": 1.0}),
            r"SOFTMAX \(operator 4\): the result must have scale 1/256 and zero point -128",
        ),
        (
            lambda c: c.append(
                "SOFTMAX", (1, 7), scale=1 / 256, zero=-128, options="SoftmaxOptions", values={"Beta": -1.0}
            ),
            r"SOFTMAX \(operator 4\): beta must be positive, not -1.0",
        ),
        (
            lambda c: c.append(
                "SOFTMAX", (1, 7), scale=1 / 256, zero=-128, options="SoftmaxOptions", values={"Beta": 1e-9}
            ),
            r"scale x beta must be above 2\*\*-26",
        ),
        (lambda c: c.append("SOFTMAX", (1, 7), scale=1 / 256, zero=-128), r"SOFTMAX .* must have SoftmaxOptions"),
        (lambda c: c.append("DEQUANTIZE", (1, 7)), r"DEQUANTIZE \(operator 4\): the result must be float32, not int8"),
    ],
)
def test_unsupported_features_are_named(change, message):
    case = Case()
    parse_tflite(case.write())
    change(case)
    with pytest.raises(ModelError, match=message):
        parse_tflite(case.write())


@pytest.mark.parametrize(
    "kind",
    ["SOFTMAX", "LOGISTIC", "TANH", "LOG_SOFTMAX", "MAX_POOL_2D", "QUANTIZE", "DEQUANTIZE", "RELU", "RELU6", "UNPACK"],
)
def test_an_operator_of_one_input_refuses_two(kind):
    case = Case()
    case.append(kind, (1, 7), inputs=[case.first])
    with pytest.raises(ModelError, match=rf"{kind} \(operator 4\) must have 1 input, not 2"):
        parse_tflite(case.write())


@pytest.mark.parametrize("constant", [True, False])
def test_differences_between_two_results_are_refused(constant):
    """The runtime rounds what it subtracts, and the machine its negative: with 10/3 and 8/3, halves are exact."""
    g, shape = Graph(), (1, 2, 2, 256)
    second = g.activation("second", shape, 3.0, -103)
    first = g.activation("first", (256,) if constant else shape, 10.0, 49)
    if constant:
        g.tensors[first].data = np.arange(-128, 128).astype(np.int8)
    result = g.activation("result", shape, 8.0, -78)
    inputs = [second] if constant else [first, second]
    last = g.operator("SUB", "SubOptions", {}, [first, second], result)
    with pytest.raises(ModelError, match=r"SUB \(operator 0\): a difference is exactly between two results"):
        parse_tflite(g.write(inputs, last))


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 100, b"\x1c\0\0\0TFL3"])
def test_files_that_are_no_models_are_refused(data):
    with pytest.raises(ModelError, match=r"is not a TensorFlow Lite file|is damaged"):
        parse_tflite(data)


def chain(count, kind):
    """Return a file with many operators, each of which needs as much memory as one operator may."""
    g, shape = Graph(), (1, 16, 1 << 20)
    if kind == "RELU":
        at = first = g.activation("input", shape, 0.5, 0)
        for i in range(count):
            at = g.operator("RELU", "", {}, [at], g.activation("r", shape, 0.5 + i % 2, 0))
    elif kind == "MEAN":
        shape = (1, 1 << 9, 1 << 9, 4)
        at = first = g.activation("input", shape, 0.5, 0)
        for _ in range(count):
            at = g.mean(at, [1, 2], g.activation("r", (1, 1, 1, 4), 0.5, 0), keep_dims=True)
            at = g.operator("RELU", "", {}, [at], g.activation("r", (1, 1, 1, 4), 0.3, 0))
    else:
        at = first = g.activation("input", (1, 2048, 2048, 3), 0.5, 0)
        weights = np.ones((1, 300, 300, 3), np.int8)
        for _ in range(count):
            at = g.depthwise_conv_2d(at, weights, [0.1], None, g.activation("r", (1, 2048, 2048, 3), 0.5, 0), same=True)
    return g.write(first, at)


@pytest.mark.parametrize(
    ("count", "kind", "message"),
    [
        (60, "RELU", "the weights up to here must be at most 134217728 bytes, not"),
        (3, "MEAN", "MEAN"),
        (3, "DEPTHWISE", "its windows must have at most 134217728 values, not 1132462080000"),
    ],
)
def test_small_files_that_need_much_memory_are_refused_before_allocation(count, kind, message):
    import resource

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with contextlib.suppress(ModelError) if kind == "MEAN" else pytest.raises(ModelError, match=message):
        parse_tflite(chain(count, kind))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000, "KiB"
    assert time.monotonic() - start < 10


# Damaged files


def damage(random, good):
    bad = bytearray(good)
    for _ in range(int(random.integers(1, 6))):
        kind, position = random.integers(4), int(random.integers(len(bad)))
        if kind == 0:
            bad[position] ^= 1 << int(random.integers(8))
        elif kind == 1:
            word = int(random.choice([0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x10000]))
            bad[position : position + 4] = word.to_bytes(4, "little")
        elif kind == 2:  # whole words, where offsets, sizes and indices are
            position &= ~3
            bad[position : position + 4] = bad[(word := int(random.integers(len(bad))) & ~3) : word + 4]
        else:
            del bad[position:]
        if len(bad) < 8:
            break
    return bytes(bad)


@settings(max_examples=150)
@given(tflite_graphs(operators=4, images=1), randoms())
def test_damaged_files_are_one_clear_error_or_a_model(case, random):
    for _ in range(5):
        with contextlib.suppress(ModelError):
            assert parse_tflite(damage(random, case[0])).network.input_size >= 1


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_any_bytes_are_one_clear_error(data):
    with pytest.raises(ModelError):
        parse_tflite(b"\x10\0\0\0TFL3" + data)
