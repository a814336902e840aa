"""Parts of tensors of ONNX files, against ONNX Runtime; all of them are taken by layers, not by steps on the host."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
from onnx import helper
from support.onnx_runtime import agree, same_formulas
from support.onnx_strategies import FORMS, Tensor, begin, random_bytes, random_conv

from etchnet.host.importers.onnx.importer import parse_onnx

pytestmark = same_formulas

forms = pytest.mark.parametrize("form", FORMS)


def agree_without_host(data, x):
    agree(data, x)
    assert not parse_onnx(data).outputs[0].steps


@forms
@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("indices", [[0, 1], [1, 3, 5], [-2], 3, -6, [2, 3, 4, 5], [0, 5]])
def test_gather(form, axis, indices):
    random = np.random.default_rng(3)
    writer, x = begin(form, random, (6, 7, 8))
    y = random_conv(writer, random, x, channels=6, keep=True)
    shape = np.take(np.zeros((1, 6, 7, 8)), indices, axis).shape[1:]
    y = writer.same("Gather", y, shape, writer.constant(np.array(indices)), axis=axis)
    agree_without_host(writer.write(y), random_bytes(random, (2, *x.shape)))


@forms
@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize(
    ("bounds", "shape"),
    [
        (([0, 1], [1, 4]), (3, 7, 8)),
        (([1, -5], [9, -1], [1, 3]), (5, 7, 4)),
        (([1, 0], [6, 8], [2, -1], [2, 3]), (6, 3, 3)),
        (([2], [4], [2], [1]), (6, 2, 8)),
    ],
)
def test_slice(form, batch, bounds, shape):
    random = np.random.default_rng(4)
    writer, x = begin(form, random, (6, 7, 8), batch=batch)
    y = random_conv(writer, random, x, channels=6, keep=True)
    y = writer.same("Slice", y, shape, *(writer.constant(np.array(each)) for each in bounds))
    agree_without_host(writer.write(y), random_bytes(random, (1, *x.shape)))


@forms
@pytest.mark.parametrize("axis", [None, 1, 2, 3, -1])
def test_split(form, axis):
    """The last of two parts is smaller; without an axis, there is one part, of the batch."""
    random = np.random.default_rng(6)
    writer, x = begin(form, random, (4, 6, 8))
    y = random_conv(writer, random, x, channels=4, keep=True)
    sizes, given = ([1], {}) if axis is None else ([(1, *y.shape)[axis] - 1, 1], {"axis": axis})
    parts = [writer.name() for _ in sizes]
    inputs = [y.name if form == "QLinear" else writer.read(y), writer.constant(np.array(sizes))]
    writer.nodes.append(helper.make_node("Split", inputs, parts, **given))
    shape = list(y.shape)
    if axis:
        shape[axis - (axis > 0)] = 1
    last = Tensor(parts[-1], tuple(shape), y.scale, y.zero)
    if form == "QDQ":
        last = writer.give(last.name, shape, (y.scale, y.zero))
    agree_without_host(writer.write(last), random_bytes(random, (1, *x.shape)))
