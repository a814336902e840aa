"""Components on Amaranth's simulator, hidden behind functions."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Fragment, Module, Signal, Value
from amaranth.sim import Simulator

from etchnet.hdl.blocks.technology import Technology
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.core.output.requantiser import Requantiser
from etchnet.hdl.isa import Parameters, Target, chunks, word_bits
from etchnet.hdl.isa.config import Config


class Copying(Technology):
    """The portable technology, except that every other copy is a register of its own, loaded from `before`."""

    def duplicate_register(self, m: Module, before: Value, after: Value, count: int, *, name: str) -> list[Value]:
        """Return `after` and registers in turn: tests notice whichever of both is wrong."""
        copies: list[Value] = [Signal(len(after), name=f"{name}_copy_{index}") for index in range(count)]
        m.d.sync += [copy.eq(before) for copy in copies]
        return [copy if index % 2 else after for index, copy in enumerate(copies)]


class Platform:
    """The platform of a simulation."""

    def __init__(self, technology: Technology) -> None:
        self.technology = technology


def simulate(component: Any, bench: Any, technology: Technology | None = None) -> None:
    """Run one testbench to its end, by default with the technology `Copying`."""
    simulator = Simulator(Fragment.get(component, Platform(technology or Copying())))
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


def port(component: Any, path: str) -> Value:
    """Return a port, or a part of one, by its path: ``fold.row``, ``banks.1.values.0``."""
    found = component
    for name in path.split("."):
        found = found[int(name)] if name.isdecimal() else getattr(found, name)
    return Value.cast(found)


def int32_lanes(values: Any) -> int:
    """Return int32 values as a port of that many lanes takes them: one number, the first value lowest."""
    return int.from_bytes(np.asarray(values, dtype="<i4").tobytes(), "little")


def bus_writes(config: Config, target: Target, words: Sequence[int]) -> Iterator[dict[str, int]]:
    """Yield the inputs, cycle by cycle, with which a loader writes packet words from address 0 on, and then stops."""
    mask = (1 << config.link_bits) - 1
    for address, word in enumerate(words):
        for chunk in range(chunks(word_bits(target, config), config)):
            data = word >> chunk * config.link_bits & mask
            yield {"write": 1, "bus.address": address, "bus.chunk": chunk, "bus.data": data}
    yield {"write": 0}


class Outputs:
    """The ports of a component in the current cycle, by path."""

    def __init__(self, component: Any, ctx: Any) -> None:
        self._component, self._ctx = component, ctx

    def __getitem__(self, path: str) -> int:
        value: int = self._ctx.get(port(self._component, path))
        return value


def run(component: Any, bench: Generator[Mapping[str, int], Outputs, Any], *, cycles: int = 5000) -> Any:
    """Run a bench that is a generator, and return its result; fail if it has not ended after a number of cycles.

    It yields the inputs of a cycle by path, and is sent the outputs of the same cycle, before the edge that ends it. An
    input that it does not name keeps its value.
    """
    found: list[Any] = []

    async def process(ctx: Any) -> None:
        outputs = Outputs(component, ctx)
        try:
            inputs = next(bench)
            for _ in range(cycles):
                for path, value in inputs.items():
                    ctx.set(port(component, path), value)
                inputs = bench.send(outputs)
                await ctx.tick()
        except StopIteration as stop:
            found.append(stop.value)

    simulate(component, process)
    assert found, f"the bench has not ended after {cycles} cycles"
    return found[0]


def requantise(config: Config, rows: Sequence[dict[str, int]], *, raw: bool = False) -> list[int]:
    """Return one result for each of `rows`: value, bias, multiplier, left, right, zero_point, low, high; one a cycle.

    The `raw` of a row takes precedence over that of all.
    """
    component = Requantiser(config)
    latency = component.latency(config)
    delays = {"zero_point": component.zero_point_delay(config), "low": component.clamp_delay(config)}
    results = []

    async def bench(ctx: Any) -> None:
        for cycle in range(len(rows) + latency):
            if cycle < len(rows):
                row = rows[cycle]
                ctx.set(component.value, row["value"])
                ctx.set(component.raw, row.get("raw", raw))
                ctx.set(
                    component.parameters.as_value(),
                    Parameters(**{n: row[n] for n in ("bias", "multiplier", "left", "right")}).encode(config),
                )
            if 0 <= (index := cycle - delays["zero_point"]) < len(rows):
                ctx.set(component.zero_point, rows[index]["zero_point"])
            if 0 <= (index := cycle - delays["low"]) < len(rows):
                ctx.set(component.low, rows[index]["low"])
                ctx.set(component.high, rows[index]["high"])
            if cycle >= latency:
                results.append(ctx.get(component.result))
            await ctx.tick()

    simulate(component, bench)
    return results


def array(
    config: Config,
    passes: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    windowed: Sequence[int] = (),
    line_delay: int = 0,
    technology: Technology | None = None,
) -> list[np.ndarray]:
    """Run passes of (tile, pixels) back to back at the machine's own pace, and return the sums of each.

    Tiles are int8 (rows, columns), pixels int8 (M, rows). Weights ride the wavefront, as `SystolicArray` expects.
    `windowed` has a bit for each cycle from the first pixel on.
    """
    component = SystolicArray(config)
    latency, band = component.latency(config), config.load_cycles
    starts, cycle = [], 1
    for _, pixels in passes:
        starts.append(cycle)
        cycle += max(len(pixels), band)
    end = cycle + latency + 1
    vectors = {start + i: p for start, (_, pixels) in zip(starts, passes, strict=True) for i, p in enumerate(pixels)}
    sums: dict[int, np.ndarray] = {}

    async def bench(ctx: Any) -> None:
        ctx.set(component.line_delay, line_delay)
        for now in range(end):
            ctx.set(component.load, now + 1 in starts)
            ctx.set(component.windowed, windowed[now - 1] if 0 < now <= len(windowed) else 0)
            for b in range(config.weight_rows):
                for c in range(config.columns):
                    # Element (r, c) takes its weight r + c cycles after the load, one cycle before the first pixel.
                    for start, (tile, _) in zip(starts, passes, strict=True):
                        row = now - (start - 1) - c
                        if b * band <= row < (b + 1) * band:
                            ctx.set(component.weights[b][c], int(tile[row, c]))
            vector = vectors.get(now, np.zeros(config.rows, np.int8))
            for r in range(config.rows):
                ctx.set(component.activations[r], int(vector[r]))
            if now - latency in vectors:
                sums[now - latency] = np.array([ctx.get(component.sums[c]) for c in range(config.columns)])
            await ctx.tick()

    simulate(component, bench, technology)
    return [
        np.array([sums[start + i] for i in range(len(pixels))])
        for start, (_, pixels) in zip(starts, passes, strict=True)
    ]
