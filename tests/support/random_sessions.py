"""Random sessions: programs, inputs and weights on one link, in any order in which nothing waits forever."""

from __future__ import annotations

import numpy as np
from support.programs import counters_packet, parameter_words
from support.random_instructions import WeightMap
from support.random_links import random_parameters, random_trace
from support.random_programs import ProgramWriter, RandomProgram
from support.sessions import Exchange, Session
from support.strategies import int8
from support.untimed import ANSWER, Tokens

from etchnet.hdl.isa import Drain, Header, Pass, RunCommand, Target, chunks, pack, pack_bytes, packet
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import word_bits
from etchnet.host.compiler.weight_tiles import tile_words


class SessionWriter:
    """Makes a session: it sends whatever the machine can take, in an order that chance chooses.

    Parameters
    ----------
    config
        The machine.
    seed
        Numbers that determine the session.
    runs
        Maximum number of runs.
    """

    def __init__(self, config: Config, seed: tuple[int, ...], *, runs: int = 4) -> None:
        self._config, self._random, self._runs = config, np.random.default_rng(seed), runs
        self._session = Session(config, seed)
        self._tokens = Tokens(chunks(8 * config.rows, config))
        self._packets: list[np.ndarray] = []
        self._weights = WeightMap.of(config, int(self._random.integers(4)))
        self._loads = 0
        """tiles of weights sent while programs run"""
        self._half: list[tuple[int, int]] = []
        """packets of the current half of the input that are still to be sent: address and words"""
        self._free = [0, 0]
        """first pass and first drain that no program uses"""
        self._known: list[tuple[RandomProgram, int, int]] = []
        self._received = 0
        self._unread = 0
        """runs since the counters were last asked for"""

    def _maybe(self, share: float) -> bool:
        return bool(self._random.random() < share)

    def _within(self, low: int, high: int) -> int:
        return int(self._random.integers(low, high + 1))

    def write(self) -> Session:
        """Return the session."""
        self._load_parameters(everything=True)
        self._load_weights(everything=True)
        for _ in range(self._within(1, self._runs)):
            self._run()
            if self._maybe(0.3):
                self._ask_for_counters()
                if self._maybe(0.4):
                    self._session.notes.add("parameters loaded again")
                    self._load_parameters(everything=False)
                    self._load_weights(everything=False)
        self._ask_for_counters()
        self._exchange(whole=True)
        ends = np.cumsum([size for size, *_ in self._tokens.produced])
        answers = [command is None for _, command, _ in self._tokens.produced]
        self._session.answers = (ends[answers] - ANSWER).tolist()
        self._session.most = self._tokens.most
        self._session.trace = random_trace(self._random)
        return self._session

    # Packets

    def _add(self, words: np.ndarray, header: Header) -> None:
        self._packets.append(words)
        self._session.headers.append(header)
        self._session.lengths.append(len(words))

    def _send(self, target: Target, words: np.ndarray, **header: int) -> None:
        self._add(packet(target, words, self._config, **header), Header(target=target, **header))
        self._tokens.advance()
        if self._maybe(0.05):
            self._exchange()

    def _in_parts(self, target: Target, words: np.ndarray, address: int) -> None:
        """Send memory words in one or several packets, in any order."""
        cuts = sorted(self._random.integers(0, len(words), self._within(0, 2)).tolist())
        bounds = [b for b in zip([0, *cuts], [*cuts, len(words)], strict=True) if b[0] < b[1]]
        for index in self._random.permutation(len(bounds)):
            first, stop = bounds[index]
            self._send(target, words[first:stop], address=address + first)

    def _load_parameters(self, *, everything: bool) -> None:
        config, random = self._config, self._random
        tiles = config.parameter_tiles if everything else self._within(1, config.parameter_tiles)
        channels = [random_parameters(random) for _ in range(tiles * config.columns)]
        self._session.parameters += channels
        words = pack(parameter_words(config, channels), word_bits(Target.PARAMETERS, config), config)
        self._in_parts(Target.PARAMETERS, words, self._within(0, config.parameter_words - len(words)))

    def _tile(self, *, windows: bool) -> np.ndarray:
        """Return the weight words of a random tile, as `pack_bytes` lays them out."""
        config = self._config
        tile = int8(self._random, (config.rows, config.columns))
        if windows:
            tile[config.depthwise**2 :] = 0
        return pack_bytes(tile_words(tile, config).reshape(config.load_cycles, -1), config)

    def _load_weights(self, *, everything: bool) -> None:
        size = self._config.load_cycles
        tiles = range(self._weights.stored // size)
        for tile in tiles if everything else sorted({int(t) for t in self._random.choice(len(tiles), 2)}):
            words = self._tile(windows=tile * size in self._weights.windows)
            self._in_parts(Target.WEIGHTS, words, tile * size)

    def _stream_weights(self) -> bool:
        """Send the next tile that passes wait for, if the machine takes it."""
        slots, tokens = self._weights.slots, self._tokens
        acquire = self._loads >= len(slots)
        if not slots or tokens.answering or (acquire and not tokens.weights_free):
            return False
        tokens.weights_free -= acquire
        words = self._tile(windows=bool(self._config.depthwise))
        cut = self._within(1, len(words))
        address = slots[self._loads % len(slots)]
        self._loads += 1
        self._send(Target.WEIGHTS, words[:cut], address=address, acquire=acquire, commit=cut == len(words))
        if cut < len(words):
            self._send(Target.WEIGHTS, words[cut:], address=address + cut, commit=True)
        tokens.weights_full += 1
        tokens.advance()
        return True

    def _send_input(self) -> bool:
        """Send the next packet of the input, if the machine takes it; a half may come in several."""
        config, tokens = self._config, self._tokens
        if tokens.answering or not (self._half or tokens.input_free):
            return False
        acquire = not self._half
        if acquire:
            tokens.input_free -= 1
            self._half = [(0, config.input_words)]
            if self._maybe(0.4):
                firsts = [self._within(0, config.input_words - 1) for _ in range(self._within(1, 3))]
                self._session.notes |= {"a half of the input in several packets"} if len(firsts) > 1 else set()
                self._half = [(first, self._within(1, config.input_words - first)) for first in firsts]
        address, count = self._half.pop(0)
        words = pack_bytes(int8(self._random, (count, config.rows)), config)
        self._send(Target.INPUT, words, address=address, acquire=acquire, commit=not self._half)
        tokens.input_full += not self._half
        tokens.advance()
        return True

    # Runs

    def _program(self) -> tuple[RandomProgram, int, int]:
        """Return a program in the machine, and its first pass and drain; load a new one at times."""
        config = self._config
        if self._known and self._maybe(0.35):
            return self._known[self._within(0, len(self._known) - 1)]
        left = [depth - used for depth, used in zip((config.passes, config.drains), self._free, strict=True)]
        if min(left) < 1:
            # Programs in use must not be overwritten.
            self._ask_for_counters()
            self._free, self._known, left = [0, 0], [], [config.passes, config.drains]
        writer = ProgramWriter(config, self._random, self._weights, passes=left[0], drains=left[1])
        program = writer.write()
        at = []
        for place, count in enumerate((len(program.passes), len(program.drains))):
            gap = self._within(0, min(2, left[place] - count))
            if self._maybe(0.1):
                gap = left[place] - count
            at.append(self._free[place] + gap)
            self._free[place] = at[place] + count
        self._session.programs.append(program)
        if self._unread:
            self._session.notes.add("a program loaded while another may run")
        for place, (target, kind, records) in enumerate(
            ((Target.PASSES, Pass, program.passes), (Target.DRAINS, Drain, program.drains))
        ):
            words = pack([record.encode(config) for record in records], kind.layout(config).size, config)
            self._in_parts(target, words, at[place])
        self._known.append((program, at[0], at[1]))
        return self._known[-1]

    def _run(self) -> None:
        """Send a RUN packet once the one before is taken, and inputs and weights before and after."""
        config, random = self._config, self._random
        program, first_pass, first_drain = self._program()
        for _ in range(self._within(0, 2)):
            self._feed()
        while self._tokens.pending is not None:
            self._go_on()
        words = int(random.choice([program.words, program.words, self._within(1, program.words), 1]))
        command = RunCommand(
            first_pass=first_pass,
            passes=len(program.passes),
            first_drain=first_drain,
            drains=len(program.drains),
            output_words=config.output_words if self._maybe(0.03) else words,
            repeats=1 if program.once else int(random.choice([1, 2, 3, self._within(1, 6)])),
        )
        self._session.commands.append((command, program))
        self._unread += 1
        if self._unread > 1:
            self._session.notes.add("several runs before the counters")
        self._tokens.pending = command, program
        self._send(Target.RUN, command.words(config))
        for _ in range(self._within(0, 4)):
            self._feed()

    def _feed(self) -> None:
        """Send an input or weights, whether they are needed yet or not, if the machine takes them."""
        if self._maybe(0.5):
            self._send_input()
        else:
            self._stream_weights()

    def _go_on(self) -> None:
        """Send what the machine waits for; if it waits for the host to take words, take some."""
        tokens = self._tokens
        tokens.advance()
        if tokens.waits_for_input and self._send_input():
            return
        if tokens.waits_for_weights and self._stream_weights():
            return
        if tokens.next_end is None:
            raise AssertionError(f"session {self._session.seed} waits forever")
        tokens.limit = tokens.next_end
        tokens.advance()

    def _ask_for_counters(self) -> None:
        """Send everything that runs need, then a COUNTERS packet; the answer is taken before the next packet."""
        while not self._tokens.idle:
            self._go_on()
        self._add(counters_packet(self._config), Header(target=Target.COUNTERS))
        self._unread = 0
        self._tokens.answering = True
        self._tokens.advance()
        if self._maybe(0.3):
            self._exchange()
        while self._tokens.answering:
            self._go_on()

    def _exchange(self, *, whole: bool = False) -> None:
        """End an exchange: all its packets are taken, and more or fewer of the words that then leave."""
        config, tokens = self._config, self._tokens
        most = max(tokens.limit, tokens.unlimited())
        end = most if whole or self._maybe(0.3) else self._within(tokens.limit, most)
        tokens.limit = end
        tokens.advance()
        lanes = config.link_bits // 32
        packets, self._packets = self._packets, []
        words = np.concatenate([np.zeros((0, lanes), np.uint32), *packets])
        defined = self._defined()[self._received : end]
        self._session.exchanges.append(Exchange(words, end - self._received, defined))
        self._received = end

    def _defined(self) -> np.ndarray:
        """Return the defined bits of all words that have left so far, or will next."""
        config = self._config
        parts = [np.zeros((0, config.link_bits // 32), np.uint32)]
        for size, command, program in self._tokens.produced:
            if command is None or program is None:
                parts.append(np.full((size, config.link_bits // 32), 0xFFFFFFFF, np.uint32))
            else:
                written = np.where(program.written[: command.output_words], 0xFF, 0).astype(np.uint8)
                sent = chunks(8 * config.rows, config) * config.link_bits // 8
                padded = np.full((len(written), sent), 0xFF, np.uint8)
                padded[:, : config.rows] = written
                parts.append(padded.view("<u4").reshape(size, -1))
        return np.concatenate(parts)


def session(config: Config, seed: tuple[int, ...], *, runs: int = 4) -> Session:
    """Return the session that a seed makes on a machine."""
    return SessionWriter(config, seed, runs=runs).write()
