"""The outcome of a proof, in the form that every proof of this folder returns."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Proof"]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A statement about a machine, and whether a tool proved it.

    A *control* is a proof too: of a statement that is false, about a machine that was broken on purpose. It must not
    hold; its `name` says what was broken.

    Attributes
    ----------
    name
        A few words, different for every proof of one machine.
    statement
        The claim, as a sentence that is true if `holds`.
    holds
        Whether the statement was proved. False also if the tool gave up.
    tool
        The program that decided it, with its version.
    seconds
        Time that the proof took.
    assumptions
        All that was assumed of inputs and programs, one sentence each.
    detail
        What was counted or checked; if the proof failed, the counterexample: signals by name, with their values.
    controls
        Proofs about broken machines.
    """

    name: str
    statement: str
    holds: bool
    tool: str
    seconds: float
    assumptions: tuple[str, ...] = ()
    detail: str = ""
    controls: tuple[Proof, ...] = ()

    @property
    def rejects_controls(self) -> bool:
        """Whether no control holds."""
        return not any(control.holds for control in self.controls)
