"""Demonstration: classification of real images on the simulated chip."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.counters import by_name
from etchnet.host.compiler.program import Program
from etchnet.host.data import fashion
from etchnet.host.data.fashion import Split
from etchnet.host.driver.counts import Counts
from etchnet.host.driver.driver import Accelerator
from etchnet.host.importers.load import plain_model
from etchnet.host.network.layers import Conv
from etchnet.host.network.network import Network
from etchnet.host.reports.cpu import on_numpy
from etchnet.host.reports.fit import one_and_many
from etchnet.host.reports.numpy_network import NumpyNetwork
from etchnet.host.reports.runtimes import runtimes
from etchnet.host.reports.stopwatch import Timing, measured
from etchnet.sim.engines.link import Disagreement

__all__ = ["DemoResult", "RtlCheck", "check_on_rtl", "run_demo"]

_LEAST = 0.15
"""seconds for which each runtime is timed"""


@dataclass(frozen=True)
class RtlCheck:
    """Comparison of a part of the network's last convolution, on the exact engine and on the RTL in Amaranth."""

    rows: int
    columns: int
    kernel: tuple[int, int]
    pixels: tuple[int, int]
    """height and width of input and output"""
    channels: int
    """channels of the input, which equal those of the output"""
    cycles: int
    equal: bool
    """whether results and counters are equal"""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class DemoResult:
    """Accuracy, cycles and speed of the demonstration."""

    engine: str
    config: Config
    images: int
    """number of images"""
    answers: np.ndarray
    """class of each image, int64 (images,)"""
    accuracy: float
    """share of correct answers"""
    batch: int
    """images that are computed together"""
    alone: Counts
    """counters of a run with one image"""
    together: Counts
    """counters of a run with all images, in batches"""
    simulation_seconds: float
    """wall time of both runs"""
    cpu: dict[str, tuple[Timing, Timing]]
    """wall time per image on one thread of this CPU, one at a time and in batches, by runtime"""
    numpy_agreement: float
    """share of images for which numpy gives the same answer"""

    @property
    def cycles_alone(self) -> float:
        """Cycles for a single image."""
        return self.alone.cycles

    @property
    def cycles_together(self) -> float:
        """Cycles per image in batches."""
        return self.together.cycles / self.images

    def _timings(self) -> Iterator[tuple[str, str, Timing]]:
        for name, both in self.cpu.items():
            for how, timing in zip(("alone", "batch"), both, strict=True):
                yield name, how, timing

    def to_dict(self, clock: float) -> dict[str, Any]:
        """Return all figures by name, for a clock in Hz."""
        return {
            "engine": self.engine,
            "config": self.config.to_dict(),
            "images": self.images,
            "accuracy": self.accuracy,
            "clock_hz": clock,
            "batch": self.batch,
            "cycles_per_image": {"alone": self.cycles_alone, "batch": self.cycles_together},
            "utilisation": {"alone": self.alone.utilisation, "batch": self.together.utilisation},
            "shares": {"alone": self.alone.shares(), "batch": self.together.shares()},
            "counters": {
                which: by_name(counts.totals) for which, counts in (("alone", self.alone), ("batch", self.together))
            },
            "images_per_second": {
                "chip_alone": clock / self.cycles_alone,
                "chip_batch": clock / self.cycles_together,
                **{f"{name}, {how}": 1 / timing.median for name, how, timing in self._timings()},
            },
            "cpu": {f"{name}, {how}": timing.to_dict() for name, how, timing in self._timings()},
            "numpy_agreement": self.numpy_agreement,
            "simulation_seconds": self.simulation_seconds,
        }


def run_demo(split: Split, accelerator: Accelerator, first: Program, *, batch: int | None = None) -> DemoResult:
    """Classify the first image of `split` alone, then all images in batches of `batch`, and time numpy on the same.

    The default batch is the best one that `one_and_many` finds, whose `first` is the demonstration's program.

    Raises
    ------
    CapacityError
        The machine cannot hold the network.
    Disagreement
        The scores of the first image differ between the two runs.
    """
    network = fashion.network()
    x = fashion.quantise_image(split.images)
    one, many = one_and_many(network, first, batch=batch)
    batch = many.batch
    start = time.perf_counter()
    accelerator.load_program(one)
    scores_alone = accelerator.run(x[:1])
    alone = accelerator.counts
    accelerator.load_program(many)
    scores = accelerator.run(x)
    together = accelerator.counts
    seconds = time.perf_counter() - start
    if not np.array_equal(scores_alone, scores[:1]):
        raise Disagreement("the scores of the first image alone differ from its scores in a batch")
    answers = scores.argmax(axis=1)
    on_cpu = NumpyNetwork(network)
    return DemoResult(
        engine=accelerator.engine.name,
        config=accelerator.config,
        images=len(x),
        answers=answers,
        accuracy=float((answers == split.labels).mean()),
        batch=batch,
        alone=alone,
        together=together,
        simulation_seconds=seconds,
        cpu={name: (found[0], found[-1]) for name, found in _on_cpu(network, on_cpu, x[:1], x[:batch]).items()},
        numpy_agreement=float((on_cpu(x).argmax(axis=1) == answers).mean()),
    )


def _on_cpu(network: Network, on_cpu: NumpyNetwork, *inputs: np.ndarray) -> dict[str, list[Timing]]:
    """Time one image in numpy and, where it is installed, in LiteRT, on one thread, for each array of inputs."""
    timings: dict[str, list[Timing]] = {}
    for x in inputs:
        in_numpy = on_numpy(f"numpy {np.__version__}", partial(on_cpu, x), threads=(1,))
        accepted = [network.reference(x), on_cpu(x)]
        others = runtimes(plain_model("demo", network), x, accepted, names=("LiteRT",), threads=(1,))
        for runtime in chain(in_numpy, others):
            timings.setdefault(runtime.name, []).append(measured(runtime.run, least=_LEAST).per(len(x)))
    return timings


def check_on_rtl(split: Split, *, size: int = 8) -> RtlCheck:
    """Run a part of the last convolution on the exact engine and on the RTL, and compare results and counters.

    The part has `size` input and output channels and runs on an array of `size` x `size` elements. The previous layers
    compute its input from the first image. Its windows extend beyond every edge, so the check covers padding.
    """
    network = fashion.network()
    index = max(i for i, layer in enumerate(network.layers) if isinstance(layer, Conv))
    layer = network.layers[index]
    assert isinstance(layer, Conv)
    (source,) = network.source_shapes(index)
    before = network.upto(index - 1).reference(fashion.quantise_image(split.images[:1])).reshape(source)
    # Choose the channels that vary most, because others may be zero everywhere.
    chosen = np.sort(np.argsort(before.reshape(-1, source[2]).std(axis=0))[-size:])
    piece = dataclasses.replace(
        layer,
        weights=layer.weights[:, :, chosen, :size],
        bias=layer.bias[:size],
        multiplier=layer.multiplier[:size],
        shift=layer.shift[:size],
    )
    config = Config(
        rows=size,
        columns=size,
        weight_tiles=16,
        activation_words=64,
        input_words=64,
        output_words=64,
        accumulator_rows=64,
        passes=64,
        drains=8,
        parameter_tiles=2,
        depthwise=0,
        residual_words=0,
    )
    x = before[:, :, chosen].reshape(1, -1)
    results = []
    for engine in ("exact", "amaranth"):
        accelerator = Accelerator(config, engine=engine)
        accelerator.load(Network([piece], [(source[0], source[1], size)]))
        results.append((accelerator.run(x), accelerator.counts))
    (expected, counts), (got, measured) = results
    equal = np.array_equal(expected, got) and counts == measured
    return RtlCheck(size, size, piece.kernel, source[:2], size, measured.cycles, equal)
