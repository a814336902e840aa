"""The instruction memory delivers the instructions of a walk in order, none lost, none twice: for all time."""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from etchnet.hdl.blocks.delay_line import delay_line
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.core.control import pass_lookahead
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.isa import Drain, Instruction, Pass, stored_slice
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs.harness import Edit, Harness, Peek
from etchnet.host.proofs.induction import Control, prove_all
from etchnet.host.proofs.result import Proof

__all__ = ["ASSUMPTIONS", "FetchHarness", "edits", "fetch"]


class FetchHarness(Harness):
    """An instruction memory, the walk that it should follow, and one instruction that is followed on its way.

    `walk`: position and repeat are counted up from `start`, where the component counts down. Every read must be of the
    walk's next address. A start ends the walk of the start before, if any of it is left to read.

    `mark`: in any cycle, an arbitrary input may choose the instruction that is read to be followed. Its word is the one
    that the memory holds when it reads; `before` counts the instructions that must be taken before it. It must leave
    after exactly these, with its word, its `final`, its `place` and its derived values, and be offered unchanged until
    it is taken. As any instruction may be chosen, this holds for all.
    """

    def __init__(self, instruction: type[Instruction], config: Config, *, edit: Edit | None = None) -> None:
        self._config, self._depth, self._layout = config, instruction_depth(instruction, config), instruction
        is_pass = instruction is Pass
        derived = pass_lookahead.layout(config) if is_pass else DrainWalk.derived_layout(config)
        self._derive: Any = pass_lookahead.derive if is_pass else partial(DrainWalk.derive, config)
        self._streamed = instruction.streamed(config)
        late = instruction.layout(config).size - self._streamed.size
        self._slice = stored_slice(config, bits=self._streamed.size, first=late)
        self._first = late - self._slice.first
        self._head = InstructionMemory.head_layout(instruction, config, self._depth)
        self._derived = derived
        self._queued = config.memory_latency > 1
        self._size = 1 << (config.memory_latency + 2).bit_length()
        self._entry_bits = self._head.size + derived.size
        memory = InstructionMemory(
            instruction,
            config,
            depth=self._depth,
            derived=derived,
            derive=self._derive,
            reset=pass_lookahead.reset(config) if is_pass else DrainWalk.derived_reset(config),
        )
        peeks = {"word": Peek("memory.memory.memory", self._slice.bits)}
        if self._queued:
            peeks["entry"] = Peek("queue", self._entry_bits)
        super().__init__(memory, extra={"mark": 1}, peeks=peeks, edit=edit)

    def specify(self, m: Module) -> None:
        """Add the walk, the mark, and what they say of the registers."""
        inside, ports = self.inside, self.ports
        read, taken = Signal(name="read"), Signal(name="taken")
        m.d.comb += [
            read.eq(inside["ahead_read"] & inside["fetching"]),
            taken.eq(ports.instructions.valid & ports.instructions.ready),
        ]
        self._outstanding = Signal(range(4 * self._size), name="outstanding")
        m.d.sync += self._outstanding.eq(self._outstanding + read - taken)
        self._walk(m, read)
        self._mark(m, read, taken)
        if self._queued:
            self._through_queue(m, read)
        else:
            self._directly(m)
        self._progress(m, read)

    def _walk(self, m: Module, read: Signal) -> None:
        """Follow the walk; compare it with the component's counters."""
        inside, ports = self.inside, self.ports
        active = Signal(name="active")
        first, count, repeats = (
            Signal.like(port, name=f"walk_{name}", reset_less=True)
            for name, port in (("first", ports.first), ("count", ports.count), ("repeats", ports.repeats))
        )
        position, repeat = Signal.like(ports.count, name="position"), Signal.like(ports.repeats, name="repeat")
        ends, final = Signal(name="ends"), Signal(name="final")
        m.d.comb += [ends.eq(position == count - 1), final.eq(ends & (repeat == repeats - 1))]
        with m.If(read):
            m.d.sync += position.eq(position + 1)
            with m.If(ends):
                m.d.sync += [position.eq(0), repeat.eq(repeat + 1), active.eq(~final)]
        with m.If(ports.start):
            m.d.sync += [active.eq(1), position.eq(0), repeat.eq(0)]
            m.d.sync += [first.eq(ports.first), count.eq(ports.count), repeats.eq(ports.repeats)]
        self.assume(m, "something_to_walk", ~ports.start | ((ports.count != 0) & (ports.repeats != 0)))
        self.assume(m, "first_and_count_stable", ~active | ((ports.first == first) & (ports.count == count)))
        self.claim(m, "walk_is_read_when_active", inside["fetching"] == active)
        address = Signal.like(inside["address"], name="walk_address")
        m.d.comb += address.eq(first + position)
        self.claim(m, "address", ~active | (inside["address"] == address))
        self.claim(m, "last", ~active | (inside["last"] == final))
        self.keep(m, "left", ~active | ((position < count) & (inside["left"] == count - position)))
        self.keep(m, "repeats_left", ~active | ((repeat < repeats) & (inside["repeats_left"] == repeats - repeat)))
        self._final, self._address, self._active = final, address, active

    def _mark(self, m: Module, read: Signal, taken: Signal) -> None:
        """Follow the marked instruction from its read until it is taken."""
        payload = self.ports.instructions.payload
        marking, marked = Signal(name="marking"), Signal(name="marked")
        before = Signal.like(self._outstanding, name="before")
        final = Signal(name="marked_final", reset_less=True)
        place = Signal.like(self._address, name="marked_place", reset_less=True)
        m.d.comb += marking.eq(read & self.mark & ~marked)
        with m.If(marked & taken):
            m.d.sync += [before.eq(before - 1), marked.eq(before != 0)]
        with m.If(marking):
            m.d.sync += [marked.eq(1), before.eq(self._outstanding - taken)]
            m.d.sync += [final.eq(self._final), place.eq(self._address)]
        # The memory reads the word after the registers in front of it.
        waits = Ram.waits_of(self._config.memory_latency)
        lines = delay_line(m, marking, self._config.memory_latency, name="marked_ago")
        places = [self._address, place]
        word = Signal(self._slice.bits, name="marked_word", reset_less=True)
        with m.If(lines[waits]):
            m.d.sync += word.eq(self.peek(m, "word", places[waits]))
        fields = data.View(self._streamed, word[self._first :][: self._streamed.size])
        head, derived = Signal(self._head, name="expected"), Signal(self._derived, name="expected_derived")
        m.d.comb += [
            head.fields.eq(fields),
            head.final.eq(final),
            *([head.place.eq(place)] if "place" in self._head.members else []),
            *(derived[name].eq(value) for name, value in self._derive(fields).items()),
        ]
        offered = self.ports.instructions.valid
        self._is_expected = (payload.head.as_value() == head.as_value()) & (
            payload.derived.as_value() == derived.as_value()
        )
        self._expected, self._fields, self._word = Cat(head, derived), fields, word
        self._marked, self._before, self._mark_lines = marked, before, lines
        self._marked_final, self._marked_place = final, place
        self.claim(m, "offered_only_if_read", ~offered | (self._outstanding != 0))
        self.claim(m, "in_order_and_unchanged", ~(marked & (before == 0) & offered) | self._is_expected)
        self.keep(m, "before", ~marked | (before < self._outstanding))

    def _directly(self, m: Module) -> None:
        """State where the outstanding instructions are: at the head, and in the memory's output register."""
        inside = self.inside
        valid, read_valid = inside["valid"], inside["read_valid"]
        self.keep(m, "outstanding", self._outstanding == valid + read_valid)
        in_memory = self._marked & (self._before == valid)
        same = inside["memory.memory.memory.read_0"] == self._word
        same &= inside["read_final"] == self._marked_final
        if "place" in self._head.members:
            same &= inside["read_address"] == self._marked_place
        self.keep(m, "marked_in_memory", ~in_memory | same)

    def _through_queue(self, m: Module, read: Signal) -> None:
        """State where the outstanding instructions are: at the head, in the queue, and on their way to it."""
        inside, latency, size = self.inside, self._config.memory_latency, self._size
        valid, count, room = inside["valid"], inside["count"], inside["room"]
        arriving = [inside[f"arriving_{stage}"] for stage in range(1, latency + 1)]
        flying = sum((stage[0] for stage in arriving), start=Value.cast(0))
        in_queue = valid + count
        self.keep(m, "outstanding", self._outstanding == in_queue + flying)
        self.claim(m, "queue_has_room", room + inside["freed"] + count + flying == size)
        self.keep(m, "some", inside["some"] == (count != 0))
        head, tail = inside["look__addr"], inside["$signature__addr"]
        end = Signal.like(tail, name="queue_end")
        m.d.comb += end.eq(head + count)
        self.keep(m, "queue_is_contiguous", tail == end)
        index = Signal.like(head, name="marked_index")
        m.d.comb += index.eq(head + self._before - valid)
        entry = self.peek(m, "entry", index)
        queued = self._marked & (self._before >= valid) & (self._before < in_queue)
        self.keep(m, "marked_in_queue", ~queued | (entry == self._expected))
        lines = self._mark_lines
        on_the_way = Cat(*lines[1:]).any()
        self.keep(m, "marked_on_the_way", (self._marked & (self._before >= in_queue)) == on_the_way)
        for stage in range(1, latency + 1):
            ahead = sum((s[0] for s in arriving[stage:]), start=in_queue)
            here = arriving[stage - 1][0] & (self._before == ahead) & self._marked
            here &= (arriving[stage - 1][1] == self._marked_final) & (Cat(*lines[1:]) == 1 << (stage - 1))
            if "place" in self._head.members:
                here &= inside[f"place_{stage}"] == self._marked_place
            self.keep(m, f"marked_at_{stage}", ~lines[stage] | (here & self._data_at(stage)))

    def _data_at(self, stage: int) -> Value:
        """Return whether the memory holds the marked instruction `stage` cycles after the read."""
        inside, waits = self.inside, Ram.waits_of(self._config.memory_latency)
        if stage <= waits:
            enabled: Value = inside["memory.memory.late_enable_1"]
            return enabled & (inside["memory.memory.late_address_1"] == self._marked_place)
        after = stage - waits - 1
        held = inside[f"memory.memory.data_{after}"] if after else inside["memory.memory.memory.read_0"]
        return held == self._word

    def _progress(self, m: Module, read: Signal) -> None:
        """Claim that an instruction is offered soon if any is outstanding, and read at once if none is."""
        inside, latency = self.inside, self._config.memory_latency
        offered = self.ports.instructions.valid
        # An instruction is outstanding from the second cycle after `start` on.
        longest = InstructionMemory.latency(self._config) - 2
        waited = Signal(range(longest + 2), name="waited")
        m.d.sync += waited.eq(Mux(offered | (self._outstanding == 0), 0, waited + 1))
        self.claim(m, "something_is_read", ~self._active | read | (self._outstanding != 0))
        self.claim(m, "offered_in_time", (waited < longest) | offered | (self._outstanding == 0))
        self.keep(m, "waited", waited <= longest)
        if not self._queued:
            self.keep(m, "waited_in_memory", ~inside["read_valid"] | offered | (waited == 0))
            return
        queued = inside["count"] != 0
        self.keep(m, "waited_in_queue", ~queued | offered | (waited <= latency))
        older: Value = queued | offered
        for stage in range(latency, 0, -1):
            arriving = inside[f"arriving_{stage}"][0]
            self.keep(m, f"waited_at_{stage}", ~arriving | older | (waited < stage))
            older = older | arriving


def instruction_depth(instruction: type[Instruction], config: Config) -> int:
    """Return how many instructions of a kind a machine holds."""
    return config.passes if instruction is Pass else config.drains


ASSUMPTIONS = {
    "something_to_walk": "a start asks for at least one instruction, at least once",
    "first_and_count_stable": "first and count do not change from a start until its last instruction has been read",
}
"""all assumptions, by their name in the harness"""


def fetch(config: Config) -> Proof:
    """Prove that both instruction memories of a machine deliver what they should."""
    passes, drains = FetchHarness(Pass, config), FetchHarness(Drain, config)
    return prove_all(
        "instruction memories",
        "The instructions taken are those that each start asks for, in the order of its walk, with their words, final, "
        "place and derived values, none lost and none twice, for every first, count, number of repeats, contents of "
        "the memory and pattern of ready; the queue never overflows; what was read is offered in time, unchanged until "
        "taken",
        {"passes": passes, "drains": drains},
        assumptions=tuple(ASSUMPTIONS.values()),
        controls=[
            *(Control(f"without the assumption {name}", drains, name) for name in ASSUMPTIONS),
            *(Control(edit.name, FetchHarness(Drain, config, edit=edit)) for edit in edits(config)),
        ],
    )


def edits(config: Config) -> list[Edit]:
    """Return changes of an instruction memory, each of which loses, repeats, reorders or alters instructions."""
    common = [
        Edit("reads never end", "", "sync", lambda s: [s["fetching"].eq(1)]),
        Edit("every instruction is final", "", "comb", lambda s: [s["last"].eq(1)]),
        Edit("the head does not wait until it is taken", "", "comb", lambda s: [s["take_head"].eq(1)]),
        Edit("a repeat begins one word late", "", "sync", lambda s: [s["address"].eq(s["address"] + 1)]),
    ]
    if config.memory_latency == 1:
        return [
            *common,
            Edit("the memory does not wait for the head", "", "comb", lambda s: [s["ahead_read"].eq(1)]),
        ]
    return [
        *common,
        Edit("reads do not wait for room", "", "comb", lambda s: [s["ahead_read"].eq(1)]),
        Edit("the queue has room for one more than it holds", "", "sync", _one_more),
    ]


def _one_more(inside: Any) -> list[Any]:
    """Let `room` begin one too high."""
    begun = Signal(name="begun", init=1)
    return [begun.eq(0), inside["room"].eq(inside["room"] + inside["freed"] - inside["ahead_read"] + begun)]
