"""The format of packets as an observer of the incoming link sees it, in terms of an SMT solver."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bitwuzla import Kind, Term

from etchnet.hdl.isa import Header, Target, chunks, word_bits
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs.terms import Terms

__all__ = ["DATA_TARGETS", "Observer"]

DATA_TARGETS = (Target.PARAMETERS, Target.WEIGHTS, Target.INPUT)
"""packets whose memory words are data"""

_HEADER, _COUNT, _WORDS = range(3)
_STATE_BITS, _COUNT_BITS = 2, 32


@dataclass(frozen=True)
class Observer:
    """The position of the next link word in its packet, followed from the transfers on the link alone.

    It is written from the format of packets (`docs/isa.md`), not from the gateware that reads them.

    Attributes
    ----------
    state
        2 bits: the next word is a header, a count, or a part of a memory word.
    target
        Target of the packet.
    remaining
        32 bits: memory words of the packet that have not passed, the present one included.
    chunk
        Link words of the present memory word that have passed.
    """

    config: Config
    terms: Terms
    state: Term
    target: Term
    remaining: Term
    chunk: Term

    @staticmethod
    def arbitrary(config: Config, terms: Terms, *, name: str = "observer") -> Observer:
        """Return an observer in any state."""
        widths = {
            "state": _STATE_BITS,
            "target": Observer.target_bits(config),
            "remaining": _COUNT_BITS,
            "chunk": Observer.chunk_bits(config),
        }
        values = {part: terms.variable(width, f"{name}.{part}") for part, width in widths.items()}
        return Observer(config, terms, **values)

    @staticmethod
    def target_bits(config: Config) -> int:
        """Return the width of a header's target."""
        return int(Header.layout(config)["target"].width)

    @staticmethod
    def chunk_bits(config: Config) -> int:
        """Return the width of `chunk`."""
        return max(chunks(word_bits(target, config), config) for target in Target).bit_length()

    @property
    def expects_header(self) -> Term:
        """Whether the next word is a header."""
        return self._is(_HEADER)

    @property
    def expects_count(self) -> Term:
        """Whether the next word is a count."""
        return self._is(_COUNT)

    @property
    def expects_words(self) -> Term:
        """Whether the next word is a part of a memory word."""
        return self._is(_WORDS)

    @property
    def expects_data(self) -> Term:
        """Whether the next word is a part of a memory word of parameters, weights or input."""
        return self.terms.all([self.expects_words, self.has_target(*DATA_TARGETS)])

    @property
    def is_within_word(self) -> Term:
        """Whether no more link words of the present memory word have passed than it has, less one."""
        return self.terms(Kind.BV_ULE, [self.chunk, self._last_chunk()])

    def has_target(self, *targets: Target) -> Term:
        """Return whether the packet has one of some targets."""
        return self._among(self.target, targets)

    def keeps_format(self, payload: Term) -> Term:
        """Return whether a word may come next: a header must have a target that exists."""
        terms = self.terms
        return terms.implies(self.expects_header, self._among(self.target_in(payload), tuple(Target)))

    def after(self, transferred: Term, payload: Term, reset: Term) -> Observer:
        """Return the observer a cycle later.

        Parameters
        ----------
        transferred
            Boolean: a word passes in this cycle.
        payload
            The word on the link.
        reset
            Boolean: the machine is in reset, and begins with a header afterwards.
        """
        terms = self.terms
        count = terms.part(payload, 0, _COUNT_BITS)
        answered = self.has_target(Target.COUNTERS)
        none = terms.equal(count, terms.const(0, _COUNT_BITS))
        last_chunk = terms.equal(self.chunk, self._last_chunk())
        last_word = terms.equal(self.remaining, terms.const(1, _COUNT_BITS))
        one = terms.const(1, _COUNT_BITS)
        begun = replace(self, state=self._state(_COUNT), target=self.target_in(payload))
        # The answer to a COUNTERS packet comes on the other link; the next word on this one is a header.
        ends = terms.any([answered, none])
        counted = replace(self, state=self._next_state(ends), remaining=count, chunk=self._chunk(0))
        fed = replace(
            self,
            state=self._next_state(terms.all([last_chunk, last_word])),
            remaining=self._if(last_chunk, terms(Kind.BV_SUB, [self.remaining, one]), self.remaining),
            chunk=self._if(last_chunk, self._chunk(0), terms(Kind.BV_ADD, [self.chunk, self._chunk(1)])),
        )
        moved = self._either(self.expects_header, begun, self._either(self.expects_count, counted, fed))
        fresh = replace(self, state=self._state(_HEADER))
        return self._either(reset, fresh, self._either(transferred, moved, self))

    # Parts

    def target_in(self, payload: Term) -> Term:
        """Return the target that a header names."""
        field = Header.layout(self.config)["target"]
        return self.terms.part(payload, field.offset, field.width)

    def _last_chunk(self) -> Term:
        value = self._chunk(0)
        for target in Target:
            last = chunks(word_bits(target, self.config), self.config) - 1
            value = self._if(self.has_target(target), self._chunk(last), value)
        return value

    def _among(self, target: Term, targets: tuple[Target, ...]) -> Term:
        return self.terms.any(
            self.terms.equal(target, self.terms.const(t, self.target_bits(self.config))) for t in targets
        )

    def _is(self, state: int) -> Term:
        return self.terms.equal(self.state, self._state(state))

    def _next_state(self, ends: Term) -> Term:
        """Return the state after a count or a memory word's part, with which the packet may end."""
        return self._if(ends, self._state(_HEADER), self._state(_WORDS))

    def _state(self, state: int) -> Term:
        return self.terms.const(state, _STATE_BITS)

    def _chunk(self, value: int) -> Term:
        return self.terms.const(value, self.chunk_bits(self.config))

    def _if(self, condition: Term, one: Term, other: Term) -> Term:
        return self.terms(Kind.ITE, [condition, one, other])

    def _either(self, condition: Term, one: Observer, other: Observer) -> Observer:
        parts = (
            self._if(condition, getattr(one, part), getattr(other, part))
            for part in ("state", "target", "remaining", "chunk")
        )
        return Observer(self.config, self.terms, *parts)
