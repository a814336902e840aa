"""The driver: numpy arrays in, numpy arrays out, on any engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.core.machine import WEIGHT_TOKENS
from etchnet.hdl.isa import HEADER_WORDS, Counter, Drain, Pass, RunCommand, Target, chunks, pack, pack_bytes, packet
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.isa.packets import word_bits
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.matmul_tiling import MatmulTiling
from etchnet.host.compiler.overflow import check_overflow
from etchnet.host.compiler.program import Program
from etchnet.host.network.network import Dense, Network, NetworkError, as_int8
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import Engine, LinkTrace

__all__ = ["ENGINES", "SERIAL", "Accelerator", "Counts", "make_engine"]

_COUNTERS = tuple(Counter)
ENGINES = ("exact", "amaranth", "verilator")
"""those that simulate; `make_engine` also knows boards"""
SERIAL = "serial:"


def make_engine(name: str, config: Config, *, trace: LinkTrace | None = None, **options: Any) -> Engine:
    """The engine called `name`, for one machine: one of `ENGINES`, or ``serial:PORT``, the board on a serial port.

    PORT may be followed by options of `SerialEngine`, as in ``serial:/dev/ttyUSB0?baud=3000000``. Raises ValueError for
    any other name.
    """
    if name == "exact":
        return ExactEngine(config, trace=trace, **options)
    if name == "amaranth":
        from etchnet.sim.engines.simulated import AmaranthEngine

        return AmaranthEngine(config, trace=trace, **options)
    if name == "verilator":
        from etchnet.sim.engines.verilated import VerilatorEngine

        return VerilatorEngine(config, trace=trace, **options)
    if name.startswith(SERIAL):
        from etchnet.host.driver.serial import SerialEngine, parse_port

        port, found = parse_port(name.removeprefix(SERIAL))
        return SerialEngine(config, port=port, trace=trace, **(found | options))
    raise ValueError(f"engine must be one of {', '.join(ENGINES)}, {SERIAL}PORT, not {name!r}")


@dataclass(frozen=True)
class Counts:
    """The machine's counters, as read over the link."""

    totals: dict[Counter, int]
    config: Config

    def __getitem__(self, counter: Counter) -> int:
        return self.totals[counter]

    def __add__(self, other: Counts) -> Counts:
        return Counts({c: self.totals[c] + other.totals[c] for c in _COUNTERS}, self.config)

    @property
    def cycles(self) -> int:
        """All cycles of all runs."""
        return self.totals[Counter.CYCLES]

    @property
    def utilisation(self) -> float:
        """Useful multiplications per multiplier and cycle."""
        return self.totals[Counter.USEFUL] / (self.cycles * self.config.multipliers) if self.cycles else 0.0

    def shares(self) -> dict[str, float]:
        """What rows x columns x cycles were spent on; the shares add up to 1."""
        slots = self.cycles * self.config.multipliers
        useful = self.totals[Counter.USEFUL]
        parts = {"useful": useful, "padding": self.totals[Counter.ISSUE] * self.config.multipliers - useful}
        for counter in (Counter.WAIT_IN, Counter.WAIT_OUT, Counter.WEIGHT_LOAD, Counter.REQUANTISE, Counter.FILL_DRAIN):
            parts[counter.name.lower()] = self.totals[counter] * self.config.multipliers
        return {name: part / slots if slots else 0.0 for name, part in parts.items()}


class Accelerator:
    """One machine and the driver for it.

    Parameters
    ----------
    config
        The machine; by default 16 x 16.
    engine
        What `make_engine` takes, such as `exact`, or an engine.
    trace
        When the link stalls; by default never. Not with an engine that is made already.
    options
        Passed on to the engine.

    Attributes
    ----------
    counts
        What the machine counted during the last call.

    Examples
    --------
    >>> import numpy as np
    >>> from etchnet.host.driver.driver import Accelerator
    >>> x, w = np.full((2, 3), -128, np.int8), np.full((3, 2), -128, np.int8)
    >>> Accelerator().matmul(x, w)
    array([[49152, 49152],
           [49152, 49152]], dtype=int32)
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        engine: str | Engine = "exact",
        trace: LinkTrace | None = None,
        **options: Any,
    ) -> None:
        self.config = config or (engine.config if isinstance(engine, Engine) else Config())
        if isinstance(engine, Engine) and (trace is not None or options or engine.config != self.config):
            raise ValueError("an engine that is made already has its own config, trace and options")
        self.engine = engine if isinstance(engine, Engine) else make_engine(engine, self.config, trace=trace, **options)
        self.counts = self._zero()
        self._program: Program | None = None

    def _zero(self) -> Counts:
        return Counts(dict.fromkeys(_COUNTERS, 0), self.config)

    # Matrix products

    def matmul(self, x: Any, w: Any) -> np.ndarray:
        """X @ w, exact: int8 (M, K) and int8 (K, N) to int32 (M, N), for any M, K, N >= 1 (K at most 131,071)."""
        return self._product(as_int8("x", x, 2), Dense(as_int8("w", w, 2)))

    def matmul_relu(
        self,
        x: Any,
        w: Any,
        bias: Any = 0,
        *,
        scale: Any = None,
        zero_point: int = 0,
        relu: bool = True,
        stream: bool = False,
    ) -> np.ndarray:
        """``relu(x @ w + bias)``: int32, or with `scale` requantised to int8.

        Parameters
        ----------
        x, w
            int8 (M, K) and int8 (K, N).
        bias
            int32 (N,), or one value for all.
        scale
            Real factor, one or per column, by the contract of the machine; None gives int32 sums, modulo 2**32.
            By `tflite-double`, factors of 1 and more shift sums left, and are refused where that could leave int32.
        zero_point
            Added after scaling; ReLU clamps to it.
        relu
            False leaves the clamp at the range of the result.
        stream
            Multiply the first rows while weights are still coming in: fewer cycles from the first link word to the
            last, of which those that wait for weights are counted as WAIT_IN. Only where one program takes all of w.
        """
        w = as_int8("w", w, 2)
        if scale is None:
            layer = Dense(w, bias, zero_point=zero_point, low=0 if relu else None)
        else:
            layer = Dense.from_scale(
                w,
                bias,
                scale=scale,
                zero_point=zero_point,
                low=zero_point if relu else None,
                contract=self.config.contract,
            )
            certificate = check_overflow(layer, 0, self.config)
            assert certificate is not None
            if not certificate.holds:
                raise NetworkError(
                    f"scale must keep shifted sums within int32 for any x, but {np.max(scale):g} shifts some to "
                    f"{certificate.shifted[0]}..{certificate.shifted[1]}"
                )
        return self._product(as_int8("x", x, 2), layer, stream=stream)

    def _product(self, x: np.ndarray, layer: Dense, *, stream: bool = False) -> np.ndarray:
        terms, channels = layer.weights.shape
        if x.shape[1] != terms:
            raise NetworkError(f"w must have as many rows as x has columns, {x.shape[1]}, not {terms}")
        tiling = MatmulTiling.best(len(x), terms, channels, self.config, wide=layer.wide)
        split = tiling.terms < terms
        self._program, self.counts = None, self._zero()
        if stream:
            if split or tiling.channels < channels:
                raise CapacityError("stream: this product is cut into programs, and only one program's weights stream")
            program, streamed = (
                compile_network(
                    Network([layer], contract=self.config.contract), self.config, batch=tiling.pixels, streamed=s
                )
                for s in (False, True)
            )
            self._require_stream(program, streamed, repeats=ceil_div(len(x), tiling.pixels))
            result = self._stream(program, streamed, x)[: len(x)]
            self.counts += self._read_counters()
            return result
        total = np.zeros((len(x), channels), np.int32 if layer.wide or split else np.int8)
        for first in range(0, channels, tiling.channels):
            columns = slice(first, first + tiling.channels)
            for start in range(0, terms, tiling.terms):
                rows = slice(start, start + tiling.terms)
                part = Dense(layer.weights[rows, columns]) if split else layer.select(columns)
                once = len(x) <= tiling.pixels
                program = self._compile(part, batch=tiling.pixels, once=once)
                self._load(program)
                result = self._infer(program, x[:, rows])
                total[:, columns] = total[:, columns] + result if split else result
        if not split:
            return total
        # The sum of partial sums does not pass through the machine again: it takes int8 only.
        return layer.finish(total.astype(np.int64) + layer.folded_bias, contract=self.config.contract)

    def _compile(self, layer: Dense, **options: Any) -> Program:
        return compile_network(Network([layer], contract=self.config.contract), self.config, **options)

    # Networks

    def load(self, network: Network, *, batch: int = 1) -> Program:
        """Compile a network for `batch` inputs at once and load it; `run` then only sends inputs."""
        self._program, self.counts = None, self._zero()
        return self.load_program(compile_network(network, self.config, batch=batch))

    def load_program(self, program: Program) -> Program:
        """Load a network that is compiled already, for this machine."""
        if program.config != self.config:
            raise ValueError("a program must be compiled for the machine that it is loaded into")
        self._program, self.counts = None, self._zero()
        self._load(program)
        self._program = program
        return program

    def run(self, x: Any) -> np.ndarray:
        """Run the loaded network on int8 (M, inputs): int8 or int32 (M, outputs), for any M >= 1."""
        if self._program is None:
            raise NetworkError("no network is loaded: call load() first")
        x = as_int8("x", x, 2)
        if x.shape[1] != self._program.network.inputs:
            raise NetworkError(f"x must have {self._program.network.inputs} columns, not {x.shape[1]}")
        self.counts = self._zero()
        return self._infer(self._program, x)

    # The link

    def _instructions(self, program: Program, *, first_pass: int = 0, first_drain: int = 0) -> list[np.ndarray]:
        config = self.config
        packets = []
        for target, kind, words, address in (
            (Target.PASSES, Pass, program.passes, first_pass),
            (Target.DRAINS, Drain, program.drains, first_drain),
        ):
            packed = pack([word.encode(config) for word in words], kind.layout(config).size, config)
            packets.append(packet(target, packed, config, address=address))
        return packets

    def _constants(self, program: Program, *, weights: bool = True) -> list[np.ndarray]:
        config = self.config
        packed = pack(program.parameters, word_bits(Target.PARAMETERS, config), config)
        packets = [packet(Target.PARAMETERS, packed, config)]
        if weights:
            packets.append(packet(Target.WEIGHTS, pack_bytes(_flat(program.weights), config), config))
        return packets

    def _load(self, program: Program) -> None:
        self.engine.exchange(np.concatenate([*self._instructions(program), *self._constants(program)]), 0)

    def _inputs(self, program: Program, x: np.ndarray) -> np.ndarray:
        """The packets of as many repeats as x takes: uint32 (repeats, link words, link_bits / 32)."""
        packed = program.pack_repeats(x)
        words = pack_bytes(packed.reshape(-1, packed.shape[2]), self.config)
        first = packet(Target.INPUT, words[: packed.shape[1]], self.config, acquire=True, commit=True)
        packets = np.empty((len(packed), *first.shape), np.uint32)
        packets[:, :HEADER_WORDS] = first[:HEADER_WORDS]
        packets[:, HEADER_WORDS:] = words.reshape(len(packed), -1, first.shape[1])
        return packets

    def _run_packet(self, command: RunCommand) -> np.ndarray:
        return packet(Target.RUN, command.words(self.config), self.config)

    def _stream(self, program: Program, streamed: Program, x: np.ndarray) -> np.ndarray:
        """Load `program` and run it on `x`, its weights coming in while `streamed` takes the first rows."""
        config = self.config
        repeats = ceil_div(len(x), program.batch)
        packets = [*self._instructions(streamed), *self._constants(program, weights=False)]
        inputs = self._inputs(program, x)
        packets += [inputs[0], self._run_packet(streamed.command(1))]
        tiles = ceil_div(program.network.outputs, config.columns)
        for tile, part in enumerate(np.split(_flat(program.weights), tiles)):
            words = pack_bytes(part, config)
            packets.append(packet(Target.WEIGHTS, words, config, address=tile * len(part), commit=True))
        if repeats > 1:
            behind = {"first_pass": len(streamed.passes), "first_drain": len(streamed.drains)}
            packets += self._instructions(program, **behind)
            packets.append(self._run_packet(program.command(repeats - 1, **behind)))
            packets += list(inputs[1:])
        received = self.engine.exchange(np.concatenate(packets), repeats * self._output_beats(program))
        return self._unpack(program, received, repeats)

    def _require_stream(self, program: Program, streamed: Program, *, repeats: int) -> None:
        """Both programs are in the machine at once, and every column tile's weights may be waiting."""
        config = self.config
        tiles = ceil_div(program.network.outputs, config.columns)
        needs = [("committed weights packets", tiles, WEIGHT_TOKENS)]
        if repeats > 1:
            needs.append(("passes", len(streamed.passes) + len(program.passes), config.passes))
            needs.append(("drains", len(streamed.drains) + len(program.drains), config.drains))
        for what, needed, available in needs:
            if needed > available:
                raise CapacityError(f"stream: {needed} {what} needed, but the machine has room for {available}")

    def _output_beats(self, program: Program) -> int:
        return program.output_words * chunks(8 * self.config.rows, self.config)

    def _unpack(self, program: Program, received: np.ndarray, repeats: int) -> np.ndarray:
        raw = received.reshape(repeats, program.output_words, -1).view(np.uint8)[..., : self.config.rows]
        return program.unpack_repeats(raw)

    def _infer(self, program: Program, x: np.ndarray) -> np.ndarray:
        """All of `x`, `pixels` rows per repeat; the last repeat is filled up with zeros."""
        config = self.config
        repeats = ceil_div(len(x), program.batch)
        beats = self._output_beats(program)
        results = []
        # As many repeats an exchange as keep the host's copy of the link words small; the machine does not notice.
        most = max(1, (1 << 22) // max(beats, program.input_words * chunks(8 * config.rows, config)))
        for first in range(0, repeats, most):
            last = min(first + most, repeats)
            inputs = self._inputs(program, x[first * program.batch : last * program.batch])
            packets = list(inputs)
            if not first:
                # The first input is in memory before the run starts; later ones arrive while it goes on.
                packets.insert(1, self._run_packet(program.command(repeats)))
            received = self.engine.exchange(np.concatenate(packets), (last - first) * beats)
            results.append(self._unpack(program, received, last - first))
        self.counts += self._read_counters()
        return np.concatenate(results)[: len(x)]

    def _read_counters(self) -> Counts:
        lanes = self.config.link_bits // 32
        request = packet(Target.COUNTERS, np.zeros((0, 1, lanes), np.uint32), self.config)
        words = self.engine.exchange(request, 2 * len(Counter))[:, 0]
        values = words.tolist()
        return Counts({c: values[2 * c] | values[2 * c + 1] << 32 for c in _COUNTERS}, self.config)


def _flat(weights: np.ndarray) -> np.ndarray:
    return weights.reshape(len(weights), -1)
