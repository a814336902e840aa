"""The sequencer's outputs in any cycle, and the memory words read for them: everything before the array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Fold, Pass, Source, Target, TileKind
from etchnet.hdl.isa.packets import stored_slice
from etchnet.hdl.isa.passes import is_stored
from etchnet.hdl.isa.walk import is_inside
from etchnet.sim.state.events import Events, Head
from etchnet.sim.state.memories import DrainMemory
from etchnet.sim.state.registers import Layout, MemoryView, Register, cached, delayed, delayed_view, read_registers

__all__ = ["Decision", "Issue"]


@dataclass(frozen=True)
class Decision:
    """The sequencer's decision in one cycle about the pass at the head of its stream."""

    head: Head[Pass]
    pixels: int
    """pixels of the pass issued before this cycle"""
    loads: int
    """weight words of the pass requested before this cycle"""
    pixel: bool = False
    load: bool = False
    begin: bool = False
    end: bool = False
    last_pixel: bool = False


class Issue:
    """The sequencer's outputs, their delay lines, and the vectors that enter the array.

    In a cycle that issues no pixel, only the valid bits are low. The other fields are those of the pass at the head at
    its current pixel, even if the pass has not begun, is stale, or has issued all its pixels and still loads weights.
    """

    def __init__(self, events: Events, activation: DrainMemory) -> None:
        self._events, self._activation = events, activation
        self.config = config = events.config
        self.weights = events.memories[Target.WEIGHTS]
        self.pixel_layout = Layout(Sequencer.pixel_layout(config))
        self.request_layout = Layout(WeightMemory.request_layout(config))
        self.fold_layout = Layout(Sequencer.fold_layout(config))
        self.fold_delay, self.read_latency = Machine.fold_delay(config), Machine.read_latency(config)
        self.decide = cached(self._decide)
        self.pixel = cached(self._pixel)
        self.request = cached(self._request)
        self.fold = cached(self._fold)
        self.entering = cached(self._entering)
        self._depthwise = np.flatnonzero(events.passes.each("depthwise"))

    def registers(self) -> dict[str, Register]:
        """Return the registers by name."""
        config, found = self.config, {}
        pixel, request, fold = self.pixel_layout, self.request_layout, self.fold_layout
        found["sequencer.pixel"] = Register(self.pixel, pixel.width, layout=pixel)
        found["sequencer.request"] = Register(self.request, request.width, layout=request)
        found["sequencer.fold"] = Register(self.fold, fold.width, layout=fold)
        read = config.memory_latency
        for stage in range(1, read + 1):
            found[f"pixel_reader.pixel_{stage}"] = Register(delayed(self.pixel, stage), pixel.width, layout=pixel)
        for stage in range(1, self.read_latency - read + 1):
            found[f"pixel_reader.entered_{stage}"] = Register(
                delayed(self.pixel, read + stage), pixel.width, layout=pixel
            )
        for stage in range(1, self.fold_delay + 1):
            found[f"fold_router.fold_{stage}"] = Register(delayed(self.fold, stage), fold.width, layout=fold)
            found[f"fold_router.fold_live_{stage}"] = Register(delayed(self._live, stage), 4)
        for stage in range(1, self.read_latency):
            found[f"weights.load_{stage}"] = Register(delayed(self.first, stage), 1)
        found["pixel_reader.entering"] = Register(
            lambda cycle: int.from_bytes(self.entering(cycle).tobytes(), "little"), 8 * config.rows
        )
        found["pixel_reader.line_delay"] = Register(self.line_delay, config.line_words.bit_length())
        for source, name, bits in ((Source.INPUT, "input.memory", self._chunked), (Source.ACTIVATION, "activation", 0)):
            width = bits or 8 * config.rows
            found |= read_registers(name, lambda cycle, s=source: self.read_data(s, cycle), width, read)
        return found

    def memories(self) -> dict[str, MemoryView]:
        """Return the input memory by name."""
        memory = self._events.memories[Target.INPUT]
        rows = MemoryView(memory.word, 2 * self.config.input_words, self._chunked)
        return {"input.memory.memory": delayed_view(rows, self.config.memory_latency)}

    @property
    def _chunked(self) -> int:
        """Bits of a word of the input memory."""
        return stored_slice(self.config, bits=8 * self.config.rows).bits

    # Decisions

    def _decide(self, cycle: int) -> Decision:
        passes = self._events.passes
        head = passes.head(cycle)
        if head.index < 0 or (age := cycle - int(passes.begin[head.index])) < 0:
            return Decision(head, 0, 0)
        p, load_cycles = head.instruction, self.config.load_cycles
        return Decision(
            head,
            pixels=min(age, p.pixels),
            loads=min(age, load_cycles),
            pixel=age < p.pixels,
            load=age < load_cycles,
            begin=not age,
            end=cycle == int(passes.end[head.index]),
            last_pixel=age == p.pixels - 1,
        )

    def half(self, cycle: int) -> int:
        """Return the half of the input memory that the sequencer reads."""
        passes = self._events.passes
        index = int(np.searchsorted(passes.begin, cycle, "right")) - 1
        if index < 0:
            return 0
        p = passes.instruction(index)
        released = p.release_input and cycle >= int(passes.begin[index]) + p.pixels
        return int(self._events.halves[index]) ^ int(released)

    def _live(self, cycle: int) -> int:
        """Return the control fields of a fold, which are delayed in resettable registers, as one number."""
        names = ("row.valid", "release", "release_last", "release_weights")
        fold = self.fold(cycle)
        return sum(self.fold_layout.get(fold, name) << bit for bit, name in enumerate(names))

    def _pixel(self, cycle: int) -> int:
        if cycle < 1:
            return 0
        now, config = self.decide(cycle - 1), self.config
        p = now.head.instruction
        columns = p.columns or p.pixels
        line, column = divmod(now.pixels, columns) if columns else (0, 0)
        return self.pixel_layout.pack(
            valid=now.pixel,
            inside=is_inside(p, line, column),
            pad=p.pad,
            source=p.source,
            half=self.half(cycle - 1),
            address=p.address + line * p.line + column * p.step,
            windowed=now.pixel and p.kind == TileKind.DEPTHWISE and bool(config.depthwise),
            line_delay=columns - config.depthwise,
        )

    def _request(self, cycle: int) -> int:
        if cycle < 1:
            return 0
        now = self.decide(cycle - 1)
        p = now.head.instruction
        whole = is_stored(p.kind)
        return self.request_layout.pack(
            valid=now.load, first=now.begin, kind=p.kind, address=p.weights + (now.loads if whole else 0)
        )

    def _fold(self, cycle: int) -> int:
        if cycle < 1:
            return 0
        now = self.decide(cycle - 1)
        p = now.head.instruction
        before, kept = now.pixels, now.pixel
        if p.kind == TileKind.DEPTHWISE and self.config.depthwise:
            before = 0
            if now.head.index >= 0:
                pixels = self._events.passes.program(now.head.index).kept(
                    int(self._events.passes.number[now.head.index])
                )
                before = int(np.searchsorted(pixels, now.pixels))
                kept = now.pixel and before < len(pixels) and int(pixels[before]) == now.pixels
        held = before > 0 and p.hold != Fold.SET
        return self.fold_layout.pack(
            row__valid=kept,
            row__row=p.row + (before if p.hold == Fold.SET else 0),
            row__fold=p.hold if held else p.fold,
            row__held=held,
            bank=p.bank,
            release=now.last_pixel and p.release,
            release_last=now.last_pixel and p.release and now.head.final,
            release_weights=now.end and p.release_weights,
        )

    def first(self, cycle: int) -> int:
        """Return whether the first word of a tile is requested."""
        return self.request_layout.get(self.request(cycle), "first")

    # Reads

    def _entering(self, cycle: int) -> np.ndarray:
        """Return the vector that enters the array, int8 (rows,): 0 without a pixel, `pad` outside the image."""
        config, layout = self.config, self.pixel_layout
        zeros = np.zeros(config.rows, np.int8)
        requested = cycle - self.read_latency
        if requested < 0:
            return zeros
        pixel = self.pixel(requested)
        if not layout.get(pixel, "valid"):
            return zeros
        if not layout.get(pixel, "inside"):
            return np.full(config.rows, layout.get(pixel, "pad"), np.int8)
        word = self._word(pixel, requested) & (1 << 8 * config.rows) - 1
        return np.frombuffer(word.to_bytes(config.rows, "little"), np.int8)

    def _word(self, pixel: int, cycle: int) -> int:
        config, layout = self.config, self.pixel_layout
        address = layout.get(pixel, "address")
        if layout.get(pixel, "source") == Source.INPUT:
            half, bits = layout.get(pixel, "half"), config.address_bits(config.input_words)
            address = address & (1 << bits) - 1 | half << bits
            return self._events.memories[Target.INPUT].word(address, cycle)
        return self._activation.word(address & (1 << config.address_bits(config.activation_words)) - 1, cycle)

    def read_data(self, source: Source, cycle: int) -> int:
        """Return the word of a memory's latest read; the data register holds it while no pixel reads the memory."""
        which, decided = self._events.reads[source]
        decide = Sequencer.latency(self.config)
        position = int(np.searchsorted(decided, cycle - 1 - decide, "right")) - 1
        if position < 0:
            return 0
        index, passes = int(which[position]), self._events.passes
        read = passes.program(index).read(int(passes.number[index]))
        begin = int(passes.begin[index])
        last = int(read[int(np.searchsorted(read, cycle - 1 - decide - begin, "right")) - 1])
        requested = begin + last + decide
        return self._word(self.pixel(requested), requested)

    def windowed(self, cycle: int) -> int:
        """Return whether the vector that enters the array belongs to a depthwise pass."""
        requested = cycle - self.read_latency
        return self.pixel_layout.get(self.pixel(requested), "windowed") if requested >= 0 else 0

    def line_delay(self, cycle: int) -> int:
        """Return the line buffers' delay in cycles: it is set when a depthwise pass enters the array, and then held."""
        begin = self._events.passes.begin[self._depthwise]
        position = int(np.searchsorted(begin, cycle - 1 - self._events.pixel_delay(), "right")) - 1
        if position < 0 or not self.config.depthwise:
            return 0
        p = self._events.passes.instruction(int(self._depthwise[position]))
        return p.line_pixels - self.config.depthwise
