"""Commands on models from files, and `compare` on RTL with faults."""

import io
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from support.command_line import error, run
from support.needs import MODELS, needs_models, needs_verilator
from support.networks import small_network
from support.strategies import int8

import etchnet.hdl.core.array.array
import etchnet.hdl.core.machine
from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.core.output.scalers.double import DoubleRoundingScaler
from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.overflow import check_overflow
from etchnet.host.data import fashion
from etchnet.host.driver.driver import Accelerator
from etchnet.host.importers.load import load_input, load_model, plain_model
from etchnet.host.network.layers import Add, AveragePool, Conv, Depthwise, MaxPool, Reshape
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.host.network.network import Dense, Network
from etchnet.host.reports.compare import compare, default_inputs
from etchnet.host.reports.report import layer_reports, memory_use, totals
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import LinkTrace
from etchnet.sim.engines.simulated import AmaranthEngine

CONFIG = Config(
    rows=4,
    columns=4,
    weight_tiles=64,
    activation_words=64,
    input_words=64,
    output_words=64,
    accumulator_rows=16,
    passes=128,
    drains=64,
    parameter_tiles=16,
)
SMALL = ["--rows", "4", "--cols", "4"]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "small.npz"
    small_network().save(path)
    return str(path)


@pytest.fixture
def inputs(tmp_path):
    x = int8(np.random.default_rng(1), (5, 9))
    np.save(tmp_path / "x.npy", x)
    return str(tmp_path / "x.npy"), x


# run


@pytest.mark.parametrize("engine", ["exact", "amaranth", pytest.param("verilator", marks=needs_verilator)])
def test_run_writes_what_the_reference_gives(capsys, tmp_path, model, inputs, engine):
    target = tmp_path / "y.npy"
    # The default machine is the one that the autoencoder runs on: it is compiled once for both.
    machine = [] if engine == "verilator" else SMALL
    status, out, err = run(
        capsys, "run", model, "--input", inputs[0], "--output", str(target), "--engine", engine, *machine, "--json"
    )
    assert (status, err) == (0, "")
    figures = json.loads(out)
    assert np.array_equal(np.load(target), small_network().reference(inputs[1]))
    assert figures["inputs"] == 5
    assert sum(figures["shares"].values()) == pytest.approx(1)
    status, out, _ = run(capsys, "run", model, "--input", inputs[0], *machine)
    assert f"cycles {figures['counters']['cycles']:,}" in out


def test_run_writes_into_a_pipe(capsys, tmp_path, model, inputs):
    os.mkfifo(pipe := tmp_path / "y.npy")
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    status, _, err = run(capsys, "run", model, "--input", inputs[0], "--output", str(pipe), *SMALL)
    reader.join(10)
    assert (status, err) == (0, "")
    assert pipe.is_fifo()
    assert np.array_equal(np.load(io.BytesIO(read[0])), small_network().reference(inputs[1]))


def test_outputs_that_cannot_be_written_are_one_line_with_their_name(capsys, tmp_path, model, inputs):
    target = tmp_path / "missing" / "y.npy"
    message = error(capsys, "run", model, "--input", inputs[0], "--output", str(target), *SMALL)
    assert message == f"{target}: No such file or directory"


def test_run_reads_text_and_pictures(tmp_path, model):
    loaded = load_model(model)
    (tmp_path / "x.csv").write_text("1,2,3,4,5,6,7,8,9\n\n-1,-2,-3,-4,-5,-6,-7,-8,-9\n")
    x = load_input(tmp_path / "x.csv", loaded)
    assert x.tolist() == [[n + 3 for n in range(1, 10)], [3 - n for n in range(1, 10)]]
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.arange(9, dtype=np.uint8).reshape(3, 3) * 31).save(tmp_path / "x.png")
    assert load_input(tmp_path / "x.png", loaded).tolist() == [[3, 3, 3, 3, 3, 4, 4, 4, 4]]


def test_pictures_of_image_models(tmp_path):
    """The demonstration accepts a picture of the data set; pictures of other sizes or shapes are refused."""
    image = pytest.importorskip("PIL.Image")
    demo, picture = load_model("demo"), fashion.held_out().images[:1]
    assert demo.input_shape == (28, 28, 1)
    image.fromarray(picture[0]).save(tmp_path / "x.png")
    assert np.array_equal(load_input(tmp_path / "x.png", demo), picture.reshape(1, -1).astype(int) - 128)
    image.fromarray(picture.reshape(14, 56)).save(tmp_path / "y.png")
    with pytest.raises(ModelError, match="has 14 x 56 pixels; the model needs 28 x 28"):
        load_input(tmp_path / "y.png", demo)
    image.fromarray(picture[0, 1:]).save(tmp_path / "z.png")
    with pytest.raises(ModelError, match="has 756 values; the model needs 784"):
        load_input(tmp_path / "z.png", demo)
    colour = Conv.from_scale(np.ones((1, 1, 3, 1), np.int8), scale=0.1, input_zero_point=-5)
    Network([colour], (2, 4, 3)).save(tmp_path / "colour.npz")
    values = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    image.fromarray(values).save(tmp_path / "colour.png")
    loaded = load_model(str(tmp_path / "colour.npz"))
    assert load_input(tmp_path / "colour.png", loaded).shape == (1, 24)
    np.save(tmp_path / "images.npy", np.ones((5, 2, 4, 3), np.int8))
    assert load_input(tmp_path / "images.npy", loaded).shape == default_inputs(loaded, 5).shape == (5, 24)


@pytest.mark.parametrize(
    ("layers", "sources", "zero_point"),
    [
        ([Reshape((1, 1, 8)), Dense.from_scale(np.ones((8, 2), np.int8), scale=1, input_zero_point=7)], None, 7),
        (
            [
                MaxPool((2, 2)),
                AveragePool((1, 1)),
                Reshape((2, 1, 1)),
                Conv.from_scale(np.ones((1, 1, 1, 1), np.int8), scale=1, input_zero_point=-9),
            ],
            None,
            -9,
        ),
        ([MaxPool((1, 1)), Add.from_scales((1, 1), 2, zero_points=(3, 4))], [[-1], [0, -1]], 3),
        ([MaxPool((2, 2))], None, 0),
        (
            [
                Depthwise.from_scale(np.ones((1, 1, 2, 1), np.int8), scale=1, input_zero_point=2, zero_point=5),
                Conv.from_scale(np.ones((1, 1, 2, 1), np.int8), scale=1, input_zero_point=5),
            ],
            None,
            2,
        ),
    ],
)
def test_networks_by_themselves_take_zero_points_from_whoever_reads_the_input(layers, sources, zero_point):
    model = plain_model("it", Network(layers, (2, 2, 2) if len(layers) != 4 else (2, 3, 1), sources))
    assert model.input == Quantisation(1.0, zero_point)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"", "is not a readable .npy file"),
        ("x.npy", b"\x93NUMPY\x01\x00", "is not a readable .npy file"),
        ("x.csv", b"1,2,three", "is not a readable .csv file"),
        ("x.csv", b"1,2\n3", "is not a readable .csv file"),
        ("x.csv", b"1,2,3", r"inputs must have shape \(N, 9\), not \(1, 3\)"),
        ("x.csv", b"", r"inputs must have shape \(N, 9\)"),
        ("x.csv", b"nan,1,1,1,1,1,1,1,1", "float inputs must be finite"),
    ],
)
def test_inputs_that_cannot_be_read_are_one_clear_error(tmp_path, model, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_input(tmp_path / name, load_model(model))


def test_wrong_arguments_are_one_line(capsys, tmp_path, model, inputs):
    assert "must be a .tflite, an .onnx or an .npz file, or demo" in error(capsys, "report", "model.pt")
    assert "does not exist" in error(capsys, "report", str(tmp_path / "none.npz"))
    assert "No such file" in error(capsys, "report", str(tmp_path / "none.tflite"))
    assert "does not exist" in error(capsys, "run", model, "--input", str(tmp_path / "none.npy"))
    assert "--output must end with .npy" in error(capsys, "run", model, "--input", inputs[0], "--output", "y.txt")
    assert "--engines must be two of" in error(capsys, "compare", model, "--engines", "exact")
    assert "is not a TensorFlow Lite file" in error(capsys, "report", str(write(tmp_path / "a.tflite", b"GGUF")))


def write(path, content):
    path.write_bytes(content)
    return path


# report


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("config", [CONFIG, Config(), Config(rows=8, columns=2, weight_rows=4)])
def test_the_report_is_what_the_counters_say_after_the_run(config, batch):
    program = compile_network(small_network(), config, batch=batch)
    layers = layer_reports(program, ["a", "b", "c"])
    total, per_cycle = totals(layers), config.multipliers
    accelerator = Accelerator(config, engine="amaranth" if config is CONFIG else "exact")
    accelerator.load(small_network(), batch=batch)
    accelerator.run(np.zeros((batch, 9), np.int8))
    counts = accelerator.counts
    assert total.cycles == counts.cycles
    assert total.slots["useful"] == counts[Counter.USEFUL] == batch * (9 * 7 + 7 * 10 + 10 * 6)
    assert total.slots["useful"] + total.slots["padding"] == counts[Counter.ISSUE] * per_cycle
    for counter in (Counter.WEIGHT_LOAD, Counter.REQUANTISE, Counter.FILL_DRAIN):
        assert total.slots[counter.name.lower()] == counts[counter] * per_cycle
    assert all(sum(r.shares.values()) == pytest.approx(1) for r in layers)
    assert all(m.used <= m.available for m in memory_use(program))


def test_certificates_bound_every_input_and_are_reached():
    random = np.random.default_rng(3)
    layer = Dense.from_scale(int8(random, (37, 5)), random.integers(-99, 99, 5), scale=3.0, input_zero_point=5)
    certificate = check_overflow(layer, 0, CONFIG)
    weights = layer.weights.astype(np.int64)
    worst = [np.where(weights[:, c] > 0, 127, -128) for c in range(5)]
    reached = max(int((x - 5) @ weights[:, c] + layer.bias[c]) for c, x in enumerate(worst))
    assert certificate.accumulators[1] == reached
    assert certificate.shifted[1] == reached << 2
    assert certificate.holds
    too_large = Dense(np.full((3, 1), 127, np.int8), bias=(1 << 31) - 1)
    assert not check_overflow(too_large, 0, CONFIG).holds


def test_report_prints_cycles_memories_and_passes(capsys, model):
    status, out, err = run(capsys, "report", model, *SMALL, "--passes")
    assert (status, err) == (0, "")
    for part in (
        "cycles from operands in memory to the last result",
        "weight load",
        "limited by",
        "activation words",
        "no overflow",
        "first_cycle",
    ):
        assert part in out
    status, out, _ = run(capsys, "report", model, *SMALL, "--passes", "--json")
    figures = json.loads(out)
    assert figures["cycles"] == figures["counters"]["cycles"]
    assert len(figures["passes"]) == sum(layer["passes"] for layer in figures["layers"])
    # Passes fill the time from the first to the last without overlap.
    ends = [p["last_cycle"] + 1 + q["idle"] for p, q in zip(figures["passes"], figures["passes"][1:], strict=False)]
    assert ends == [p["first_cycle"] for p in figures["passes"][1:]]


# compare


def test_equal_engines_are_equal(capsys, model, inputs):
    status, out, err = run(capsys, "compare", model, "--engines", "exact,amaranth", "--input", inputs[0], *SMALL)
    assert (status, err) == (0, "")
    assert "are equal in every output of every layer" in out


def differences(model, config=CONFIG, trace=None):
    loaded = load_model(model)
    return compare(
        loaded,
        lambda: ExactEngine(config, trace=trace),
        lambda: AmaranthEngine(config, trace=trace, machine=Machine(config), patience=3000),
        default_inputs(loaded, 3),
    )


def test_a_wrong_rounding_is_pointed_at(monkeypatch, model):
    """With a requantiser that truncates instead of rounding, the first result that changes is named."""
    loaded = load_model(model)
    x = default_inputs(loaded, 3)
    wanted = Network(loaded.network.layers[:1]).reference(x)

    original = DoubleRoundingScaler.elaborate

    def elaborate(self, platform):
        m = original(self, platform)
        increment = next(s for s in m._driving if s.name == "increment")
        m.d.sync += increment.eq(0)
        return m

    monkeypatch.setattr(DoubleRoundingScaler, "elaborate", elaborate)
    found = differences(model)
    assert found is not None
    assert (found.layer, found.what) == (0, "output")
    item, channel = found.element
    a, b = found.values
    middle = min(channel, 2)
    assert a[middle] == wanted[item, channel] == b[middle] + 1
    # What comes before is equal: the first difference is the first there is.
    assert a[:middle] == b[:middle]
    program = compile_network(Network(loaded.network.layers[:1]), CONFIG)
    assert program.passes[found.pass_index].release
    assert 0 < found.cycle < program.counts()[Counter.CYCLES] + 2


def late(m, value, cycles, *, name, resets=True):
    """Make the skew of one row a cycle too long."""
    return delay(m, value, cycles + (name == "skew_2"), name=name, resets=resets)


def test_a_skew_that_is_off_by_one_is_pointed_at(monkeypatch, model):
    monkeypatch.setattr(etchnet.hdl.core.array.array, "delay", late)
    found = differences(model)
    assert (found.layer, found.what) == (0, "output")
    assert found.element[0] == 0


def test_a_dropped_stall_is_pointed_at(monkeypatch, model):
    """A sequencer does not wait for its input on a slow link, and computes before the input has arrived."""
    original = etchnet.hdl.core.machine.Sequencer.elaborate

    def elaborate(self, platform):
        self.input_full = self.input_full | 1
        return original(self, platform)

    monkeypatch.setattr(etchnet.hdl.core.machine.Sequencer, "elaborate", elaborate)
    found = differences(model, trace=LinkTrace(offers=np.arange(90_000) % 12 == 0))
    assert found is not None
    assert found.layer == 0
    assert found.what in ("output", "counters")
    assert "cycle" in found.message


def test_a_difference_is_exit_status_1(capsys, monkeypatch, model):
    monkeypatch.setattr(etchnet.hdl.core.array.array, "delay", late)
    status, out, _ = run(capsys, "compare", model, *SMALL, "--json")
    assert status == 1
    figures = json.loads(out)
    assert figures["equal"] is False
    assert figures["difference"]["layer"] == 0


def inside(network, x):
    """Run the RTL in Amaranth's simulator, with program and weights as initial contents of its memories.

    Returns results, the machine's counters, and the counts that the program predicts.
    """
    config = Config(rows=8, columns=8, weight_rows=8, weight_tiles=4200, passes=8192, drains=1024, parameter_tiles=256)
    program = compile_network(network, config)
    accelerator = Accelerator(engine=AmaranthEngine(config, machine=Machine(config, init=program.image())))
    return accelerator._infer(program, x), accelerator.counts.totals, program.counts()


@needs_models
def test_the_middle_of_the_autoencoder_on_the_rtl_with_its_weights_inside():
    """One input through the layers around the bottleneck; only the input is sent over the link."""
    layers = load_model(str(Path(MODELS) / "autoencoder_ad_int8.tflite")).network.layers[3:7]
    network = Network(layers)
    assert [layer.weights.shape for layer in layers] == [(128, 128), (128, 8), (8, 128), (128, 128)]
    x = default_inputs(plain_model("middle", network), 1)
    got, counted, expected = inside(network, x)
    assert np.array_equal(got, network.reference(x))
    assert counted == expected


@needs_models
@pytest.mark.campaign
def test_the_autoencoder_on_the_rtl_with_its_weights_inside():
    """The whole network; the default tests run it on compiled Verilog."""
    model = load_model(str(Path(MODELS) / "autoencoder_ad_int8.tflite"))
    x = default_inputs(model, 1)
    got, counted, expected = inside(model.network, x)
    assert np.array_equal(got, model.network.reference(x))
    assert counted == expected


@needs_models
@needs_verilator
def test_the_autoencoder_on_the_compiled_verilog():
    """Twenty inputs at 16 x 16, compared with the exact engine, which other tests compare with the runtime."""
    model = load_model(str(Path(MODELS) / "autoencoder_ad_int8.tflite"))
    x, results = default_inputs(model, 20), []
    for engine in ("exact", "verilator"):
        accelerator = Accelerator(Config(), engine=engine)
        accelerator.load(model.network)
        results.append((accelerator.run(x).tolist(), accelerator.counts, accelerator.engine.cycle))
    assert results[0] == results[1]


# bench


def test_bench_of_a_model(capsys, three_calls, model):
    status, out, _ = run(capsys, "bench", model, *SMALL, "--batch", "4", "--json")
    assert status == 0
    figures = json.loads(out)
    assert figures["cycles"]["alone"] > figures["cycles"]["batch"]
    assert figures["inferences_per_second"]["numpy float32, batch 4"] > 0


def test_bench_of_a_network_of_convolutions(capsys, three_calls, tmp_path):
    """The default batch is the best one, and 1 if more do not fit. Runtimes that are left out are named."""
    layers = [
        Conv.from_scale(np.ones((3, 3, 2, 4), np.int8), scale=0.05, zero_point=-128),
        Dense.from_scale(np.ones((64, 3), np.int8), scale=0.01, input_zero_point=-128),
    ]
    path = str(tmp_path / "conv.npz")
    Network(layers, (6, 6, 2)).save(Path(path))
    status, out, _ = run(capsys, "bench", path, *SMALL, "--json")
    figures = json.loads(out)
    assert status == 0
    assert figures["batch"] > 1
    assert figures["cycles"]["batch"] < figures["cycles"]["back_to_back"]
    assert any(line.startswith("ONNX Runtime is left out: ") for line in figures["left_out"])
    (tmp_path / "c.toml").write_text("input_words = 64\n")
    status, out, _ = run(capsys, "bench", path, *SMALL, "--config", str(tmp_path / "c.toml"))
    assert status == 0
    for part in ("one at a time", "numpy float32", "ONNX Runtime is left out: "):
        assert part in out
    assert "at once" not in out


def test_bench_of_int32_results(capsys, three_calls, tmp_path):
    Network([Dense(np.ones((9, 4), np.int8))]).save(tmp_path / "sums.npz")
    status, out, _ = run(capsys, "bench", str(tmp_path / "sums.npz"), *SMALL, "--json")
    figures = json.loads(out)
    assert status == 0
    assert figures["inferences_per_second"]["numpy float32, batch 1"] > 0
    assert [line.split(" is left out")[0] for line in figures["left_out"]] == ["LiteRT", "ONNX Runtime"]
