"""Networks of every layer on whole machines: outputs equal the runtime and the reference, engines equal each other."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_strategies import tflite_graphs
from needs import DATA, MODELS, needs_data, needs_models, needs_verilator
from strategies import int8, randoms

from etchnet.hdl.config import Config
from etchnet.hdl.isa import Counter, TileKind
from etchnet.host.compiler import compile_network
from etchnet.host.driver import Accelerator
from etchnet.host.fit import fitted
from etchnet.host.layers import (
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
from etchnet.host.network import INPUT, Network
from etchnet.host.places import CapacityError, Lifetime, allocate
from etchnet.host.report import block_rams
from etchnet.host.tflite import load_tflite, parse_tflite
from etchnet.sim.timing import check


@st.composite
def machines(draw, *, largest=9):
    """Machines of every shape, with memories that hold a small network and accumulators that hold a part of it."""
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
    )


def agrees(network, config, random, *, batch=1, most=0):
    """The exact engine equals the reference; the RTL equals the exact engine where a run takes at most `most` cycles."""
    x = int8(random, (batch + int(random.integers(2)), network.inputs))
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


@settings(max_examples=60)
@given(tflite_graphs(), machines(), randoms(), st.integers(1, 3))
def test_random_tflite_networks_on_any_machine(graph, config, random, batch):
    """What the file says, on a machine of any shape; the numpy reference equals TensorFlow Lite Micro (test_tflite)."""
    model = parse_tflite(graph[0])
    agrees(model.network, config, random, batch=batch, most=3000)
