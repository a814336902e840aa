"""The sender sends every word of every committed half once and in order: for all time."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value

from etchnet.hdl.core.control.sender import Sender
from etchnet.hdl.isa import COUNTER_BITS, Counter, chunks
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs.harness import Edit, Harness
from etchnet.host.proofs.induction import Control, prove_all
from etchnet.host.proofs.result import Proof

__all__ = ["ASSUMPTIONS", "EDITS", "SenderHarness", "sender"]


class SenderHarness(Harness):
    """A sender, the link word that it should send next, and an output memory of which one word is known.

    `next`: half, memory word and chunk of the link word that the receiver should get next, counted up with every
    transfer: chunks from the lowest, words from the first to the last of the half, the halves in turn. The memory's
    port is as `Sender` describes it: a word that is read is on `data` in the next cycle and until the next read.

    One memory word is known: it has an arbitrary address, and `contents` that are arbitrary in every cycle. What is
    sent of it is what it held when it was read; as the address may be any, this holds for all words. The length of a
    half is arbitrary, and stays until the half is read.
    """

    def __init__(self, config: Config, *, edit: Edit | None = None) -> None:
        self._config = config
        super().__init__(Sender(config), extra={"contents": 8 * config.rows}, edit=edit)

    def specify(self, m: Module) -> None:
        """Add the link word to send next, the memory, and the counters to send next."""
        self._memory(m)
        self._results(m)
        self._halves(m)
        self._counters(m)

    def _memory(self, m: Module) -> None:
        """Assume a memory: the word at the known address is on `data` from the cycle after its read to the next."""
        ports = self.ports
        where = Signal.like(ports.address, name="known_address", reset_less=True)
        word, before = (Signal.like(ports.data, name=name, reset_less=True) for name in ("known_word", "data_before"))
        read, held = Signal(name="known_read"), Signal(name="data_held")
        m.d.sync += [where.eq(where), held.eq(~ports.enable), before.eq(ports.data)]
        with m.If(ports.enable):
            m.d.sync += [read.eq(ports.address == where), word.eq(self.contents)]
        self.assume(m, "known_word", ~read | (ports.data == word))
        self.assume(m, "data_held", ~held | (ports.data == before))
        self._where, self._word, self._read = where, word, read

    def _results(self, m: Module) -> None:
        """Follow what should be sent."""
        ports, inside, config = self.ports, self.inside, self._config
        count = chunks(8 * config.rows, config)
        half, word, chunk = (Signal.like(inside[name], name=f"next_{name}") for name in ("half", "word", "chunk"))
        words = Signal.like(ports.words, name="next_words", reset_less=True)
        valid, sent_last = inside["valid"], inside["sent_last"]
        results = Signal(name="sends_results")
        taken, ends = Signal(name="word_taken"), Signal(name="half_ends")
        # The length of the half that is read is stable; that of the next word is remembered from its read.
        m.d.comb += [
            results.eq(ports.link.valid & ~ports.counters),
            taken.eq(results & ports.link.ready),
            ends.eq((chunk == count - 1) & (word == words - 1)),
        ]
        with m.If(taken):
            m.d.sync += chunk.eq(chunk + 1)
            with m.If(chunk == count - 1):
                m.d.sync += [chunk.eq(0), word.eq(word + 1)]
            with m.If(ends):
                m.d.sync += [word.eq(0), half.eq(~half)]
        with m.If(ports.enable):
            m.d.sync += words.eq(ports.words)
        is_known = Cat(word, half) == self._where
        part = self._word.word_select(chunk, config.link_bits)
        self.claim(m, "in_order", ~(results & is_known) | (ports.link.payload == part))
        self.claim(m, "half_sent_with_last_word", ports.half_sent == (taken & ends))
        self.claim(m, "last_marks_the_end", ~results | (ports.last == ends))
        self._stable(m, results)

        # Where the reads are: at the next word, or one link word after it if that is on offer.
        after_chunk, after_word, after_half = (Signal.like(s, name=f"after_{s.name}") for s in (chunk, word, half))
        m.d.comb += [
            after_chunk.eq(Mux(chunk == count - 1, 0, chunk + 1)),
            after_word.eq(Mux(ends, 0, Mux(chunk == count - 1, word + 1, word))),
            after_half.eq(half ^ ends),
        ]
        reads = Cat(inside["chunk"], inside["word"], inside["half"])
        expected = Mux(valid, Cat(after_chunk, after_word, after_half), Cat(chunk, word, half))
        self.keep(m, "reads_follow", reads == expected)
        self.keep(m, "chunk_of_word", ~valid | (inside["sent_chunk"] == chunk))
        self.keep(m, "end_of_half", ~valid | (sent_last == ends))
        self.keep(m, "known_word_read", ~(valid & is_known) | self._read)
        self.keep(m, "chunk_in_range", chunk < count)
        self.keep(m, "words_within_half", ~valid | (word < words))
        self._words, self._last_word = words, ends

    def _halves(self, m: Module) -> None:
        """Assume the rules of the halves; claim that each is read once."""
        ports, inside = self.ports, self.inside
        begun = Signal(name="half_begun")
        length = Signal.like(ports.words, name="length", reset_less=True)
        with m.If(ports.enable):
            m.d.sync += [begun.eq(~ports.half_read), length.eq(ports.words)]
        most = self._config.output_words
        self.assume(m, "length", ~ports.full | ((ports.words > 0) & (ports.words <= most)))
        self.assume(m, "length_stable", ~begun | (ports.words == length))
        # A half is begun exactly from its first read to its last.
        first = (inside["word"] == 0) & (inside["chunk"] == 0)
        self.claim(m, "half_begins_at_its_first_word", begun != first)
        self.claim(m, "half_read_at_its_last_word", ports.half_read == (ports.enable & self._reads_last()))
        self.claim(m, "reads_only_full_halves", ~ports.enable | ports.full)
        self.keep(m, "read_within_half", ~begun | (inside["word"] < length))
        self.keep(m, "length_of_half", ~(begun & inside["valid"]) | (self._words == length))

    def _reads_last(self) -> Value:
        """Return whether the read of this cycle is the last of its half."""
        count = chunks(8 * self._config.rows, self._config)
        last: Value = (self.inside["chunk"] == count - 1) & (self.inside["word"] == self.ports.words - 1)
        return last

    def _stable(self, m: Module, results: Signal) -> None:
        """Claim the rule of a stream: what is offered stays, unchanged, until it is accepted."""
        ports = self.ports
        offered, payload = Signal(name="was_offered"), Signal.like(ports.link.payload, name="payload_before")
        last = Signal(name="last_before")
        m.d.sync += [
            offered.eq(ports.link.valid & ~ports.link.ready & ~ports.counters),
            payload.eq(ports.link.payload),
            last.eq(ports.last),
        ]
        same = results & (ports.link.payload == payload) & (ports.last == last)
        self.claim(m, "stays_until_accepted", ~offered | same)

    def _counters(self, m: Module) -> None:
        """Follow an answer: every counter's two words in order, each as it was when it was chosen."""
        ports, inside = self.ports, self.inside
        count = 2 * len(Counter)
        index = Signal(range(count), name="counter_word")
        taken, answering = Signal(name="counter_taken"), Signal(name="answering")
        m.d.comb += taken.eq(ports.counters & ports.link.ready)
        with m.If(taken):
            m.d.sync += index.eq(Mux(index == count - 1, 0, index + 1))
        m.d.sync += answering.eq(ports.counters & ~ports.counters_done)
        totals = Signal(64 * len(Counter), name="totals_before", reset_less=True)
        asked, known = Signal(name="asked_before"), Signal(name="totals_known")
        with m.If(~ports.counters | ports.link.ready):
            m.d.sync += [totals.eq(Cat(*(Cat(total, C(0, 64 - COUNTER_BITS)) for total in ports.totals))), known.eq(1)]
        m.d.sync += asked.eq(ports.counters)
        # Once no half is left to send, and until all words of the counters have been accepted.
        self.assume(m, "counters_when_all_is_sent", ~ports.counters | (~ports.full & ~inside["valid"]))
        self.assume(m, "counters_until_done", ~answering | ports.counters)
        self.assume(m, "no_counters_at_once", ~ports.counters | known)
        expected = totals.word_select(index, 32)
        self.claim(m, "counters_in_order", ~ports.counters | (ports.link.payload == expected))
        self.claim(m, "counters_offered", ~ports.counters | ports.link.valid)
        self.claim(m, "counters_done_with_last_word", ports.counters_done == (taken & (index == count - 1)))
        self.claim(m, "last_counter", ~ports.counters | (ports.last == (index == count - 1)))
        following = Mux(index == count - 1, 0, index + 1)
        self.keep(m, "counter_follows", inside["following"] == following)
        self.keep(m, "counter_in_range", index < count)
        self.keep(m, "counter_starts_at_first", answering | (index == 0))
        self.keep(m, "counter_chosen", ~known | (inside["counted"] == expected))


EDITS = (
    Edit("words go on although the link is not ready", "", "comb", lambda s: [s["advance"].eq(1)]),
    Edit("words are counted in every cycle", "", "sync", lambda s: [s["word"].eq(s["word"] + 1)]),
    Edit("every read ends a half", "", "comb", lambda s: [s["half_read"].eq(s["enable"])]),
    Edit("the chunk is that of the next word", "", "sync", lambda s: [s["sent_chunk"].eq(s["chunk"] + 1)]),
    Edit("the half is not changed", "", "sync", lambda s: [s["half"].eq(0)]),
    Edit(
        "counters go on although the link is not ready", "", "sync", lambda s: [s["following"].eq(s["following"] + 1)]
    ),
    Edit("a half is freed by the read of its last word", "", "comb", lambda s: [s["half_sent"].eq(s["half_read"])]),
)


ASSUMPTIONS = {
    "known_word": "the memory delivers a word, as it is when it is read, in the cycle after the read",
    "data_held": "the memory holds a word until the next read",
    "length": "a half has 1 to output_words words",
    "length_stable": "the length of a half stays the same from its first read to its last",
    "counters_when_all_is_sent": "counters are requested when no half is left to send",
    "counters_until_done": "counters are requested until they have been answered",
    "no_counters_at_once": "counters are not requested in the first cycle after reset",
}
"""all assumptions, by their name in the harness"""


def sender(config: Config) -> Proof:
    """Prove that the sender of a machine sends what it should."""
    harness = SenderHarness(config)
    return prove_all(
        "sender",
        "Of every committed half, each of its link words is sent once and in order, the lowest bits of a memory word "
        "first, and unchanged from its offer until it is accepted; half_read comes with the last read of a half, "
        "half_sent with the acceptance of its last word; an answer is both words of every counter in order",
        {"sender": harness},
        assumptions=tuple(ASSUMPTIONS.values()),
        controls=[
            *(Control(f"without the assumption {name}", harness, name) for name in ASSUMPTIONS),
            *(Control(edit.name, SenderHarness(config, edit=edit)) for edit in EDITS),
        ],
        cycles=8,
    )
