"""Sessions on two engines, compared in every defined bit of every word, in every counter, and in every cycle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from support.sessions import Session
from support.untimed import ANSWER

from etchnet.hdl.isa import Counter
from etchnet.sim.engines.link import Engine, LinkTrace


@dataclass(frozen=True)
class Outcome:
    """What a session does on an engine."""

    words: list[np.ndarray]
    """for each exchange, the words that came back"""
    cycles: list[int]
    """for each exchange, the cycle after it"""
    record: LinkTrace

    def counters(self, session: Session) -> list[dict[Counter, int]]:
        """Return the counters of every answer."""
        low = np.concatenate(self.words)[:, 0].astype(np.int64)
        answers = [low[at : at + ANSWER] for at in session.answers]
        return [{c: int(a[2 * c] | a[2 * c + 1] << 32) for c in Counter} for a in answers]


def outcome(engine: Engine, session: Session) -> Outcome:
    """Exchange everything; the engine must have been made for the session's trace."""
    words, cycles = [], []
    for exchange in session.exchanges:
        words.append(engine.exchange(exchange.words, exchange.count).copy())
        cycles.append(engine.cycle)
    return Outcome(words, cycles, engine.record)


def difference(session: Session, one: Outcome, other: Outcome) -> str | None:
    """Say where two outcomes differ first, or return None if they agree."""
    for index, (exchange, *both) in enumerate(zip(session.exchanges, one.words, other.words, strict=True)):
        different = ((both[0] ^ both[1]) & exchange.defined).any(axis=1)
        if different.any():
            at = int(np.argmax(different))
            values = " and ".join(" ".join(f"{lane:08x}" for lane in words[at, ::-1]) for words in both)
            before = sum(e.count for e in session.exchanges[:index])
            kind = "a counter" if any(a <= before + at < a + ANSWER for a in session.answers) else "a result"
            return f"exchange {index}, word {at}, {kind}: {values}"
    for name in ("offers", "accepts"):
        moved = [np.flatnonzero(getattr(o.record, name)) for o in (one, other)]
        same = moved[0] == moved[1] if len(moved[0]) == len(moved[1]) else np.zeros(1, bool)
        if not same.all():
            at = int(np.argmin(same))
            way = "in" if name == "offers" else "out"
            return f"word {at} on the link {way} moves in cycle {moved[0][at]} and in cycle {moved[1][at]}"
    for index, (a, b) in enumerate(zip(one.cycles, other.cycles, strict=True)):
        if a != b:
            return f"exchange {index} ends in cycle {a} and in cycle {b}"
    return None
