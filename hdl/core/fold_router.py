"""The path of sums and fed-back results into the accumulator banks."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay, delay_line
from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.core.array.pixel_reader import PixelReader
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa.config import Config, sum_width

__all__ = ["FoldRouter"]


class FoldRouter(wiring.Component):
    """Routes sums of the array, and results that the output stage feeds back, into the accumulator banks.

    A fold that the sequencer issues names its row `delay` cycles later, so that the bank takes the values in the cycle
    in which the array delivers them. Results that are fed back come with a fold of their own,
    `AccumulatorBank.read_latency` cycles ahead of their values; in that cycle there must be no fold of the array for
    the same bank, which the program's idle cycles ensure. No flow control.

    ===============  =========  ===========================  ===========================================================
    port             direction  shape                        meaning
    ===============  =========  ===========================  ===========================================================
    issued           in         `Sequencer.fold_layout`      fold of the pixel issued in this cycle
    sums             in         columns x `sum_width(rows)`  sums that leave the array
    feedback         in         `OutputStage.fold_layout`    fold of results that are fed back
    results          in         columns x int32              these results, `AccumulatorBank.read_latency` cycles later
    banks            out        2 x (`fold`, `values`)       as `AccumulatorBank` takes them
    release          out        1                            a pass with `release` named its last row: a drain may start
    release_last     out        1                            the same, for the last pass of the run
    release_weights  out        1                            a pass with `release_weights` ended `delay` cycles ago
    ===============  =========  ===========================  ===========================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        values = data.ArrayLayout(signed(32), config.columns)
        bank = wiring.Signature({"fold": Out(AccumulatorBank.fold_layout(config)), "values": Out(values)})
        super().__init__(
            {
                "issued": In(Sequencer.fold_layout(config)),
                "sums": In(data.ArrayLayout(signed(sum_width(config.rows)), config.columns)),
                "feedback": In(OutputStage.fold_layout(config)),
                "results": In(values),
                "banks": Out(bank).array(2),
                "release": Out(1),
                "release_last": Out(1),
                "release_weights": Out(1),
            }
        )

    @staticmethod
    def delay(config: Config) -> int:
        """Return the cycles from the issue of a pixel to naming its row, read before its sums arrive."""
        return PixelReader.latency(config) + SystolicArray.latency(config) - AccumulatorBank.read_latency(config)

    def elaborate(self, platform: Any) -> Module:
        """Delay the issued folds; choose each bank's fold and, `read_latency` cycles later, its values."""
        m = Module()
        config, issued = self._config, self.issued
        fold = delay(m, issued, self.delay(config), name="fold", resets=False)
        # Control bits take effect on their own, so a reset must clear them; the other fields need no reset.
        control = Cat(issued.row.valid, issued.release, issued.release_last, issued.release_weights)
        valid, *releases = delay(m, control, self.delay(config), name="fold_live")
        m.d.comb += [
            port.eq(bit)
            for port, bit in zip((self.release, self.release_last, self.release_weights), releases, strict=True)
        ]
        *_, named, fed_back = delay_line(m, self.feedback, AccumulatorBank.read_latency(config), name="feedback")
        for index, bank in enumerate(self.banks):
            from_array = valid & (fold.bank == index)
            from_output = self.feedback.valid & (self.feedback.bank == index)
            takes_results = Signal(name=f"takes_results_{index}")
            m.d.comb += takes_results.eq(fed_back.valid & (fed_back.bank == index))
            selects = technology_of(platform).duplicate_register(
                m, named.valid & (named.bank == index), takes_results, config.columns, name=f"feedback_{index}"
            )
            m.d.comb += [
                bank.fold.valid.eq(from_array | from_output),
                bank.fold.row.eq(Mux(from_output, self.feedback.row, fold.row.row)),
                bank.fold.fold.eq(Mux(from_output, self.feedback.fold, fold.row.fold)),
                bank.fold.held.eq(fold.row.held & ~from_output),
                *(bank.values[c].eq(Mux(selects[c], self.results[c], self.sums[c])) for c in range(config.columns)),
            ]
        return m
