"""Benchmarks: cycles of the chip, the time to simulate them, and the time of the same computation on this CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.counters import by_name
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.program import Program
from etchnet.host.driver.counts import Counts
from etchnet.host.driver.driver import Accelerator
from etchnet.host.importers.load import plain_model
from etchnet.host.network.layers import Dense
from etchnet.host.network.model import Model
from etchnet.host.network.network import Network
from etchnet.host.reports.compare import default_inputs
from etchnet.host.reports.cpu import on_numpy
from etchnet.host.reports.fit import one_and_many
from etchnet.host.reports.numpy_network import NumpyNetwork
from etchnet.host.reports.product import SCALE
from etchnet.host.reports.runtimes import Runtime, runtimes
from etchnet.host.reports.stopwatch import Timing, measured, shortest
from etchnet.sim.arithmetic.contracts import contract_of
from etchnet.sim.engines.link import Disagreement

__all__ = [
    "EngineResult",
    "GemmResult",
    "ModelResult",
    "bench_engines",
    "bench_gemm",
    "bench_model",
]

_OFTEN = 0.5
"""seconds; shorter runs on engines that step through cycles are repeated for a better measurement"""


@dataclass(frozen=True)
class GemmResult:
    """Figures of one square int8 product, with operands and results in the chip's memories except for `streamed`."""

    size: int
    counts: Counts
    streamed: int | None
    """cycles from the first link word to the last, with weights streaming in; None if the weights do not fit"""
    simulation: dict[str, float]
    """wall time by engine in seconds, links included"""
    simulated: int
    """cycles that each engine simulated, loading included"""
    cpu: dict[str, Timing]
    """wall time on this CPU, by runtime"""

    @property
    def ideal(self) -> int:
        """Cycles of the product if every multiplier did useful work in every cycle."""
        return ceil_div(self.size**3, self.counts.config.multipliers)

    def to_dict(self, clock: float) -> dict[str, Any]:
        """Return all figures by name, for a clock in Hz."""
        return {
            "size": self.size,
            "cycles": self.counts.cycles,
            "ideal_cycles": self.ideal,
            "share_of_ideal": self.ideal / self.counts.cycles,
            "streamed_cycles": self.streamed,
            "streamed_share_of_ideal": None if self.streamed is None else self.ideal / self.streamed,
            "counters": by_name(self.counts.totals),
            "shares": self.counts.shares(),
            "chip_seconds": self.counts.cycles / clock,
            "simulation_seconds": self.simulation,
            "simulated_cycles_per_second": {name: self.simulated / s for name, s in self.simulation.items()},
            "cpu": {name: timing.to_dict() for name, timing in self.cpu.items()},
        }


def _on_numpy(x: np.ndarray, w: np.ndarray) -> Iterator[Runtime]:
    """Yield numpy's bare float32 product, and the int8 product that converts to float32, scales, rounds and clamps."""
    x32, w32 = x.astype(np.float32), w.astype(np.float32)

    def through_float32() -> np.ndarray:
        sums = x.astype(np.float32) @ w32
        return np.clip(np.rint(sums * np.float32(SCALE)), 0, 127).astype(np.int8)

    yield from on_numpy("numpy float32", lambda: x32 @ w32)
    yield from on_numpy("numpy int8 through float32", through_float32)


@dataclass(frozen=True)
class ModelResult:
    """Figures of one network: cycles on the chip, and the time of one inference on this CPU."""

    name: str
    batch: int
    alone: int
    """cycles from one input in memory to its result in memory"""
    back_to_back: int
    """cycles per input for inputs one after the other, with link transfers overlapped"""
    batched: float
    """cycles per input for batches of `batch` inputs, with link transfers overlapped"""
    config: Config
    cpu: dict[str, dict[int, Timing]]
    """wall time per input, by runtime and batch; results are checked before they are timed"""
    left_out: list[str]
    """messages that explain why a runtime is missing from `cpu`, or from one of its batches"""

    def to_dict(self, clock: float) -> dict[str, Any]:
        """Return all figures by name, for a clock in Hz."""
        return {
            "model": self.name,
            "config": self.config.to_dict(),
            "clock_hz": clock,
            "batch": self.batch,
            "cycles": {"alone": self.alone, "back_to_back": self.back_to_back, "batch": self.batched},
            "inferences_per_second": {
                "chip_back_to_back": clock / self.back_to_back,
                "chip_batch": clock / self.batched,
                **{f"{name}, batch {b}": 1 / t.median for name, found in self.cpu.items() for b, t in found.items()},
            },
            "cpu": {name: {str(b): t.to_dict() for b, t in found.items()} for name, found in self.cpu.items()},
            "left_out": self.left_out,
        }


def bench_model(
    model: Model, first: Program, *, batch: int | None = None, report: Callable[[str], None] = lambda line: None
) -> ModelResult:
    """Run a model on the exact engine, and time numpy, LiteRT and ONNX Runtime on the same inputs.

    All results are checked. The default batch is the best one that `one_and_many` finds.

    Parameters
    ----------
    first
        The model's network compiled for the machine: for a batch of `batch`, or else of one.

    Raises
    ------
    CapacityError
        The machine cannot hold the network.
    Disagreement
        Results of the engine or of a runtime differ from the reference.
    """
    network, config = model.network, first.config
    report("compiling")
    one, many = one_and_many(network, first, batch=batch)
    batch = many.batch
    x = default_inputs(model, 4 * batch)
    expected = network.reference(x)

    chip, cycles = Accelerator(config), []
    for program, items in ((one, 1), (one, len(x)), (many, len(x))):
        report(f"{items} input{'s'[: items != 1]} on the chip")
        chip.load_program(program)
        if not np.array_equal(chip.run(x[:items]), expected[:items]):
            raise Disagreement("the results of the exact engine differ from the reference")
        cycles.append(chip.counts.cycles)
    on_cpu = NumpyNetwork(network)
    on_cpu.check(network, x[:batch])
    cpu: dict[str, dict[int, Timing]] = {}
    left_out: dict[str, None] = {}
    for size in sorted({1, batch}):
        some = x[:size]
        accepted = [expected[:size], on_cpu(some)]
        others = runtimes(model, some, accepted, left_out=left_out.setdefault)
        for runtime in chain(on_numpy("numpy float32", partial(on_cpu, some)), others):
            report(f"{runtime.name}, batch {size}")
            cpu.setdefault(runtime.name, {})[size] = measured(runtime.run).per(size)
            del runtime  # Its threads must end before the next runtime is timed.
    batched = many.repeat_cycles / batch
    return ModelResult(model.name, batch, cycles[0], one.repeat_cycles, batched, config, cpu, list(left_out))


def bench_gemm(
    sizes: Sequence[int],
    config: Config,
    engines: Sequence[str],
    *,
    report: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> list[GemmResult]:
    """Run ``relu(x @ w)``, requantised to int8, for each size on every engine, and check all results against numpy.

    Raises
    ------
    Disagreement
        Results differ from numpy's, or counters differ between engines.
    """
    random = np.random.default_rng(0)
    contract = contract_of(config)
    multiplier, shift = contract.quantise(SCALE)
    results = []
    for size in sizes:
        x, w = (random.integers(-128, 128, (size, size)).astype(np.int8) for _ in range(2))
        # float64 represents these sums exactly, and its BLAS product is much faster than an integer product.
        sums = (x.astype(np.float64) @ w.astype(np.float64)).astype(np.int64)
        expected = contract.requantise(sums, multiplier, max(shift, 0), max(-shift, 0), low=0)
        simulation: dict[str, float] = {}
        counts, simulated = Counts.zero(config), 0
        for engine in engines:
            report(f"{size} x {size} x {size} on {engine}")
            accelerator = Accelerator(config, engine=engine, **(options.get(engine) or {}))
            start = time.perf_counter()
            got = accelerator.matmul_relu(x, w, scale=SCALE)
            simulation[engine] = time.perf_counter() - start
            if not np.array_equal(got, expected):
                raise Disagreement(f"the product of engine {engine} differs from numpy's at size {size}")
            if len(simulation) > 1 and counts != accelerator.counts:
                raise Disagreement(
                    f"the counters of engine {engine} are {accelerator.counts.totals}, not {counts.totals}"
                )
            counts, simulated = accelerator.counts, accelerator.engine.cycle
        report(f"{size} x {size} x {size}, weights streaming in")
        streaming = Accelerator(config)
        try:
            if not np.array_equal(streaming.matmul_relu(x, w, scale=SCALE, stream=True), expected):
                raise Disagreement(f"the product with streamed weights differs from numpy's at size {size}")
            streamed = streaming.engine.cycle
        except CapacityError:
            streamed = None
        report(f"{size} x {size} x {size} on this CPU")
        cpu = {runtime.name: measured(runtime.run) for runtime in _on_numpy(x, w)}
        layer = Dense.from_scale(w, scale=SCALE, low=0, contract=config.contract)
        for runtime in runtimes(plain_model("gemm", Network([layer], contract=config.contract)), x, [expected]):
            cpu[f"{runtime.name}, int8"] = measured(runtime.run)
            del runtime  # Its threads must end before the next runtime is timed.
        results.append(GemmResult(size, counts, streamed, simulation, simulated, cpu))
    return results


@dataclass(frozen=True)
class EngineResult:
    """Times of one loaded program that several engines run on the same inputs in one process."""

    name: str
    inputs: int
    cycles: int
    """cycles of the run, from the machine's counters; equal on all engines"""
    seconds: dict[str, float]
    """wall time by engine in seconds: packing and sending inputs, receiving and unpacking results, reading counters"""

    def to_dict(self, clock: float) -> dict[str, Any]:
        """Return all figures by name, for a clock in Hz."""
        return {
            "name": self.name,
            "inputs": self.inputs,
            "cycles": self.cycles,
            "chip_seconds": self.cycles / clock,
            "seconds": self.seconds,
            "cycles_per_second": {name: self.cycles / seconds for name, seconds in self.seconds.items()},
        }


def bench_engines(
    programs: Sequence[tuple[str, Program, np.ndarray]],
    engines: Sequence[str],
    *,
    report: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> list[EngineResult]:
    """Measure how fast engines simulate programs, given as (name, program, inputs) with inputs int8 (M, input_size).

    The first run on `exact`, which prepares its tables, is not counted. Runs that take half a second or more on other
    engines are not repeated.

    Raises
    ------
    Disagreement
        Results or counters differ between engines.
    """
    results = []
    for name, program, x in programs:
        seconds: dict[str, float] = {}
        outputs, counts = np.zeros(0), Counts.zero(program.config)
        for engine in engines:
            report(f"{name} on {engine}")
            accelerator = Accelerator(program.config, engine=engine, **(options.get(engine) or {}))
            accelerator.load_program(program)
            start = time.perf_counter()
            got = accelerator.run(x)
            seconds[engine] = time.perf_counter() - start
            agree = np.array_equal(got, outputs) and accelerator.counts == counts
            if len(seconds) > 1 and not agree:
                raise Disagreement(f"results or counters of {engine} differ from those of {engines[0]} for {name}")
            outputs, counts = got, accelerator.counts
            if engine == "exact" or seconds[engine] < _OFTEN:
                seconds[engine] = shortest(partial(accelerator.run, x), least=1.0)
        results.append(EngineResult(name, len(x), counts.cycles, seconds))
    return results
