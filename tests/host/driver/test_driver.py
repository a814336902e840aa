"""The driver's methods, and the errors that they raise."""

import contextlib
import json

import numpy as np
import pytest
from support.strategies import int8

from etchnet.hdl.isa import Counter, Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.driver.engines import make_engine
from etchnet.host.network.layers import MAX_TERMS, Dense, MaxPool, NetworkError, Pad
from etchnet.host.network.network import Network

SMALL = Config(
    rows=4,
    columns=4,
    weight_tiles=16,
    activation_words=64,
    input_words=32,
    output_words=32,
    accumulator_rows=8,
    passes=64,
    drains=16,
    parameter_tiles=8,
)


def test_matmul_of_the_extremes_is_exact():
    x, w = np.full((3, 70), -128, np.int8), np.full((70, 5), -128, np.int8)
    result = Accelerator(SMALL).matmul(x, w)
    assert result.dtype == np.int32
    assert (result == 70 * 128 * 128).all()


def test_matmul_relu_of_int32():
    random = np.random.default_rng(0)
    x, w = (random.integers(-128, 128, s).astype(np.int8) for s in ((5, 9), (9, 7)))
    bias = random.integers(-50_000, 50_000, 7)
    got = Accelerator(SMALL).matmul_relu(x, w, bias)
    sums = x.astype(np.int64) @ w + bias
    assert got.dtype == np.int32
    assert np.array_equal(got, np.maximum(sums, 0))
    assert np.array_equal(Accelerator(SMALL).matmul_relu(x, w, bias, relu=False), sums)


def test_matmul_relu_requantised():
    """Results are a quarter of the sums, rounded twice: to nearest, ties upwards, then ties away from zero."""
    x, w = np.array([[3, 5]], np.int8), np.array([[7, -7, 1], [9, -9, 2]], np.int8)
    got = Accelerator(SMALL).matmul_relu(x, w, scale=0.25, zero_point=-3)
    assert got.dtype == np.int8
    # 66 / 2 = 33, 33 / 2 = 16.5 -> 17; -66 is clamped; 13 / 2 = 6.5 -> 7, 7 / 2 = 3.5 -> 4, although 13 / 4 = 3.25.
    assert got.tolist() == [[17 - 3, -3, 4 - 3]]


def test_terms_beyond_the_machine_are_summed_by_the_host():
    random = np.random.default_rng(1)
    terms = 4 * 4 * 16 + 5
    x, w = (random.integers(-128, 128, s).astype(np.int8) for s in ((2, terms), (terms, 3)))
    accelerator = Accelerator(SMALL)
    assert np.array_equal(accelerator.matmul(x, w), x.astype(np.int32) @ w.astype(np.int32))
    assert accelerator.counts[Counter.USEFUL] == 2 * terms * 3
    layer = Dense.from_scale(w, scale=0.001, low=0)
    assert np.array_equal(accelerator.matmul_relu(x, w, scale=0.001), layer.reference(x))


def test_counts_add_up_over_programs():
    counts = Accelerator(SMALL)
    counts.matmul(np.ones((40, 30), np.int8), np.ones((30, 50), np.int8))
    totals = counts.counts
    assert totals.cycles == sum(totals[c] for c in Counter if c not in (Counter.CYCLES, Counter.USEFUL))
    assert sum(totals.shares().values()) == pytest.approx(1)
    assert totals[Counter.USEFUL] == 40 * 30 * 50


@pytest.mark.parametrize(
    ("x", "w", "message"),
    [
        (np.ones((2, 3), np.int8), np.ones((4, 2), np.int8), "w must have as many rows as x has columns, 3, not 4"),
        (np.ones(3, np.int8), np.ones((3, 2), np.int8), r"x must have 2 dimensions, not shape \(3,\)"),
        (np.ones((2, 3)), np.ones((3, 2), np.int8), "x must be int8, or integers from -128 to 127, not float64"),
        (np.full((2, 3), 128), np.ones((3, 2), np.int8), "x must hold int8 values, from -128 to 127, not 128"),
        (np.ones((2, 3), np.int8), np.full((3, 2), -129), "w must hold int8 values, from -128 to 127, not -129"),
        (np.ones((0, 3), np.int8), np.ones((3, 2), np.int8), r"x must not be empty, but has shape \(0, 3\)"),
        (np.ones((2, 3), np.int8), np.ones((3, 0), np.int8), r"w must not be empty, but has shape \(3, 0\)"),
        (np.ones((1, MAX_TERMS + 1), np.int8), np.ones((MAX_TERMS + 1, 1), np.int8), "at most 131071 products"),
    ],
)
def test_operands_that_do_not_fit_are_refused(x, w, message):
    with pytest.raises(NetworkError, match=message):
        Accelerator(SMALL).matmul(x, w)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": 0.5}, "bias must be integers, not float64"),
        ({"bias": [1, 2, 3]}, r"bias must have one value per output channel, 2, not shape \(3,\)"),
        ({"bias": 1 << 31}, "bias must be from -2147483648 to 2147483647, not 2147483648"),
        ({"scale": -1.0}, r"a requantisation scale must be finite and in \[0, 2\*\*31\), not -1.0"),
        ({"scale": float("nan")}, "a requantisation scale must be finite"),
        ({"scale": [1.0, 1.0, 1.0]}, r"multiplier must have one value per output channel, 2, not shape \(3,\)"),
        ({"scale": 1.0, "zero_point": 128}, "zero_point must be from -128 to 127, not 128"),
        ({"zero_point": 1}, "zero_point must be 0 for int32 results, not 1"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(options, message):
    with pytest.raises(NetworkError, match=message):
        Accelerator(SMALL).matmul_relu(np.ones((1, 3), np.int8), np.ones((3, 2), np.int8), **options)


def test_networks_that_do_not_fit_together_are_refused():
    a, b = Dense(np.ones((3, 4), np.int8), multiplier=1), Dense(np.ones((5, 2), np.int8))
    with pytest.raises(
        NetworkError, match=r"layer 1: weights must have one row per input value, 4 for shape \(1, 1, 4\), not 5"
    ):
        Network([a, b])
    with pytest.raises(NetworkError, match="layer 0 must have an int8 result"):
        Network([b, a])
    with pytest.raises(NetworkError, match="at least one layer"):
        Network([])
    with pytest.raises(NetworkError, match=r"low must not be above high \(-5\), not 5"):
        Dense(np.ones((3, 4), np.int8), multiplier=1, low=5, high=-5)


@pytest.mark.parametrize(
    ("widths", "batch", "message"),
    [
        ([65, 4], 1, r"for 1 input of this network at once: weight_tiles = 16 \(17 is enough\)"),
        ([4, 40], 1, r"for 1 input of this network at once: .*parameter_tiles = 8 \(10 is enough\)"),
        ([12, 4], 20, r"for 20 inputs of this network at once: input_words = 32 \(64 is enough\)"),
        ([4, 8], 20, r"for 20 inputs of this network at once: output_words = 32 \(64 is enough\)"),
        ([4, 8, 8, 4], 25, r"for 25 inputs of this network at once: activation_words = 64 \(100 is enough\)"),
    ],
)
def test_a_network_that_does_not_fit_says_which_memory(widths, batch, message):
    layers = [Dense(np.ones((a, b), np.int8), multiplier=1) for a, b in zip(widths, widths[1:], strict=False)]
    with pytest.raises(CapacityError, match=message):
        compile_network(Network(layers), SMALL, batch=batch)


def test_run_needs_a_network_and_inputs_of_its_size():
    accelerator = Accelerator(SMALL)
    with pytest.raises(NetworkError, match="no network is loaded"):
        accelerator.run(np.ones((1, 3), np.int8))
    accelerator.load(Network([Dense(np.ones((3, 4), np.int8))]))
    with pytest.raises(NetworkError, match="x must have 3 columns, not 4"):
        accelerator.run(np.ones((1, 4), np.int8))


def test_streaming_needs_all_weights_on_the_machine():
    with pytest.raises(CapacityError, match="weights can stream for only one"):
        Accelerator(SMALL).matmul_relu(np.ones((2, 99), np.int8), np.ones((99, 9), np.int8), scale=0.5, stream=True)
    config = Config(rows=4, columns=4, passes=40, weight_tiles=64)
    with pytest.raises(CapacityError, match=r"stream: the machine needs 72 passes \(room for 40\)"):
        Accelerator(config).matmul_relu(
            np.ones((2000, 16), np.int8), np.ones((16, 32), np.int8), scale=0.1, stream=True
        )
    config = Config(rows=1, columns=1, weight_tiles=512, parameter_tiles=512, output_words=8192, input_words=16)
    with pytest.raises(
        CapacityError, match=r"stream: the machine needs 400 committed weights packets \(room for 255\)"
    ):
        Accelerator(config).matmul_relu(np.ones((16, 1), np.int8), np.ones((1, 400), np.int8), scale=0.1, stream=True)


def test_scales_that_shift_sums_out_of_int32_are_refused():
    x = np.full((1, 16), 127, np.int8)
    with pytest.raises(NetworkError, match="scale must keep shifted sums within int32 for any x, but 10000 shifts"):
        Accelerator(SMALL).matmul_relu(x, x.T, scale=1e4)
    assert Accelerator(SMALL).matmul_relu(x, x.T, scale=1e3).tolist() == [[127]]


def test_engine_objects_keep_their_options():
    engine = make_engine("exact", SMALL)
    with pytest.raises(ValueError, match="has its own config, trace and options"):
        Accelerator(Config(), engine=engine)
    with pytest.raises(TypeError):
        Accelerator(SMALL, engine="exact", patience=3)


def test_accelerators_have_a_one_line_repr():
    accelerator = Accelerator(SMALL)
    assert repr(accelerator) == "Accelerator(4 x 4, engine exact, loaded: nothing)"
    program = accelerator.load(Network([Dense(np.ones((3, 2), np.int8))]))
    assert repr(accelerator) == f"Accelerator(4 x 4, engine exact, loaded: {program!r})"


def test_strides_as_long_as_the_memory():
    """One pixel takes all words of a memory: its stride is not used, but must fit its field."""
    x, w = np.ones((1, 16384), np.int8), np.ones((16384, 4), np.int8)
    assert (Accelerator(Config(activation_words=1024)).matmul(x, w) == 16384).all()
    config = Config(rows=1, columns=4, input_words=16, output_words=16, activation_words=16)
    assert (Accelerator(config).matmul(x[:, :4], w[:4]) == 4).all()


def test_unknown_engines_are_refused():
    with pytest.raises(
        ValueError, match="engine must be one of exact, amaranth, verilator or serial:PORT, not 'spice'"
    ):
        make_engine("spice", SMALL)


def test_a_network_survives_its_file(tmp_path):
    random = np.random.default_rng(5)
    layers = [
        Dense.from_scale(random.integers(-128, 128, (6, 5)), 7, scale=0.01, zero_point=-128, input_zero_point=3),
        Dense(random.integers(-128, 128, (5, 2)), low=0),
    ]
    path = tmp_path / "network.npz"
    Network(layers).save(path)
    x = random.integers(-128, 128, (9, 6)).astype(np.int8)
    assert np.array_equal(Network.load(path).reference(x), Network(layers).reference(x))


def damaged(path, change):
    Network([Dense(np.ones((6, 5), np.int8), multiplier=1)]).save(path)
    change(path)


def settings(path, **changes):
    """Change entries of layer 0 in a file; a value of None removes the entry."""
    with np.load(path) as file:
        described = json.loads(str(file["network"]))
    values = described["layers"][0] | changes
    described["layers"][0] = {k: v for k, v in values.items() if v is not None}
    rewrite(path, network=np.array(json.dumps(described)))


def rewrite(path, **arrays):
    with np.load(path) as file:
        values = dict(file) | arrays
    np.savez(path, **{k: v for k, v in values.items() if v is not None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:100]), "is not a readable .npz file"),
        (lambda p: p.write_bytes(b"weights"), "is not a readable .npz file"),
        (lambda p: p.write_bytes(b""), "is not a readable .npz file"),
        (lambda p: p.unlink(), "does not exist"),
        (lambda p: rewrite(p, network=None), "has no array 'network': it must be a file written by Network.save"),
        (lambda p: rewrite(p, network=np.array("{")), "is damaged: "),
        (lambda p: rewrite(p, network=np.array("[]")), "is damaged: "),
        (lambda p: rewrite(p, network=np.array('{"layers": []}')), "has no entry 'input_shapes'"),
        (lambda p: rewrite(p, weights_0=None), "has no entry 'weights_0'"),
        (lambda p: rewrite(p, bias_0=None), "has no entry 'bias_0'"),
        (
            lambda p: rewrite(p, weights_0=np.ones((6, 5))),
            "layer 0: weights must be int8, or integers from -128 to 127",
        ),
        (lambda p: rewrite(p, weights_0=np.array([[None]])), "is not a readable .npz file"),
        (lambda p: rewrite(p, bias_0=np.ones(4, int)), "layer 0: bias must have one value per output channel, 5"),
        (lambda p: rewrite(p, shift_0=np.full(5, 32)), "layer 0: shift must be from -31 to 31, not 32"),
        (lambda p: settings(p, kind="Softmax"), "layer 0 must be one of Dense, Conv, .*, not 'Softmax'"),
        (lambda p: settings(p, kind=None), "has no entry 'kind'"),
        (lambda p: settings(p, low=None), "has no entry 'low'"),
        (lambda p: settings(p, low="x"), "layer 0: low must be integers, not "),
        (lambda p: settings(p, low=0.5), "layer 0: low must be integers, not float64"),
        (lambda p: settings(p, zero_point=200), "layer 0: zero_point must be from -128 to 127, not 200"),
        (lambda p: settings(p, sources=[3]), "layer 0 must read inputs or layers before it, not 3"),
        (lambda p: settings(p, sources=7), "is damaged: "),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path, change, message):
    path = tmp_path / "network.npz"
    damaged(path, change)
    with pytest.raises(NetworkError, match=message):
        Network.load(path)


def test_flipped_bits_never_give_a_traceback(tmp_path):
    """A damaged file is either loaded or a ModelError; nothing else is raised."""
    path, random = tmp_path / "network.npz", np.random.default_rng(6)
    Network([Dense(np.ones((6, 5), np.int8), multiplier=1)]).save(path)
    good = path.read_bytes()
    for _ in range(300):
        bad = bytearray(good)
        for position in random.integers(len(bad), size=3):
            bad[position] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(bad[: int(random.integers(len(bad))) if random.random() < 0.3 else len(bad)]))
        with contextlib.suppress(NetworkError):
            Network.load(path)


@pytest.mark.parametrize("layer", [MaxPool((2, 3), (2, 1)), Pad(((1, 0), (0, 2)), 9)])
def test_networks_without_weights(layer):
    network = Network([layer], (6, 5, 4))
    machine = Accelerator(Config(rows=4, columns=4))
    program = machine.load(network)
    x = int8(np.random.default_rng(0), (3, network.input_size))
    assert np.array_equal(machine.run(x), network.reference(x))
    assert program.image()[Target.WEIGHTS] == []


def test_wrong_arguments_of_the_driver_are_users_errors():
    with pytest.raises(
        EtchnetError, match="engine must be one of exact, amaranth, verilator or serial:PORT, not 'foo'"
    ):
        Accelerator(engine="foo")
    with pytest.raises(EtchnetError, match=r"config must be a Config, such as Config\(rows=8\), not 16"):
        Accelerator(16)
