"""One driver, or one engine, in several threads: each gets the results and counters of its own calls."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.machines import COMPILED
from support.needs import needs_verilator

from etchnet.hdl.isa.config import Config
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Dense, NetworkError
from etchnet.host.network.network import Network
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import LinkError

SMALL = Config(
    rows=4,
    columns=4,
    weight_tiles=8,
    activation_words=16,
    input_words=16,
    output_words=32,
    accumulator_rows=8,
    passes=16,
    drains=8,
    parameter_tiles=4,
)
SHAPES = [(1, 4, 4), (2, 9, 3), (40, 5, 7), (3, 60, 2), (6, 13, 30), (5, 5, 5)]
"""(M, K, N) of products; on `SMALL`, the third takes several repeats, and the fourth and fifth several programs"""


class Sleepy(ExactEngine):
    """The exact engine, which lets other threads run before and after each transfer, as a board does."""

    def exchange(self, words, count):
        time.sleep(0.001)
        received = super().exchange(words, count)
        time.sleep(0.001)
        return received


def operands(shape, seed=0):
    random = np.random.default_rng([seed, *shape])
    return [random.integers(-128, 128, s).astype(np.int8) for s in (shape[:2], shape[1:])]


def in_threads(function, values):
    """Call a function in a thread for each value, all at the same time; return the results."""
    barrier = threading.Barrier(len(values))

    def start(value):
        barrier.wait(10)
        return function(value)

    with ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(start, values))


def products(chip):
    """Multiply by one driver in several threads, and check the products against numpy."""

    def multiply(shape):
        counts = []
        for seed in range(3):
            x, w = operands(shape, seed)
            assert np.array_equal(chip.matmul(x, w), x.astype(np.int32) @ w.astype(np.int32))
            counts.append(chip.counts)
            got = chip.matmul_relu(x, w, scale=0.01)
            assert np.array_equal(got, Dense.from_scale(w, scale=0.01, low=0).reference(x))
        return counts

    for shape, counts in zip(SHAPES, in_threads(multiply, SHAPES), strict=True):
        alone = Accelerator(chip.config)
        alone.matmul(*operands(shape))
        assert counts == [alone.counts] * 3


def test_products_and_their_counters_do_not_mix():
    products(Accelerator(engine=Sleepy(SMALL)))


@needs_verilator
def test_products_of_the_compiled_verilog_do_not_mix():
    products(Accelerator(COMPILED, engine="verilator"))


@needs_verilator
def test_compiled_machines_in_several_threads_are_independent():
    in_threads(lambda _: products(Accelerator(COMPILED, engine="verilator")), range(2))


def networks():
    """Return networks that take the same inputs, and inputs."""
    random = np.random.default_rng(5)
    layers = [Dense(random.integers(-128, 128, (6, 6)).astype(np.int8)) for _ in range(4)]
    return [Network([layer]) for layer in layers], random.integers(-128, 128, (3, 6)).astype(np.int8)


def test_each_thread_runs_the_network_that_it_loaded():
    chip, (loaded, x) = Accelerator(engine=Sleepy(SMALL)), networks()
    together = threading.Barrier(len(loaded))

    def run(network):
        chip.load(network)
        together.wait(10)
        for _ in range(3):
            assert np.array_equal(chip.run(x), network.reference(x))
            chip.matmul(x, x.T)

    in_threads(run, loaded)


def test_threads_that_load_nothing_run_what_was_loaded_last():
    chip, (loaded, x) = Accelerator(engine=Sleepy(SMALL)), networks()
    with pytest.raises(NetworkError, match="no network is loaded"):
        chip.run(x)
    for network in loaded[:2]:
        chip.load(network)
        results = in_threads(lambda _: (chip.run(x), chip.counts), range(4))
        assert all(np.array_equal(result, network.reference(x)) for result, _ in results)
        assert all(counts == results[0][1] for _, counts in results)


def test_two_drivers_of_one_engine_do_not_mix():
    engine, (loaded, x) = Sleepy(SMALL), networks()
    chips = [Accelerator(engine=engine) for _ in loaded]
    for chip, network in zip(chips, loaded, strict=True):
        chip.load(network)
    results = in_threads(lambda chip: [chip.run(x) for _ in range(3)], chips)
    for network, runs in zip(loaded, results, strict=True):
        assert all(np.array_equal(result, network.reference(x)) for result in runs)


def test_after_an_interruption_nothing_is_mixed_up():
    """The words of the interrupted run are still under way, and would be taken for those of the next one."""

    class Interrupted(ExactEngine):
        def exchange(self, words, count):
            received = super().exchange(words, count)
            if count:
                raise KeyboardInterrupt
            return received

    chip, (loaded, x) = Accelerator(engine=Interrupted(SMALL)), networks()
    chip.load(loaded[0])
    with pytest.raises(KeyboardInterrupt):
        chip.run(x)
    for call in (lambda: chip.run(x), lambda: chip.matmul(x, x.T), lambda: chip.load(loaded[0])):
        with pytest.raises(LinkError, match="an earlier transfer stopped halfway"):
            call()


@needs_verilator
def test_a_closed_engine_says_so():
    chip = Accelerator(COMPILED, engine="verilator")
    chip.engine.close()
    with pytest.raises(LinkError, match="the engine is closed"):
        chip.matmul(*operands((1, 2, 3)))
    with pytest.raises(LinkError, match="the engine is closed"):
        assert chip.engine.cycle
