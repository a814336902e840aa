"""Networks with all kinds of layers on whole machines: outputs equal the runtime and the reference; engines agree."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.model_strategies import tflite_graphs
from support.needs import DATA, MODELS, needs_data, needs_models, needs_verilator
from support.onnx_strategies import onnx_models
from support.strategies import int8, randoms

from etchnet.hdl.isa import Counter, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.importers.onnx.importer import parse_onnx
from etchnet.host.importers.tflite.importer import load_tflite, parse_tflite
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
    Reshape,
    same_padding,
)
from etchnet.host.network.network import INPUT, Network
from etchnet.host.reports.fit import fitted
from etchnet.host.reports.report import block_rams
from etchnet.sim.timing import check


@st.composite
def machines(draw, *, largest=9):
    """Draw machines of every shape, with memories for a small network and accumulators for part of it."""
    rows = draw(st.integers(1, largest))
    columns = draw(st.one_of(st.just(rows), st.integers(1, largest)))
    depthwise = [0, *(n for n in (2, 3) if n * n <= rows)] if rows == columns else [0]
    return Config(
        rows=rows,
        columns=columns,
        weight_rows=draw(st.sampled_from([n for n in range(1, rows + 1) if rows % n == 0])),
        requantisers=draw(st.sampled_from([n for n in range(1, columns + 1) if columns % n == 0])),
        weight_tiles=1 << 14,
        activation_words=1 << 13,
        input_words=1 << 12,
        output_words=1 << 12,
        accumulator_rows=draw(st.sampled_from([4, 16, 33, 64])),
        passes=1 << 15,
        drains=1 << 14,
        parameter_tiles=512,
        residual_words=draw(st.sampled_from([0, 64, 1024])) if rows == columns else 0,
        depthwise=draw(st.sampled_from(depthwise)),
        line_words=draw(st.sampled_from([16, 64])),
        multiplier_latency=draw(st.integers(1, 2)),
        memory_latency=draw(st.integers(1, 4)),
        product_latency=draw(st.integers(1, 5)),
    )


def agrees(network, config, random, *, batch=1, most=0):
    """Check the exact engine against the reference, and the RTL against it if that takes at most `most` cycles."""
    x = int8(random, (batch + int(random.integers(2)), network.input_size))
    exact = Accelerator(config)
    program = exact.load(network, batch=batch)
    got = exact.run(x)
    assert np.array_equal(got, network.reference(x))
    check(program.passes, program.drains, config, repeats=2)
    if exact.engine.cycle <= most:
        rtl = Accelerator(config, engine="amaranth")
        rtl.load(network, batch=batch)
        assert np.array_equal(rtl.run(x), got)
        assert rtl.counts == exact.counts
        assert rtl.engine.cycle == exact.engine.cycle
    return program


@settings(max_examples=10)
@given(tflite_graphs(), machines(largest=5), randoms(), st.integers(1, 3))
def test_random_tflite_networks_on_any_machine(graph, config, random, batch):
    """The network of a file on any machine, against the numpy reference, which other tests compare with TFLM."""
    agrees(parse_tflite(graph[0]).network, config, random, batch=batch, most=1000)


@settings(max_examples=8)
@given(onnx_models(), machines(largest=5), randoms())
def test_random_onnx_networks_on_any_machine(graph, config, random):
    """The same for ONNX files, with ONNX Runtime's contract; other tests compare the reference with that runtime."""
    network = parse_onnx(graph[0]).network
    agrees(network, dataclasses.replace(config, contract=network.contract), random, most=700)


@pytest.mark.campaign
@settings(settings.get_profile("campaign"), max_examples=300)
@given(tflite_graphs(), machines(), randoms(), st.integers(1, 3))
def test_campaign_of_random_networks(graph, config, random, batch):
    agrees(parse_tflite(graph[0]).network, config, random, batch=batch, most=20_000)


def layer_options(random, channels):
    """Return bias, factors and zero points of any size, for `channels` outputs."""
    return {
        "bias": random.integers(-(1 << 12), 1 << 12, channels),
        "multiplier": random.integers(1 << 30, 1 << 31, channels),
        "shift": random.integers(-12, 1, channels),
        "input_zero_point": int(random.integers(-128, 128)),
        "zero_point": int(random.integers(-128, 128)),
        "low": int(random.integers(-128, 1)),
    }


SWEPT = Config(
    rows=8,
    columns=8,
    accumulator_rows=32,
    weight_tiles=1 << 12,
    activation_words=1 << 12,
    input_words=1 << 11,
    output_words=1 << 12,
    passes=1 << 13,
    drains=1 << 12,
    depthwise=2,
)


def padded(same, size, kernel, stride):
    if same:
        return tuple(same_padding(n, kernel, stride) for n in size)
    return (0, 0), (0, 0)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
def test_convolutions_equal_the_reference(kernel, stride, same):
    """Kernels from 1 to 7, strides from 1 to 3, both paddings, channels from 1 to 70."""
    random = np.random.default_rng(100 * kernel + 10 * stride + same)
    for channels_in, channels_out in ((1, 70), (3, 8), (int(random.integers(9, 71)), int(random.integers(1, 20)))):
        size = 7 + int(random.integers(3)), 7 + int(random.integers(3))
        layer = Conv(
            int8(random, (kernel, kernel, channels_in, channels_out)),
            stride=(stride, stride),
            padding=padded(same, size, kernel, stride),
            **layer_options(random, channels_out),
        )
        agrees(Network([layer], (*size, channels_in)), SWEPT, random, batch=1 + int(random.integers(2)))


@pytest.mark.parametrize("taps", [0, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
def test_depthwise_convolutions_equal_the_reference(kernel, stride, taps):
    """Diagonal tiles, depthwise passes, and stored tiles for channel multipliers."""
    config = dataclasses.replace(SWEPT, depthwise=taps)
    random = np.random.default_rng(100 * kernel + 10 * stride + taps)
    for channels, times, same in ((1, 1, True), (70, 1, False), (int(random.integers(2, 40)), 1, True), (5, 3, True)):
        size = 7 + int(random.integers(3)), 7 + int(random.integers(3))
        before = Conv(int8(random, (1, 1, channels, channels)), **layer_options(random, channels))
        layer = Depthwise(
            int8(random, (kernel, kernel, channels, times)),
            stride=(stride, stride),
            padding=padded(same, size, kernel, stride),
            **layer_options(random, channels * times),
        )
        network = Network([before, layer], (*size, channels))
        program = agrees(network, config, random)
        if taps and times == 1 and 1 < kernel <= 3 and stride == 1 and same:
            assert any(p.kind == TileKind.DEPTHWISE for p in program.passes)


def small_resnet(random, channels=8, size=8):
    """Return two residual blocks, the second with strides, a pool and a classifier."""

    def conv(a, b, kernel, stride, size):
        return Conv(
            int8(random, (kernel, kernel, a, b)),
            stride=(stride, stride),
            padding=tuple(same_padding(size, kernel, stride) for _ in range(2)),
            **layer_options(random, b),
        )

    add = Add.from_scales((0.5, 0.3), 0.7, zero_points=(3, -4), zero_point=5, low=5)
    layers = [
        conv(3, channels, 3, 1, size),
        conv(channels, channels, 3, 1, size),
        conv(channels, channels, 3, 1, size),
        add,
        conv(channels, 2 * channels, 3, 2, size),
        conv(2 * channels, 2 * channels, 3, 1, size // 2),
        conv(channels, 2 * channels, 1, 2, size),
        add,
        AveragePool((size // 2, size // 2)),
        Dense(int8(random, (2 * channels, 10)), **layer_options(random, 10)),
    ]
    sources = [[INPUT], [0], [1], [0, 2], [3], [4], [3], [5, 6], [7], [8]]
    return Network(layers, (size, size, 3), sources)


@pytest.mark.parametrize("residual_words", [0, 12])
def test_a_residual_network_on_the_rtl(residual_words):
    """Additions by identity passes, and one of two fused because memory is short: both engines give the same bytes.

    The additions need 16 and 8 words. Strips of 8 pixels cut every image of the first half of the network in two.
    """
    random = np.random.default_rng(4)
    network = small_resnet(random, channels=4, size=4)
    config = dataclasses.replace(
        SWEPT,
        rows=4,
        columns=4,
        requantisers=4,
        accumulator_rows=8,
        link_bits=64,
        residual_words=residual_words,
        depthwise=0,
        activation_words=512,
        input_words=256,
        output_words=16,
        weight_tiles=200,
        passes=1024,
        drains=512,
    )
    program = agrees(network, config, random, most=10**6)
    assert len(program.fused) == {0: 0, 12: 1}[residual_words]
    fused = compile_network(network, dataclasses.replace(config, residual_words=256)).counts()
    assert fused[Counter.CYCLES] <= program.counts()[Counter.CYCLES]


def test_a_depthwise_separable_network_on_the_rtl():
    random = np.random.default_rng(5)
    layers = [
        Conv(int8(random, (4, 3, 1, 12)), stride=(2, 2), padding=((1, 2), (1, 1)), **layer_options(random, 12)),
        Depthwise(int8(random, (3, 3, 12, 1)), padding=((1, 1), (1, 1)), **layer_options(random, 12)),
        Conv(int8(random, (1, 1, 12, 9)), **layer_options(random, 9)),
        Depthwise(int8(random, (3, 3, 9, 1)), stride=(2, 2), padding=((0, 1), (0, 1)), **layer_options(random, 9)),
        AveragePool((3, 2), (3, 2)),
        Dense(int8(random, (9, 5)), **layer_options(random, 5)),
    ]
    config = Config(
        rows=9,
        columns=9,
        accumulator_rows=32,
        weight_tiles=100,
        activation_words=256,
        input_words=256,
        output_words=8,
        passes=256,
        drains=128,
        parameter_tiles=16,
        line_words=32,
        link_bits=128,
    )
    program = agrees(Network(layers, (11, 7, 1)), config, random, batch=2, most=10**6)
    assert {program.orders[1].method, program.orders[3].method} == {"window"}


def test_concatenation_padding_and_pools_on_the_rtl():
    random = np.random.default_rng(6)
    layers = [
        Conv(int8(random, (1, 1, 3, 3)), **layer_options(random, 3)),
        MaxPool((3, 3), (2, 2), ((1, 1), (1, 1))),
        AveragePool((3, 3), (2, 2), ((1, 1), (1, 1)), low=-100, high=90),
        Concat(2),
        Pad(((1, 0), (0, 2)), value=7, channels=(0, 1)),
        Concat(0),
        Reshape((8, 4, 7)),
        Reshape((4, 8, 7)),
        Reshape((1, 32, 7)),
        Reshape((1, 4, 56)),
        Dense(int8(random, (224, 3)), **layer_options(random, 3)),
    ]
    sources = [[INPUT], [0], [0], [1, 2], [3], [4, 4], [5], [6], [7], [8], [9]]
    network = Network(layers, (5, 4, 3), [*sources])
    for rows, columns in ((4, 4), (3, 5)):
        config = Config(
            rows=rows,
            columns=columns,
            accumulator_rows=16,
            weight_tiles=1000,
            activation_words=1024,
            input_words=64,
            output_words=16,
            passes=2048,
            drains=1024,
            parameter_tiles=64,
            link_bits=128,
        )
        agrees(network, config, random, most=10**6)


def moved(random, channels):
    """Return a layer to put before the layers under test, so that they read tensors that the output stage wrote."""
    return Depthwise(int8(random, (1, 1, channels, 1)), **layer_options(random, channels))


@pytest.mark.parametrize(
    ("rows", "columns", "accumulator_rows", "shape", "layers", "sources"),
    [
        # An identity tile of the first part would copy padding over the channels of the others.
        (9, 9, 64, (1, 1, 5), [Concat(2)], [[0, 0, 0]]),
        # Words that do not reach a column give it zeros, which must not become maxima of negative values.
        (1, 8, 64, (1, 1, 13), [MaxPool((1, 1))], [[0]]),
        (3, 6, 4, (7, 7, 16), [MaxPool((3, 2), (3, 2), ((0, 0), (1, 1)))], [[0]]),
        # More pixels than one pass can walk are folded into one row.
        (2, 2, 33, (8, 8, 18), [AveragePool((8, 8))], [[0]]),
        # The values of a result pixel come from several pixels.
        (8, 3, 64, (2, 6, 1), [Reshape((1, 2, 6)), MaxPool((1, 1))], [[0], [1]]),
    ],
)
def test_networks_that_once_gave_wrong_results(rows, columns, accumulator_rows, shape, layers, sources):
    random = np.random.default_rng(14)
    config = dataclasses.replace(
        SWEPT,
        rows=rows,
        columns=columns,
        requantisers=columns,
        depthwise=0,
        residual_words=0,
        accumulator_rows=accumulator_rows,
    )
    network = Network([moved(random, shape[2]), *layers], shape, [[INPUT], *sources])
    for batch in (1, 2):
        agrees(network, config, random, batch=batch)


def test_time_depends_on_the_structure_of_layers_not_on_their_weights():
    random = np.random.default_rng(7)
    full = small_resnet(random)
    empty = Network(
        [dataclasses.replace(x, weights=np.zeros_like(x.weights)) if isinstance(x, Conv) else x for x in full.layers],
        full.input_shape,
        full.sources,
    )
    one, other = (compile_network(network, SWEPT) for network in (full, empty))
    assert one.counts() == other.counts()


def test_a_network_that_does_not_fit_names_a_size_that_does():
    network = small_resnet(np.random.default_rng(8))
    config = dataclasses.replace(SWEPT, activation_words=100)
    with pytest.raises(
        CapacityError,
        match=r"the machine is too small for 1 input of this network at once: activation_words = 100 \(\d+ is enough\)",
    ) as caught:
        compile_network(network, config)
    program = compile_network(network, dataclasses.replace(config, **caught.value.short))
    assert {"activation_words": program.activation_words} == caught.value.short


def test_the_smallest_memories_hold_the_network():
    random = np.random.default_rng(9)
    network = small_resnet(random)
    program = fitted(network, SWEPT)
    assert program.config.activation_words == program.activation_words < SWEPT.activation_words
    assert program.config.depthwise == 0
    agrees(network, program.config, random)


def test_a_network_of_another_contract_is_refused():
    layer = Dense(np.ones((3, 4), np.int8), multiplier=1 << 30)
    with pytest.raises(NetworkError, match="must have the network's contract, onnx-float, not tflite-double"):
        compile_network(Network([layer], contract="onnx-float"), Config())


# Real models


@pytest.fixture(scope="module")
def runtime():
    """Return TensorFlow Lite Micro as a function, or skip the test."""
    from support.tflm import run

    return run


@needs_models
@pytest.mark.parametrize(
    ("name", "options", "most"),
    [
        ("resnet8_cifar10", {"input_words": 2048}, 49_700),
        ("resnet8_cifar10", {"residual_words": 0, "input_words": 2048}, 56_000),
        ("dscnn_kws", {}, 12_800),
        ("dscnn_kws", {"depthwise": 0}, 28_200),
        ("autoencoder_ad", {}, 16_750),
    ],
)
def test_real_models_equal_the_runtime_within_their_cycles(runtime, name, options, most):
    """Compare every output byte of twenty inputs, and the cycles of an inference from input to result in memory."""
    path = Path(MODELS) / f"{name}_int8.tflite"
    model, random = load_tflite(path), np.random.default_rng(11)
    x = int8(random, (20, model.network.input_size))
    accelerator = Accelerator(Config(**options))
    program = accelerator.load(model.network)
    assert np.array_equal(
        model.finish(accelerator.run(x)), runtime(path.read_bytes(), x.reshape(20, *model.inputs[0].shape))
    )
    assert accelerator.counts.totals == program.counts(20) | {
        c: accelerator.counts[c] for c in (Counter.CYCLES, Counter.WAIT_IN, Counter.WAIT_OUT)
    }
    assert program.counts()[Counter.CYCLES] <= most


@needs_models
@needs_verilator
@pytest.mark.parametrize("name", ["resnet8_cifar10", "dscnn_kws"])
def test_real_models_on_the_compiled_rtl(runtime, name):
    """Three inputs on the Verilog: every byte equals the runtime's, and every count equals the exact engine's.

    The third is the first to reuse a half of the input and output memories.
    """
    path = Path(MODELS) / f"{name}_int8.tflite"
    model, random = load_tflite(path), np.random.default_rng(12)
    x = int8(random, (3, model.network.input_size))
    outcomes = []
    for engine in ("exact", "verilator"):
        accelerator = Accelerator(Config(input_words=2048), engine=engine)
        accelerator.load(model.network)
        outcomes.append((accelerator.run(x), accelerator.counts, accelerator.engine.cycle))
    (y, counts, cycle), (rtl, rtl_counts, rtl_cycle) = outcomes
    assert np.array_equal(rtl, y)
    assert (rtl_counts, rtl_cycle) == (counts, cycle)
    assert np.array_equal(model.finish(y), runtime(path.read_bytes(), x.reshape(3, *model.inputs[0].shape)))


@needs_models
@pytest.mark.parametrize(
    ("name", "first", "last", "shape", "size"),
    [
        ("resnet8_cifar10", 0, 3, (3, 3, 3), 8),
        ("dscnn_kws", 1, 1, (4, 3, 64), 9),
    ],
)
def test_a_crop_of_a_real_model_on_the_rtl(name, first, last, shape, size):
    """A residual block and a depthwise layer with their own weights, on a few pixels, on a small array in Amaranth."""
    whole = load_tflite(Path(MODELS) / f"{name}_int8.tflite").network
    sources = [[s - first if s >= first else INPUT for s in which] for which in whole.sources[first : last + 1]]
    network = Network(whole.layers[first : last + 1], shape, sources)
    config = Config(
        rows=size,
        columns=size,
        accumulator_rows=16,
        weight_tiles=128,
        activation_words=128,
        input_words=128,
        output_words=128,
        passes=512,
        drains=128,
        parameter_tiles=16,
        residual_words=64,
        line_words=32,
        link_bits=128,
    )
    agrees(network, config, np.random.default_rng(15), most=10**6)


@needs_models
@pytest.mark.parametrize("name", ["resnet8_cifar10", "dscnn_kws"])
def test_every_tensor_of_a_real_model_on_the_machine(name):
    """Networks that end after each layer in turn, against the reference, which equals the runtime's tensors."""
    network = load_tflite(Path(MODELS) / f"{name}_int8.tflite").network
    random = np.random.default_rng(13)
    x = int8(random, (1, network.input_size))
    wanted = network.tensors(x)
    config = Config(input_words=2048, output_words=2048)
    for index in range(len(network.layers)):
        accelerator = Accelerator(config)
        accelerator.load(network.upto(index))
        assert np.array_equal(accelerator.run(x), wanted[index].reshape(1, -1)), f"layer {index}"


@needs_models
@pytest.mark.parametrize("name", ["resnet8_cifar10", "dscnn_kws", "autoencoder_ad"])
def test_real_models_fit_the_block_rams_of_an_ecp5_85f(name):
    """The memories of a 16 x 16 machine for the model fit the 208 block RAMs of an LFE5U-85F."""
    network = load_tflite(Path(MODELS) / f"{name}_int8.tflite").network
    base = Config() if name != "autoencoder_ad" else Config(accumulator_rows=32)
    program = fitted(network, base)
    assert sum(block_rams(program.config).values()) <= 208
    bytes_used = sum(program.config.weight_words * n for n in (16,)) / 1024
    assert bytes_used <= 416


@needs_data
def test_keyword_spotting_equals_the_runtime(runtime):
    path = Path(MODELS) / "dscnn_kws_int8.tflite"
    model = load_tflite(path)
    with np.load(Path(DATA) / "kws_features_200.npz") as data:
        x, labels = data["x"], data["y"]
    accelerator = Accelerator()
    accelerator.load(model.network)
    scores = model.finish(accelerator.run(model.prepare(x)))
    expected = runtime(path.read_bytes(), x)
    assert np.array_equal(scores, expected)
    assert (scores.argmax(axis=-1).ravel() == labels).mean() > 0.85
