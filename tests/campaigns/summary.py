"""Counts of a campaign: equal, different, errors, and refusals by reason."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from support.qdq.compare import DIFFERENT, EQUAL, INVALID, REFUSED, TRACEBACK, Outcome

KINDS = (EQUAL, DIFFERENT, TRACEBACK, REFUSED, INVALID)


@dataclass(frozen=True)
class Result:
    """The outcome of one case; `floats` are the operators that the runtime computes in float32."""

    case: Any
    family: str
    outcome: Outcome
    floats: tuple[str, ...] = ()


@dataclass
class Summary:
    """Results so far."""

    results: list[Result] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)
    shown: int = 0

    def count(self, kind: str) -> int:
        return sum(result.outcome.kind == kind for result in self.results)

    def line(self, total: int) -> str:
        """Return the progress in one line."""
        counts = ", ".join(f"{self.count(kind)} {kind}" for kind in KINDS)
        return f"{len(self.results)} of {total}: {counts}; {time.monotonic() - self.start:.0f} s"

    def show(self, total: int) -> None:
        """Print the progress on standard error: over the line before on a terminal, else every thousand cases."""
        done, terminal = len(self.results), sys.stderr.isatty()
        if terminal or done == total or done // 1000 > self.shown // 1000:
            print("\r" * terminal + self.line(total), end="" if terminal and done < total else "\n", file=sys.stderr)
            self.shown = done

    def text(self, *, reasons: int = 60) -> str:
        """Return all counts, with an example of each."""
        done = len(self.results) or 1
        lines = [f"{len(self.results)} cases in {time.monotonic() - self.start:.0f} s"]
        lines += [f"{kind:10} {self.count(kind):6}  {100 * self.count(kind) / done:5.1f}%" for kind in KINDS]
        lines.append("by placement: " + "; ".join(self._families()))
        bad = [r for r in self.results if r.outcome.kind in (DIFFERENT, TRACEBACK, INVALID)]
        lines += [f"{r.outcome.kind} {r.case} ({r.family}): {r.outcome.detail[:200]}" for r in bad[:40]]
        refused = [r for r in self.results if r.outcome.kind == REFUSED]
        counts = Counter(r.outcome.reason for r in refused)
        if refused:
            lines.append("refused, by reason (in brackets: how many of them ONNX Runtime computes in float32 in part)")
        for reason, count in counts.most_common(reasons):
            same = [r for r in refused if r.outcome.reason == reason]
            lines.append(f"{count:6} ({sum(bool(r.floats) for r in same)})  {reason}, as case {same[0].case}")
        return "\n".join(lines)

    def _families(self) -> list[str]:
        families = Counter(r.family for r in self.results)
        equal = Counter(r.family for r in self.results if r.outcome.kind == EQUAL)
        return [f"{name} {equal[name]} of {count} equal" for name, count in families.most_common()]
