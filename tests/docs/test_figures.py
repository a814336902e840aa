"""The figures that the documentation states, each from the machine's own counters."""

import numpy as np
import pytest
from support.programs import execute, input_packet, load, run

from etchnet.hdl.isa import Counter, Destination, Drain, Fold, Pass
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network
from etchnet.sim.engines.simulated import AmaranthEngine
from etchnet.sim.timing import run_counts, schedule


def gemm(size, config, **options):
    random = np.random.default_rng(0)
    x, w = (random.integers(-128, 128, (size, size)).astype(np.int8) for _ in range(2))
    accelerator = Accelerator(config)
    result = accelerator.matmul_relu(x, w, scale=1 / 1024, **options)
    assert np.array_equal(result, Dense.from_scale(w, scale=1 / 1024, low=0).reference(x))
    return accelerator


def test_gemm_64_one_shot():
    """Operands in memory to last int8 result written, the first weight load included."""
    assert gemm(64, Config()).counts.cycles == 1087


def test_gemm_256_with_weights_in_memory():
    assert gemm(256, Config()).counts.utilisation > 0.998


def test_gemm_256_with_weights_streaming_in():
    accelerator = gemm(256, Config(), stream=True)
    assert accelerator.engine.cycle < 82_100
    assert accelerator.counts[Counter.WAIT_IN] > 0


@pytest.mark.parametrize(("rows", "weight_rows"), [(8, 1), (4, 2), (8, 8)])
def test_one_pixel_passes_start_every_rows_over_weight_rows_cycles(rows, weight_rows):
    """Interleaved column tiles hide the accumulators' latency: no pass has an idle cycle."""
    config = Config(rows=rows, columns=rows, requantisers=rows, weight_rows=weight_rows, depthwise=0, residual_words=0)
    passes = [
        Pass(
            address=block,
            row=tile,
            fold=Fold.ADD if block else Fold.SET,
            wait_input=not block and not tile,
            release_input=block == 9 and tile == 7,
            release=block == 9 and tile == 7,
            wait_output=block == 9 and tile == 7,
        )
        for block in range(10)
        for tile in range(8)
    ]
    drains = [Drain(tiles=8, destination=Destination.OUTPUT, commit=True)]
    passes, drains = schedule(passes, drains, config, once=True)
    assert all(p.idle + p.idle_requantise == 0 for p in passes)
    packets = [
        *load(config, passes, drains),
        input_packet(config, np.ones((10, rows), np.int8)),
        run(config, passes, drains, 8),
    ]
    _, counts, _ = execute(AmaranthEngine(config), packets, 8)
    assert counts == run_counts(passes, drains, config)
    assert counts[Counter.ISSUE] + counts[Counter.WEIGHT_LOAD] == 80 * rows // weight_rows


@pytest.mark.parametrize(("weight_rows", "most"), [(1, 17_500), (16, 2_500)])
def test_a_deep_network_on_one_input(weight_rows, most):
    """The shape of an anomaly-detection autoencoder: 640, four times 128, 8, four times 128, 640."""
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    layers = [Dense(np.ones((a, b), np.int8), multiplier=1 << 30) for a, b in zip(widths, widths[1:], strict=False)]
    program = compile_network(Network(layers), Config(weight_rows=weight_rows))
    assert len(program.passes) == 1040
    assert program.counts()[Counter.CYCLES] <= most
