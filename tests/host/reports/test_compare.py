"""Faults that are inserted into the RTL are found at their first visible effect."""

import numpy as np
import pytest
from support.faults import late
from support.networks import SMALL_MACHINE, small_network
from support.strategies import int8

import etchnet.hdl.core.array.array
import etchnet.hdl.core.machine
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.core.output.scalers.double import DoubleRoundingScaler
from etchnet.hdl.isa import Counter
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.importers.load import load_model, plain_model
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import INPUT, Network
from etchnet.host.reports.compare import compare, default_inputs
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import LinkTrace
from etchnet.sim.engines.simulated import AmaranthEngine


@pytest.fixture
def model(tmp_path):
    """Save a small network and return its path."""
    path = tmp_path / "small.npz"
    small_network().save(path)
    return str(path)


def differences(model, config=SMALL_MACHINE, trace=None):
    loaded = load_model(model)
    return compare(
        loaded,
        lambda: ExactEngine(config, trace=trace),
        lambda: AmaranthEngine(config, trace=trace, machine=Machine(config), patience=3000),
        default_inputs(loaded, 3),
    )


def test_a_wrong_rounding_is_located(monkeypatch, model):
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
    # All earlier results are equal, so this difference is the first.
    assert a[:middle] == b[:middle]
    program = compile_network(Network(loaded.network.layers[:1]), SMALL_MACHINE)
    assert program.passes[found.pass_index].release
    assert 0 < found.cycle < program.counts()[Counter.CYCLES] + 2


def test_a_wrong_half_of_the_outputs_is_located(monkeypatch):
    """The results of each layer alone are equal: the fault is in the outputs together."""
    random = np.random.default_rng(0)
    layers = [Dense.from_scale(int8(random, (4, n)), scale=0.01) for n in (5, 6)]
    network = Network(layers, (1, 1, 4), [[INPUT], [INPUT]], outputs=[1, 0])
    original, whole = Accelerator.run, []

    def spoilt(self, x):
        y = original(self, x).copy()
        if y.shape[1] == 11:
            whole.append(y)
            y[1, 9] ^= len(whole) % 2
        return y

    monkeypatch.setattr(Accelerator, "run", spoilt)
    model = plain_model("two", network)
    engines = [lambda: ExactEngine(SMALL_MACHINE)] * 2
    found = compare(model, *engines, default_inputs(model, 2))
    assert (found.layer, found.name, found.element) == (0, "all outputs", (1, 9))
    program = compile_network(network, SMALL_MACHINE)
    assert program.layers[found.pass_index] == 0
    monkeypatch.undo()
    assert compare(model, *engines, default_inputs(model, 2)) is None


def test_a_skew_that_is_off_by_one_is_located(monkeypatch, model):
    monkeypatch.setattr(etchnet.hdl.core.array.array, "delay", late)
    found = differences(model)
    assert (found.layer, found.what) == (0, "output")
    assert found.element[0] == 0


def test_a_dropped_stall_is_located(monkeypatch, model):
    """The faulty sequencer does not wait for its input on a slow link, and computes before the input has arrived."""
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
