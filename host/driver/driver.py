"""The driver: numpy arrays in, numpy arrays out, on any engine."""

from __future__ import annotations

from threading import local
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from etchnet.hdl.core.control.tokens import WEIGHT_TOKENS
from etchnet.hdl.isa import Counter, Target, chunks, packet
from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.capacity import MEMORIES, CapacityError
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.matmul_tiling import MatmulTiling
from etchnet.host.compiler.overflow import check_overflow
from etchnet.host.compiler.program import Program
from etchnet.host.driver.counts import Counts
from etchnet.host.driver.engines import make_engine
from etchnet.host.driver.packets import (
    constant_packets,
    input_packets,
    instruction_packets,
    result_link_words,
    run_packet,
    unpack_results,
    weight_packets_by_tile,
)
from etchnet.host.network.layers import Dense, NetworkError, as_int8
from etchnet.host.network.network import Network
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace

__all__ = ["Accelerator"]

_EXCHANGE_WORDS = 1 << 22
"""largest number of link words that one exchange moves in each direction"""


class _ThreadState(local):
    """The state that a driver keeps for one thread."""

    program: Program | None = None
    """the program that it loaded last"""
    counts: Counts | None = None
    """the counters of its last call"""


class Accelerator:
    """The driver of one machine.

    Several threads may use one driver, and several drivers one engine object. Each call has the machine to itself: it
    holds `engine.lock` until it returns. Each thread gets the results and `counts` of its own calls, and `run` runs the
    network that its thread loaded. A transfer that is interrupted halfway may leave words in the machine; each later
    call raises LinkError.

    Parameters
    ----------
    config
        The machine; by default 16 x 16.
    engine
        An engine, or the name of one as for `make_engine`, such as `exact`.
    trace
        When the link stalls; by default never. Only for an engine given by name.
    options
        Further arguments of the engine. Only for an engine given by name.

    Attributes
    ----------
    counts
        The machine's counters for the last call of this thread, or of any thread if this one has made none.

    Examples
    --------
    >>> import numpy as np
    >>> from etchnet import Accelerator
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
        if config is not None and not isinstance(config, Config):
            raise ConfigError(f"config must be a Config, such as Config(rows=8), not {config!r}")
        self.config = config or (engine.config if isinstance(engine, Engine) else Config())
        if isinstance(engine, Engine) and (trace is not None or options or engine.config != self.config):
            raise ValueError("an engine object has its own config, trace and options: none can be given with it")
        self.engine = engine if isinstance(engine, Engine) else make_engine(engine, self.config, trace=trace, **options)
        self._mine = _ThreadState()
        self._latest: Program | None = None
        self._latest_counts = Counts.zero(self.config)

    @property
    def counts(self) -> Counts:
        """The counters of the last call; see above."""
        counts = self._mine.counts
        return self._latest_counts if counts is None else counts

    @counts.setter
    def counts(self, counts: Counts) -> None:
        self._mine.counts = self._latest_counts = counts

    @property
    def _program(self) -> Program | None:
        """The program of `run`: the one that this thread loaded last, or any thread if this one has loaded none."""
        program = self._mine.program
        return self._latest if program is None else program

    def __repr__(self) -> str:
        loaded = "nothing" if self._program is None else repr(self._program)
        return f"Accelerator({self.config.rows} x {self.config.columns}, engine {self.engine.name}, loaded: {loaded})"

    # Matrix products

    def matmul(self, x: ArrayLike, w: ArrayLike) -> np.ndarray:
        """Return the exact product of int8 (M, K) and int8 (K, N), as int32 (M, N).

        M, K and N are at least 1, and K is at most 131,071. A product that is too large for the machine is cut into
        several programs.

        Raises
        ------
        NetworkError
            The arrays have other shapes or values outside int8, or K is too large.
        CapacityError
            The machine's memories cannot hold even one column tile of the product.
        """
        return self._product(as_int8("x", x, 2), Dense(as_int8("w", w, 2)))

    def matmul_relu(
        self,
        x: ArrayLike,
        w: ArrayLike,
        bias: ArrayLike = 0,
        *,
        scale: ArrayLike | None = None,
        zero_point: int = 0,
        relu: bool = True,
        stream: bool = False,
    ) -> np.ndarray:
        """Return ``relu(x @ w + bias)``: int32 (M, N), or int8 (M, N) if it is requantised by `scale`.

        Parameters
        ----------
        x, w
            int8 (M, K) and int8 (K, N).
        bias
            int32 (N,), or one value for all columns.
        scale
            Real factor, one for all columns or (N,), applied under the machine's rounding contract. None returns int32
            sums, modulo 2**32. Under `tflite-double`, factors of 1 or more shift sums left, and are refused if the
            result could exceed int32.
        zero_point
            Added after scaling; ReLU clamps to it.
        relu
            Whether to apply ReLU; otherwise results are clamped only to the range of their type.
        stream
            Whether to multiply the first rows while weights are still arriving, which takes fewer cycles from the first
            link word to the last. Cycles that wait for weights are counted as WAIT_IN. Possible only if one program can
            hold all of `w`.

        Raises
        ------
        NetworkError
            As for `matmul`; or `bias`, `scale` or `zero_point` is out of range.
        CapacityError
            As for `matmul`; or the product cannot be streamed.
        """
        w = as_int8("w", w, 2)
        if scale is None:
            layer = Dense(w, bias, zero_point=zero_point, low=0 if relu else None)
        else:
            low = zero_point if relu else None
            layer = Dense.from_scale(
                w, bias, scale=scale, zero_point=zero_point, low=low, contract=self.config.contract
            )
            certificate = check_overflow(layer, 0, self.config)
            if certificate is not None and not certificate.holds:
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
        with self.engine.lock:
            self.counts = Counts.zero(self.config)
            return self._streamed_product(x, layer, tiling) if stream else self._tiled_product(x, layer, tiling)

    def _tiled_product(self, x: np.ndarray, layer: Dense, tiling: MatmulTiling) -> np.ndarray:
        terms, channels = layer.weights.shape
        split = tiling.terms < terms
        total = np.zeros((len(x), channels), np.int32 if layer.wide or split else np.int8)
        for first in range(0, channels, tiling.channels):
            columns = slice(first, first + tiling.channels)
            for start in range(0, terms, tiling.terms):
                rows = slice(start, start + tiling.terms)
                part = Dense(layer.weights[rows, columns]) if split else layer.select(columns)
                program = self._compile(part, batch=tiling.pixels, once=len(x) <= tiling.pixels)
                self._load(program)
                result = self._infer(program, x[:, rows])
                total[:, columns] = total[:, columns] + result if split else result
        if not split:
            return total
        # The host requantises the total of the partial sums, because the machine's inputs are int8.
        return layer.finish(total.astype(np.int64) + layer.folded_bias, contract=self.config.contract)

    def _streamed_product(self, x: np.ndarray, layer: Dense, tiling: MatmulTiling) -> np.ndarray:
        if (tiling.terms, tiling.channels) != layer.weights.shape:
            raise CapacityError("stream: this product needs several programs, and weights can stream for only one")
        program = self._compile(layer, batch=tiling.pixels)
        streamed = self._compile(layer, batch=tiling.pixels, streamed=True)
        self._require_stream(program, streamed, repeats=ceil_div(len(x), tiling.pixels))
        result = self._stream(program, streamed, x)[: len(x)]
        self.counts += self._read_counters()
        return result

    def _compile(self, layer: Dense, *, batch: int, once: bool = False, streamed: bool = False) -> Program:
        network = Network([layer], contract=self.config.contract)
        return compile_network(network, self.config, batch=batch, once=once, streamed=streamed)

    # Networks

    def load(self, network: Network, *, batch: int = 1) -> Program:
        """Compile a network for `batch` inputs at once and load it; from then on `run` sends only inputs.

        Raises CapacityError and NetworkError as `compile_network` does.
        """
        return self.load_program(compile_network(network, self.config, batch=batch))

    def load_program(self, program: Program, *, built_in: bool = False) -> Program:
        """Load a compiled network; raises ValueError if it was compiled for another machine.

        Parameters
        ----------
        built_in
            Whether the program is the initial contents of the machine's memories (`Program.image`): nothing is sent.
        """
        if program.config != self.config:
            raise ValueError("a program must be compiled for the machine that it is loaded into")
        with self.engine.lock:
            self.counts = Counts.zero(self.config)
            if built_in:
                self.engine.loaded = program
            else:
                self._load(program)
            self._mine.program = self._latest = program
        return program

    def run(self, x: ArrayLike) -> np.ndarray:
        """Run the loaded network on int8 (M, input_size), M >= 1; returns int8 or int32 (M, output_size).

        The network is the one that this thread loaded last, or any thread if this one has loaded none. It is loaded
        again if a product, another thread or another driver has used the machine since.

        Raises NetworkError if no network is loaded, or `x` does not fit it.
        """
        x = as_int8("x", x, 2)
        with self.engine.lock:
            if (program := self._program) is None:
                raise NetworkError("no network is loaded: call load() first")
            if x.shape[1] != program.network.input_size:
                raise NetworkError(f"x must have {program.network.input_size} columns, not {x.shape[1]}")
            self.counts = Counts.zero(self.config)
            if self.engine.loaded is not program:
                self._load(program)
            return self._infer(program, x)

    # The link

    def _exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        engine = self.engine
        if engine.interrupted:
            raise LinkError(
                "an earlier transfer stopped halfway, and the machine may hold words of it: make a new engine, or "
                "reset the machine and call the engine's was_reset()"
            )
        engine.interrupted = True
        received = engine.exchange(words, count)
        engine.interrupted = False
        return received

    def _load(self, program: Program) -> None:
        self.engine.loaded = None
        self._exchange(np.concatenate([*instruction_packets(program), *constant_packets(program)]), 0)
        self.engine.loaded = program

    def _stream(self, program: Program, streamed: Program, x: np.ndarray) -> np.ndarray:
        """Load `program` and run it on `x`; its weights arrive while `streamed` computes the first repeat."""
        config = self.config
        repeats = ceil_div(len(x), program.batch)
        self.engine.loaded = None
        inputs = input_packets(program, x)
        packets = [*instruction_packets(streamed), *constant_packets(program, weights=False)]
        packets += [inputs[0], run_packet(streamed.command(1), config)]
        packets += weight_packets_by_tile(program, ceil_div(program.network.output_size, config.columns))
        if repeats > 1:
            after = {"first_pass": len(streamed.passes), "first_drain": len(streamed.drains)}
            packets += instruction_packets(program, **after)
            packets.append(run_packet(program.command(repeats - 1, **after), config))
            packets += list(inputs[1:])
        received = self._exchange(np.concatenate(packets), repeats * result_link_words(program))
        return unpack_results(program, received, repeats)

    def _require_stream(self, program: Program, streamed: Program, *, repeats: int) -> None:
        """Check that the machine holds both programs at once, and a weights packet for each column tile."""
        config = self.config
        tiles = ceil_div(program.network.output_size, config.columns)
        needs = [("committed weights packets", tiles, WEIGHT_TOKENS)]
        if repeats > 1:
            needs.append(("passes", len(streamed.passes) + len(program.passes), config.passes))
            needs.append(("drains", len(streamed.drains) + len(program.drains), config.drains))
        missing = [need for need in needs if need[1] > need[2]]
        if missing:
            parts = " and ".join(f"{needed} {what} (room for {available})" for what, needed, available in missing)
            short = {what: needed for what, needed, _ in missing if what in MEMORIES}
            raise CapacityError(f"stream: the machine needs {parts}", short=short if len(short) == len(missing) else {})

    def _infer(self, program: Program, x: np.ndarray) -> np.ndarray:
        """Run the loaded program on all of `x`, `batch` rows per repeat; zeros fill the last repeat."""
        repeats, words = ceil_div(len(x), program.batch), result_link_words(program)
        results = []
        # Few repeats per exchange keep the host's copy of the link words small; the machine's cycles do not change.
        most = max(1, _EXCHANGE_WORDS // max(words, program.input_words * chunks(8 * self.config.rows, self.config)))
        for first in range(0, repeats, most):
            last = min(first + most, repeats)
            packets = list(input_packets(program, x[first * program.batch : last * program.batch]))
            if not first:
                # The first input is in memory before the run starts; later ones arrive during the run.
                packets.insert(1, run_packet(program.command(repeats), self.config))
            received = self._exchange(np.concatenate(packets), (last - first) * words)
            results.append(unpack_results(program, received, last - first))
        self.counts += self._read_counters()
        return np.concatenate(results)[: len(x)]

    def _read_counters(self) -> Counts:
        """Read the counters of the runs since the last reading."""
        lanes = self.config.link_bits // 32
        request = packet(Target.COUNTERS, np.zeros((0, 1, lanes), np.uint32), self.config)
        values = self._exchange(request, 2 * len(Counter))[:, 0].tolist()
        return Counts({c: values[2 * c] | values[2 * c + 1] << 32 for c in Counter}, self.config)
