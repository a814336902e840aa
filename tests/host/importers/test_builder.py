"""Models built layer by layer."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.host.importers.builder import GraphBuilder
from etchnet.host.importers.value import image_shape
from etchnet.host.network.layers import Add, AveragePool, Concat, Conv, Dense, Depthwise, MaxPool, Reshape, Scaling
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.host.network.steps import ArgMax, Softmax

Q, OTHER = Quantisation(0.5, 3), Quantisation(0.25, -7)


def start(*shape, dtype="int8", **options):
    builder = GraphBuilder("m", **options)
    return builder, builder.input("x", shape, Q, dtype)


def weights(*shape):
    return int8(np.random.default_rng(0), shape)


@pytest.mark.parametrize(
    ("shape", "image"), [((5,), (1, 1, 5)), ((4, 5), (1, 4, 5)), ((3, 4, 5), (3, 4, 5)), ((), None), ((2,) * 4, None)]
)
def test_shapes_of_all_ranks_as_images(shape, image):
    assert image_shape(shape) == image


def test_a_branch_and_its_sum():
    builder, x = start(6, 6, 4)
    left = builder.add("conv", Conv.from_scale(weights(1, 1, 4, 4), scale=0.01), [x], Q, name="left", shape=(6, 6, 4))
    right = builder.add("pool", MaxPool((1, 1)), [x], Q, name="right")
    total = builder.add("sum", Add.from_scales((0.5, 0.5), 0.25, zero_points=(3, 3)), [left, right], OTHER)
    builder.add("unread", MaxPool((2, 2)), [right], Q)
    model = builder.finish([total])
    assert model.names == ["left", "right", "sum"]
    assert model.network.sources == ((-1,), (-1,), (0, 1))
    assert (model.inputs[0].shape, model.outputs[0].shape) == ((6, 6, 4), (6, 6, 4))
    assert (model.inputs[0].quantisation, model.outputs[0].quantisation) == (Q, OTHER)
    x = int8(np.random.default_rng(1), (3, 6, 6, 4))
    assert model.finish(model.network.reference(model.prepare(x))).shape == (3, 6, 6, 4)


def test_reshapes_become_layers_only_if_needed():
    builder, x = start(2, 6, 3)
    flat = builder.reshape("flat", x, (36,), name="flat")
    dense = builder.add("dense", Dense.from_scale(weights(36, 8), scale=0.01), [flat], Q)
    image = builder.reshape("image", dense, (2, 2, 2), name="image")
    pools = [builder.add(f"pool {i}", MaxPool((1, 1 + i)), [image], Q) for i in range(2)]
    both = builder.add("both", Concat(1), pools, Q)
    model = builder.finish([builder.reshape("out", both, (6, 2))])
    assert [type(layer) for layer in model.network.layers] == [Dense, Reshape, MaxPool, MaxPool, Concat]
    assert (model.names[1], model.outputs[0].shape) == ("image", (6, 2))


def test_requantisations_and_clamps_keep_any_shape():
    builder, x = start(2, 3, 2, 2, 2)  # no image: values in their order
    clamped = builder.identity("clamp", x, Q, scale=None, low=-5, high=9)
    moved = builder.identity("move", clamped, OTHER, scale=2.0)
    model = builder.finish([moved])
    assert [type(layer) for layer in model.network.layers] == [MaxPool, Depthwise]
    values = int8(np.random.default_rng(1), (4, 2, 3, 2, 2, 2))
    expected = np.clip((np.clip(values.astype(int), -5, 9) - 3) * 2 - 7, -128, 127)
    assert np.array_equal(model.finish(model.network.reference(model.prepare(values))), expected)


@pytest.mark.parametrize(("axes", "kind", "shape"), [((0, 1), Depthwise, (1, 1, 4)), ((1, 2), Conv, (3, 1, 1))])
def test_means(axes, kind, shape):
    builder, x = start(3, 2, 4)
    result = builder.mean("mean", x, axes, Scaling.of(1.0), Q)
    model = builder.finish([result])
    assert (type(model.network.layers[0]), model.network.output_shape) == (kind, shape)


def test_names_of_inputs_and_outputs_are_distinct():
    b = GraphBuilder("m")
    values = [b.input(name, (3,), Q) for name in ("a", "a:1", "a", "")]
    model = b.finish([b.add(f"p{i}", MaxPool((1, 1)), [value], Q, name="p") for i, value in enumerate(values)])
    assert [port.name for port in model.inputs] == ["a:0", "a:1", "a:2", "tensor:3"]
    assert [port.name for port in model.outputs] == ["p:0", "p:1", "p:2", "p:3"]
    b = GraphBuilder("m")
    values = [b.input(name, (3,), Q) for name in ("a:1", "a", "a")]
    assert len({port.name for port in b.finish(values).inputs}) == 3


def test_only_int8_goes_to_the_host_after_the_network():
    b = GraphBuilder("m")
    raw = b.input("x", (3,), Quantisation(0.5, 131, dtype="uint8"), "uint8")
    b.convert_input("quantise", raw, Q)
    with pytest.raises(ModelError, match="late reads x, which is uint8: it must be quantised to int8 first"):
        b.step("late", raw, Softmax(0.5), Quantisation(1 / 256, -128))
    with pytest.raises(ModelError, match="the output x must be computed by operators on int8, not be uint8"):
        b.finish([raw])


def test_steps_on_the_host_must_come_last():
    builder, x = start(2, 5, dtype="float32")
    x = builder.convert_input("quantise", x, Q)
    scores = builder.add("pool", AveragePool((1, 1)), [x], Q)
    shares = builder.step("softmax", scores, Softmax(0.5, channels=5), Quantisation(1 / 256, -128))
    best = builder.step("best", shares, ArgMax(channels=5), Q, shape=(2,))
    model = builder.finish([best])
    assert (model.inputs[0].dtype, len(model.outputs[0].steps), model.outputs[0].shape) == ("float32", 2, (2,))
    with pytest.raises(ModelError, match="again must read int8, uint8 or int16, not int64"):
        builder.step("again", best, ArgMax(), Q)
    with pytest.raises(ModelError, match="late comes after an operator that runs on the host"):
        builder.add("late", MaxPool((1, 1)), [shares], Q)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b, x: b.reshape("r", x, (7,)), r"r must keep the number of values: \(4, 4, 2\) to \(7,\)"),
        (lambda b, x: b.add("p", MaxPool((5, 1)), [x], Q), "p: MaxPool of 5 x 1 must fit its padded input"),
        (
            lambda b, x: b.add("p", MaxPool((2, 2)), [x], Q, shape=(3, 3, 3)),
            r"p: the result must have shape \(3, 3, 2\), not",
        ),
        (
            lambda b, x: b.add("d", Dense.from_scale(weights(32, 6), scale=1), [x], Q, shape=(5,)),
            "d: the result must have shape",
        ),
        (lambda b, x: b.image("i", b.reshape("r", x, (2, 2, 2, 4))), r"i must have images \(H, W, C\), lines"),
        (lambda b, x: b.check_size("s", (4096, 4097)), "s must have at most 16777216 values per image"),
        (lambda b, x: b.check_size("s", (4, 0)), "s must have sizes of at least 1"),
        (lambda b, x: b.identity("q", x, Q, scale=float("nan")), "q: a requantisation scale must be finite"),
    ],
)
def test_errors_name_the_operator_that_cannot_be_built(build, message):
    with pytest.raises(ModelError, match=message):
        build(*start(4, 4, 2))


def test_a_made_layer_has_at_most_a_million_weights():
    GraphBuilder.check_weights("a layer", 1 << 20)
    with pytest.raises(ModelError, match="a layer needs a layer of 1048577 weights, and at most 1048576 are supported"):
        GraphBuilder.check_weights("a layer", (1 << 20) + 1)
