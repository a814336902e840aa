"""A model file on the RTL, in Amaranth's simulator and as compiled Verilog."""

from pathlib import Path

import numpy as np
import pytest
from support.needs import MODELS, needs_models, needs_verilator

from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.importers.load import load_model, plain_model
from etchnet.host.network.network import Network
from etchnet.host.reports.compare import default_inputs
from etchnet.sim.engines.simulated import AmaranthEngine


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
    """One input passes through the layers around the bottleneck; only the input is sent over the link."""
    layers = load_model(str(Path(MODELS) / "autoencoder_ad_int8.tflite")).network.layers[3:6]
    network = Network(layers)
    assert [layer.weights.shape for layer in layers] == [(128, 128), (128, 8), (8, 128)]
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
    """Twenty inputs at 16 x 16, compared with the exact engine, which other tests compare with the runtime.

    The machine is one that other tests compile too.
    """
    model = load_model(str(Path(MODELS) / "autoencoder_ad_int8.tflite"))
    x, results = default_inputs(model, 20), []
    for engine in ("exact", "verilator"):
        accelerator = Accelerator(Config(input_words=2048), engine=engine)
        accelerator.load(model.network)
        results.append((accelerator.run(x).tolist(), accelerator.counts, accelerator.engine.cycle))
    assert results[0] == results[1]
