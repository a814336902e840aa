"""Groups of passes with the drains that empty their accumulator rows: the units in which a program is emitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from etchnet.hdl.isa import Drain, Pass
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing import GroupFootprint, InterleavedPasses, Timeline

__all__ = ["Label", "LabelledPasses", "Order", "PassGroup", "Write"]


@dataclass(frozen=True)
class Order:
    """One of the orders in which the passes of a fusion group can run; all orders give the same result.

    Attributes
    ----------
    method
        `taps`: a pass per tap; `window`: depthwise passes; `hold`: a pass per result pixel, which folds all taps into
        one accumulator row; `pair`: a pass for each operand of an addition, each into its own bank.
    order
        `tiles`: column tile after column tile; `strips`: strip after strip; `side`: column tiles side by side in a
        bank.
    rows
        Largest number of accumulator rows that one pass group uses.
    """

    method: str
    order: str
    rows: int


@dataclass(frozen=True)
class Label:
    """The part of the network that a pass computes.

    Attributes
    ----------
    layer
        Index of the layer.
    tap
        Offset (y, x) of the tap in the image, such as `-1+0`; `-1-1..` for the window that begins there; `all` for a
        held pass.
    word
        Input word: the index of a block of `rows` input channels.
    tile
        Column tile: the index of a block of `columns` output channels.
    pixel
        First stored pixel of the result in the strip, counted over all images.
    """

    layer: int
    tap: str
    word: int
    tile: int
    pixel: int


@dataclass(frozen=True)
class Write:
    """The part of a layer's result that a drain writes: `tiles` column tiles from `tile`, `pixels` from `pixel`.

    Pixels are stored pixels, counted over all images.
    """

    layer: int
    tile: int
    tiles: int
    pixel: int
    pixels: int


@dataclass
class LabelledPasses:
    """Passes, and a label for each."""

    passes: list[Pass] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)

    def add(self, instruction: Pass, label: Label) -> None:
        """Append one pass."""
        self.passes.append(instruction)
        self.labels.append(label)


class PassGroup:
    """Passes that fill accumulator rows, and the drains that follow the last pass and empty these rows.

    The passes may be made lazily: the search for an order compares the timing of many groups, and needs the passes of
    only a few.

    Parameters
    ----------
    passes
        The passes with their labels, or a function that makes them.
    interleaved
        The passes in the form that the timing model takes, if it is known without making them.

    Attributes
    ----------
    drains
        The drains, in order; all but the first are chained.
    writes
        For each drain, the part of a layer's result that it writes; None if it writes accumulator rows.
    """

    def __init__(
        self, passes: LabelledPasses | Callable[[], LabelledPasses], interleaved: Sequence[InterleavedPasses] = ()
    ) -> None:
        self.drains: list[Drain] = []
        self.writes: list[Write | None] = []
        self._made, self._interleaved = passes, interleaved
        self._footprint: GroupFootprint | None = None

    @cached_property
    def _emitted(self) -> LabelledPasses:
        emitted = self._made if isinstance(self._made, LabelledPasses) else self._made()
        emitted.passes[-1] = dataclasses.replace(emitted.passes[-1], release=True)
        return emitted

    @property
    def passes(self) -> list[Pass]:
        """The passes, in order; the last releases the drains."""
        return self._emitted.passes

    @property
    def labels(self) -> list[Label]:
        """A label for each pass."""
        return self._emitted.labels

    def append_to(self, timeline: Timeline) -> None:
        """Append the passes and drains to a timeline, each as early as possible."""
        if self._footprint is None:
            self._footprint = self.footprint(timeline.config)
        timeline.place_group(self._footprint)

    def footprint(self, config: Config) -> GroupFootprint:
        """Return the footprint of the group, for the timing model."""
        return GroupFootprint.of(self._interleaved or self.passes, self.drains, config)
