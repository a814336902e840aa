"""A network that does not fit is told all that falls short at once, and it fits a machine with that; memories grow."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import error, run
from support.model_strategies import tflite_graphs
from support.needs import MODELS, needs_models

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import TOP, VerilogDesign
from etchnet.host.compiler.capacity import MEMORIES, CapacityError, resized
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.importers.load import load_model
from etchnet.host.importers.tflite.importer import load_tflite
from etchnet.host.network.layers import Conv, Dense, MaxPool, Pad
from etchnet.host.network.network import Network
from etchnet.host.reports.fit import fitted


@st.composite
def tight_machines(draw):
    """Return machines of every shape, most with several memories that are too small for almost any network."""
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    values = {name: draw(st.sampled_from([2, 2, 3, 8, 40, 300])) for name in MEMORIES}
    values |= {name: draw(st.sampled_from([2, 2, 8, 64])) for name in ("input_words", "output_words")}
    values["accumulator_rows"] = draw(st.sampled_from([4, 5, 16, 100]))
    if draw(st.booleans()):
        values |= {"depthwise": 0, "residual_words": 0}
    return Config(rows=rows, columns=columns, requantisers=1, **values)


def network_of(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "graph.tflite"
    path.write_bytes(graph[0])
    return load_tflite(path).network


def shortage(network, machine, **options):
    """Return what falls short of a network's needs; if nothing does, check its outputs."""
    try:
        program = compile_network(network, machine, **options)
    except CapacityError as caught:
        return caught.short or pytest.fail("no machine holds the network")
    gives_the_reference(network, program)
    return {}


def gives_the_reference(network, program):
    """Check that every instruction can be encoded, and that a run gives the outputs of the network in numpy."""
    x = np.random.default_rng(0).integers(-128, 128, (program.batch + 1, network.input_size)).astype(np.int8)
    for instruction in (*program.passes, *program.drains):
        instruction.encode(program.config)
    accelerator = Accelerator(program.config)
    accelerator.load_program(program)
    assert np.array_equal(accelerator.run(x), network.reference(x))


@settings(max_examples=8)
@given(
    tflite_graphs(operators=4, images=1),
    tight_machines(),
    st.sampled_from([1, 1, 3]),
    st.sets(st.sampled_from(MEMORIES)),
)
def test_a_machine_with_all_that_falls_short_holds_the_network(tmp_path_factory, graph, machine, batch, fixed):
    """One step is enough, whichever memories may grow."""
    network = network_of(graph, tmp_path_factory)
    machine = dataclasses.replace(machine, contract=network.contract)
    if short := shortage(network, machine, batch=batch):
        assert all(value > getattr(machine, name) for name, value in short.items())
        larger = resized(machine, short)
        gives_the_reference(network, compile_network(network, larger, batch=batch))
        assert compile_network(network, machine, batch=batch, grow=MEMORIES).config == larger
    grow = set(MEMORIES) - fixed
    short = shortage(network, machine, batch=batch, grow=grow)
    assert set(short) <= fixed
    machine = resized(machine, short)
    program = compile_network(network, machine, batch=batch, grow=grow)
    assert all(getattr(program.config, name) == getattr(machine, name) for name in fixed)
    assert all(getattr(program.config, name) >= getattr(machine, name) for name in grow)


@settings(max_examples=10)
@given(tflite_graphs(operators=4, images=1), tight_machines())
def test_the_smallest_machine_of_a_network_holds_it(tmp_path_factory, graph, machine):
    network = network_of(graph, tmp_path_factory)
    machine = dataclasses.replace(machine, accumulator_rows=70, contract=network.contract)
    program = fitted(network, machine)
    gives_the_reference(network, program)
    again = compile_network(network, program.config)
    assert again.repeat_cycles <= program.repeat_cycles
    kept = fitted(network, dataclasses.replace(machine, passes=3000), keep=["passes"])
    assert (kept.config.passes, len(kept.passes)) == (3000, len(program.passes))


def test_accumulators_that_are_too_few_are_named_with_all_the_rest():
    """Maxima over channels in more words than there are accumulator rows; a pass exists only with more of them."""
    network = Network([MaxPool((2, 2))], (4, 4, 24))
    machine = Config(rows=1, columns=24, requantisers=24, accumulator_rows=4, input_words=16, passes=2)
    with pytest.raises(CapacityError) as caught:
        compile_network(network, machine)
    assert set(caught.value.short) == {"accumulator_rows", "input_words", "passes"}
    gives_the_reference(network, compile_network(network, resized(machine, caught.value.short)))
    assert compile_network(network, machine, grow=MEMORIES).config == resized(machine, caught.value.short)


def test_a_border_needs_address_bits_that_the_tensor_does_not():
    """The address of a tap far outside a small image is far below word 0."""
    weights = np.ones((3, 3, 4, 4), np.int8)
    layer = Conv.from_scale(weights, scale=0.001, padding=((3, 3), (3, 3)))
    network = Network([Conv.from_scale(weights[:1, :1], scale=0.1), layer], (2, 2, 4))
    program = fitted(network, Config(rows=4, columns=4))
    assert program.config.activation_words > program.activation_words
    gives_the_reference(network, program)


def test_a_column_tile_that_no_input_reaches_has_a_tile_of_zeros():
    """Channels that padding adds are sums of nothing; without the tile, a pass would read beyond the weights."""
    layers = [
        Conv.from_scale(np.ones((1, 1, 1, 1), np.int8), scale=0.5),
        Pad(((0, 0), (0, 0)), value=-57, channels=(0, 1)),
    ]
    network = Network(layers, (1, 2, 1))
    program = fitted(network, Config(rows=1, columns=1))
    assert max(p.weights for p in program.passes) < program.config.weight_tiles
    gives_the_reference(network, program)


def test_what_no_machine_holds_is_said():
    network = Network([Conv.from_scale(np.ones((1, 1, 1, 1), np.int8), scale=1)], (2048, 2048, 1))
    with pytest.raises(
        CapacityError, match="input_words would have to be 4194304, but no machine has more than 1048576"
    ):
        compile_network(network, Config(), grow=MEMORIES)


def test_a_picture_of_320_by_240_pixels_fits():
    layers = [Conv.from_scale(np.ones((3, 3, 3, 8), np.int8), scale=0.01, stride=(4, 4)), MaxPool((4, 4), (4, 4))]
    network = Network(layers, (240, 320, 3))
    program = compile_network(network, Config(), packed="none", grow=MEMORIES)
    assert program.config.input_words == 131_072
    gives_the_reference(network, program)
    assert fitted(network, Config(), packed="none").config.input_words == 131_072


def test_more_activations_than_65536_words_fit():
    layers = [
        Conv.from_scale(np.ones((1, 1, 1, 96), np.int8), scale=0.01),
        Conv.from_scale(np.ones((1, 1, 96, 1), np.int8), scale=0.01, stride=(8, 8)),
    ]
    network = Network(layers, (112, 112, 1))
    program = compile_network(network, Config(), grow=MEMORIES)
    assert program.config.activation_words == 6 * 112 * 112
    gives_the_reference(network, program)
    assert fitted(network, Config()).config.activation_words == 6 * 112 * 112


# The command line

DEFAULT = {"resnet8_cifar10": 50_572, "dscnn_kws": 12_705, "autoencoder_ad": 16_703}
"""cycles of one input on the default machine"""


@needs_models
@pytest.mark.parametrize("name", DEFAULT)
def test_models_that_fit_the_default_machine_keep_it(capsys, name):
    path = str(Path(MODELS) / f"{name}_int8.tflite")
    status, out, err = run(capsys, "report", path)
    assert (status, err) == (0, "")
    assert f"\n{DEFAULT[name]:,} cycles from operands in memory" in out


@needs_models
def test_resnet_with_the_command_of_the_readme_has_its_figure(capsys):
    path = str(Path(MODELS) / "resnet8_cifar10_int8.tflite")
    status, out, err = run(capsys, "report", path, "--set", "input_words=2048")
    assert (status, err) == (0, "")
    assert "\n49,627 cycles from operands in memory" in out


def test_the_demonstration_keeps_the_default_machine():
    network = load_model("demo").network
    assert compile_network(network, Config(contract=network.contract), grow=MEMORIES).config == Config(
        contract=network.contract
    )


def large_model(folder):
    """Save a network whose input has more words than the default machine's input memory, and return its path."""
    random = np.random.default_rng(1)
    first, last = (random.integers(-128, 128, shape).astype(np.int8) for shape in ((1, 1, 17, 8), (8, 10)))
    layers = [Conv.from_scale(first, scale=0.002), MaxPool((24, 24)), Dense.from_scale(last, scale=0.01)]
    path = folder / "large.npz"
    Network(layers, (24, 24, 17)).save(path)
    return str(path)


def test_all_commands_agree_on_the_machine(capsys, tmp_path, monkeypatch):
    """Each prints the same line about the memories that grew, and none with --json."""
    # Generating the Verilog of so large a machine takes as long as all the rest.
    monkeypatch.setattr(
        "etchnet.hdl.targets.verilog.generate", lambda config, **_: VerilogDesign(config, {f"{TOP}.v": ""})
    )
    model, x = large_model(tmp_path), tmp_path / "x.npy"
    np.save(x, np.zeros((1, 24, 24, 17), np.int8))
    out = str(tmp_path / "out")
    lines = set()
    for arguments in (
        ["run", model, "--input", str(x)],
        ["report", model],
        ["trace", model, "-o", f"{out}.json"],
        ["state", model, "--cycle", "9"],
        ["verilog", "--network", model, "-o", out],
        ["compare", model, "--engines", "exact,exact"],
    ):
        status, _, err = run(capsys, *arguments)
        assert status == 0, (arguments, err)
        lines.add(err)
    (line,) = lines
    assert re.fullmatch(
        r"memories enlarged for this model: input_words = 2048; no board holds it: ulx3s-85f .*\n", line
    )
    status, _, err = run(capsys, "report", model, "--json")
    assert (status, err) == (0, "")


def test_the_options_that_an_error_names_do(capsys, tmp_path):
    model = large_model(tmp_path)
    tight = ["--rows", "8", "--set", "activation_words=100", "--set", "passes=9", "--set", "weight_tiles=3"]
    message = error(capsys, "report", model, *tight)
    assert message.startswith("the machine is too small for 1 input of this network at once: weight_tiles = 3 (")
    assert "activation_words = 100 (" in message
    assert "passes = 9 (" in message
    remedy = message.partition("; it fits with ")[2].split()
    assert len(remedy) == 6
    status, _, _ = run(capsys, "report", model, *tight, *remedy)
    assert status == 0
    # A machine that is given in full does not grow.
    (tmp_path / "machine.toml").write_text(Config(passes=9).to_toml())
    given = ["report", model, "--config", str(tmp_path / "machine.toml")]
    message = error(capsys, *given)
    assert "input_words = 1024 (2048 is enough)" in message
    status, _, err = run(capsys, *given, *message.partition("; it fits with ")[2].split())
    assert (status, err) == (0, "")
