"""The demonstration: real images, classified on the simulated chip."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.config import Config
from etchnet.hdl.isa import Counter
from etchnet.host import fashion
from etchnet.host.driver import Accelerator, Counts
from etchnet.host.fashion import Split
from etchnet.host.network import Dense, Network
from etchnet.sim.link import Disagreement

__all__ = ["DemoResult", "NumpyNetwork", "RtlCheck", "check_on_rtl", "run_demo"]


class NumpyNetwork:
    """The same network on this CPU: float32 matrix products by BLAS, scaled, rounded and clamped.

    Sums of the int8 products stay below 2**24, so float32 holds them exactly; scaling rounds half to even where the
    machine rounds twice, which changes a result now and then by one. This is what the chip's speed is set beside.
    """

    def __init__(self, network: Network) -> None:
        self._layers = [
            (
                layer.weights.astype(np.float32),
                layer.folded_bias.astype(np.float32),
                np.ldexp(layer.multiplier.astype(np.float64), layer.shift - 31).astype(np.float32),
                np.float32(layer.zero_point),
                np.float32(layer.low),
                np.float32(layer.high),
            )
            for layer in network.layers
        ]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """int8 (M, inputs) to int8 (M, outputs)."""
        values = x.astype(np.float32)
        for weights, bias, scale, zero_point, low, high in self._layers:
            values = values @ weights
            values += bias
            values *= scale
            np.rint(values, out=values)
            values += zero_point
            np.clip(values, low, high, out=values)
        return values.astype(np.int8)


@dataclass(frozen=True)
class RtlCheck:
    """One tile of the network, on the exact engine and on the RTL in Amaranth's simulator."""

    rows: int
    columns: int
    images: int
    cycles: int
    equal: bool


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found; speeds in images per second."""

    engine: str
    config: Config
    images: int
    answers: np.ndarray
    accuracy: float
    batch: int
    alone: Counts
    together: Counts
    simulation_seconds: float
    numpy_alone: float
    numpy_together: float
    numpy_agreement: float

    @property
    def cycles_alone(self) -> float:
        """Cycles for one image by itself."""
        return self.alone.cycles

    @property
    def cycles_together(self) -> float:
        """Cycles per image, `batch` at once."""
        return self.together.cycles / self.images

    def to_dict(self, clock: float) -> dict[str, Any]:
        """All figures by name, for a clock in Hz."""
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
                which: {c.name.lower(): counts[c] for c in Counter}
                for which, counts in (("alone", self.alone), ("batch", self.together))
            },
            "images_per_second": {
                "chip_alone": clock / self.cycles_alone,
                "chip_batch": clock / self.cycles_together,
                "numpy_alone": self.numpy_alone,
                "numpy_batch": self.numpy_together,
            },
            "numpy_agreement": self.numpy_agreement,
            "simulation_seconds": self.simulation_seconds,
        }


def _rate(function: Callable[[], Any], images: int, *, seconds: float = 0.3) -> float:
    """Images per second: the median of repeated calls."""
    function()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return images / float(np.median(times))


def run_demo(split: Split, accelerator: Accelerator, *, batch: int) -> DemoResult:
    """Classify all images of `split`, one by itself first and then `batch` at once; time numpy on the same images."""
    network = fashion.network()
    x = fashion.quantise_image(split.images)
    start = time.perf_counter()
    accelerator.load(network)
    first = accelerator.run(x[:1])
    alone = accelerator.counts
    accelerator.load(network, batch=batch)
    scores = accelerator.run(x)
    together = accelerator.counts
    seconds = time.perf_counter() - start
    if not np.array_equal(first, scores[:1]):
        raise Disagreement("one image alone and in a batch must give the same scores")
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
        numpy_alone=_rate(lambda: on_cpu(x[:1]), 1),
        numpy_together=_rate(lambda: on_cpu(x[:batch]), len(x[:batch])),
        numpy_agreement=float((on_cpu(x).argmax(axis=1) == answers).mean()),
    )


def check_on_rtl(split: Split, *, size: int = 8, images: int = 8) -> RtlCheck:
    """Run one size x size tile of the network's first layer on two engines, and compare scores and counters."""
    layer = fashion.network().layers[0]
    # The middle of the image, where there is something to see.
    first = (fashion.SIZE // 2) * fashion.SIZE + fashion.SIZE // 2 - size // 2
    rows, columns = slice(first, first + size), slice(0, size)
    tile = Dense(
        layer.weights[rows, columns],
        layer.bias[columns],
        layer.multiplier[columns],
        layer.shift[columns],
        layer.input_zero_point,
        layer.zero_point,
    )
    config = Config(
        rows=size, columns=size, weight_tiles=2, activation_words=16, input_words=16, output_words=16,
        accumulator_rows=16, passes=4, drains=4, parameter_tiles=2,
    )  # fmt: skip
    x = fashion.quantise_image(split.images[:images])[:, rows]
    results = []
    for engine in ("exact", "amaranth"):
        accelerator = Accelerator(config, engine=engine)
        accelerator.load(Network([tile]), batch=images)
        results.append((accelerator.run(x), accelerator.counts))
    (expected, counts), (got, measured) = results
    equal = np.array_equal(expected, got) and counts == measured
    return RtlCheck(size, size, len(x), measured.cycles, equal)
