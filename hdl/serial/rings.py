"""The two ring buffers between frames and links: bytes to the machine, and bytes from it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.serial.framing import CHECK_BYTES, UNIT

__all__ = ["IncomingRing", "OutgoingRing"]


def _pointer(size: int, name: str) -> Signal:
    """Return a pointer into a ring, one bit wider than addresses so that a full ring differs from an empty one."""
    return Signal(range(2 * size), name=name)


class IncomingRing(wiring.Component):
    """The bytes on their way to the machine: a frame's bytes join the ring once the frame has proved valid.

    Bytes that are `put` are pending until the next `rewind`. A `commit` in the cycle after a `rewind` keeps the bytes
    that were pending, except the last CHECK_BYTES; without it they are lost. Link words consist of committed bytes,
    lowest byte first, and take at least three cycles per byte.

    ==========  =========  =====================  ==============================================================
    port        direction  shape                  meaning
    ==========  =========  =====================  ==============================================================
    put         in         1                      take `data`; dropped if the ring is full
    data        in         8                      byte of a frame's body or check
    rewind      in         1                      a frame begins: drop the pending bytes
    commit      in         1                      keep the bytes that the last cycle's `rewind` dropped
    overflowed  out        1                      with `commit`: some of them were dropped: the ring was full
    free        out        8                      free space in units of UNIT bytes; pending bytes count as free
    link        out        stream of `link_bits`  link words to the machine
    ==========  =========  =====================  ==============================================================
    """

    def __init__(self, *, link_bits: int, size: int, latency: int) -> None:
        self._link_bits, self._size, self._latency = link_bits, size, latency
        super().__init__(
            {
                "put": In(1),
                "data": In(8),
                "rewind": In(1),
                "commit": In(1),
                "overflowed": Out(1),
                "free": Out(8),
                "link": Out(stream.Signature(link_bits)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the memory, its side of the line, and its side of the machine."""
        m = Module()
        size = self._size
        memory = Ram(bits=8, depth=size, name="frames_in", latency=self._latency)
        submodule(m, platform, "memory", memory, variant="frames_in")
        # Bytes up to `end` are committed, those from there to `write` pending.
        read, end, write, frame_end = (_pointer(size, name) for name in ("read", "end", "write", "frame_end"))
        full, overflow = Signal(), Signal()
        free_units = ((read ^ size) - end)[UNIT.bit_length() - 1 : read.shape().width]
        m.d.comb += [
            full.eq(write ^ read == size),
            memory.write_address.eq(write),
            memory.write_data.eq(self.data),
            memory.write_lanes.eq(self.put & ~full),
            self.free.eq(free_units),
        ]
        m.d.sync += [self.overflowed.eq(overflow), frame_end.eq(write - CHECK_BYTES)]
        with m.If(self.rewind):
            m.d.sync += [overflow.eq(0), write.eq(end)]
        with m.If(self.put):
            with m.If(full):
                m.d.sync += overflow.eq(1)
            with m.Else():
                m.d.sync += write.eq(write + 1)
        with m.If(self.commit):
            m.d.sync += [end.eq(frame_end), write.eq(frame_end)]

        # Bytes are assembled into link words.
        link_bytes = self._link_bits // 8
        asked, fetching, whole = Signal(), Signal(), Signal()
        count, word = Signal(range(link_bytes)), Signal(self._link_bits, reset_less=True)
        m.d.comb += [
            memory.address.eq(read),
            memory.enable.eq(~asked & ~fetching & ~whole & (read != end)),
            self.link.valid.eq(whole),
            self.link.payload.eq(word),
        ]
        m.d.sync += [asked.eq(memory.enable), fetching.eq(asked)]
        with m.If(fetching):
            m.d.sync += [word.eq(Cat(word[8:], memory.data)), read.eq(read + 1), count.eq(count + 1)]
            with m.If(count == link_bytes - 1):
                m.d.sync += [count.eq(0), whole.eq(1)]
        with m.If(self.link.valid & self.link.ready):
            m.d.sync += whole.eq(0)
        return m


class OutgoingRing(wiring.Component):
    """The bytes on their way from the machine: an answer's bytes are kept until the host has received it.

    An answer begins where the one before it ended. `advance` discards the bytes of the last answer and begins the next
    one, of at most UNIT x `limit` bytes; `rewind` begins the last one again. The answer is read byte by byte: `data`
    holds the byte that `fetch` read two cycles before. A link word takes two cycles per byte and one more.

    =========  =========  =====================  ===================================================================
    port       direction  shape                  meaning
    =========  =========  =====================  ===================================================================
    link       in         stream of `link_bits`  link words from the machine
    rewind     in         1                      go to the first byte of the last answer
    advance    in         1                      go to the first byte of a new answer; overrides `rewind`
    limit      in         8                      with `advance`: maximum length of the answer in units of UNIT bytes
    fetch      in         1                      read the byte at `position`
    data       out        8                      that byte
    step       in         1                      go to the next byte
    stop       in         1                      the answer ends here
    position   out        address of the ring    the byte that is read next; 0 after reset
    exhausted  out        1                      the limit is reached, or there are no more bytes
    =========  =========  =====================  ===================================================================
    """

    def __init__(self, *, link_bits: int, size: int, latency: int) -> None:
        self._link_bits, self._size, self._latency = link_bits, size, latency
        super().__init__(
            {
                "link": In(stream.Signature(link_bits)),
                "rewind": In(1),
                "advance": In(1),
                "limit": In(8),
                "fetch": In(1),
                "data": Out(8),
                "step": In(1),
                "stop": In(1),
                "position": Out(range(size)),
                "exhausted": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the memory, its side of the line, and its side of the machine."""
        m = Module()
        size = self._size
        memory = Ram(bits=8, depth=size, name="frames_out", latency=self._latency)
        submodule(m, platform, "memory", memory, variant="frames_out")
        # The last answer has the bytes from `begin` to `end`; `read` is the current position.
        begin, end, read, write = (_pointer(size, name) for name in ("begin", "end", "read", "write"))
        m.d.comb += [
            memory.address.eq(read),
            memory.enable.eq(self.fetch),
            self.data.eq(memory.data),
            self.position.eq(read),
            self.exhausted.eq((read == end) | (read == write)),
        ]
        with m.If(self.advance):
            # The furthest end that the answer may have; `stop` moves `end` to the actual one.
            m.d.sync += [begin.eq(end), read.eq(end), end.eq(end + self.limit * UNIT)]
        with m.Elif(self.rewind):
            m.d.sync += read.eq(begin)
        with m.If(self.step):
            m.d.sync += read.eq(read + 1)
        with m.If(self.stop):
            m.d.sync += end.eq(read)

        # A link word is held until its last byte is written: one cycle to see whether there is room, one to write.
        link_bytes = self._link_bits // 8
        room, kept = Signal(), Signal()
        count, word = Signal(range(link_bytes)), Signal(self._link_bits, reset_less=True)
        m.d.comb += [
            memory.write_address.eq(write),
            memory.write_data.eq(word[:8]),
            memory.write_lanes.eq(kept & room),
            self.link.ready.eq(~kept),
        ]
        with m.If(~kept):
            m.d.sync += [kept.eq(self.link.valid), word.eq(self.link.payload)]
        m.d.sync += room.eq(kept & ~room & (write ^ begin != size))
        with m.If(kept & room):
            m.d.sync += [write.eq(write + 1), count.eq(count + 1), word.eq(word >> 8)]
            with m.If(count == link_bytes - 1):
                m.d.sync += [count.eq(0), kept.eq(0)]
        return m
