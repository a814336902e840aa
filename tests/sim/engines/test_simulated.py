"""The Amaranth engine: its waveforms and its reset."""

import numpy as np
import pytest
from support.programs import input_packet
from support.strategies import int8, traces
from support.waveforms import snapshots

from etchnet.hdl.isa.config import Config
from etchnet.host.driver.driver import Accelerator

CONFIG = Config(
    rows=2,
    columns=3,
    weight_tiles=8,
    activation_words=8,
    input_words=8,
    output_words=8,
    accumulator_rows=4,
    passes=8,
    drains=4,
    parameter_tiles=4,
)


def test_vcd_time_is_the_time_of_a_cycle_in_the_waveforms(tmp_path):
    """Words move in the cycles of the record, and a register has the value that its input had a cycle before."""
    random, path = np.random.default_rng(0), tmp_path / "machine.vcd"
    machine = Accelerator(CONFIG, engine="amaranth", trace=traces(random, 100), vcd=path)
    machine.matmul(int8(random, (3, 4)), int8(random, (4, 5)))
    engine = machine.engine
    engine.close()
    cycles = list(snapshots(path, [engine.vcd_time(cycle) for cycle in range(engine.cycle)]))
    assert len(cycles) == engine.cycle
    for link, moving in (("link_in", engine.record.offers), ("link_out", engine.record.accepts)):
        moved = [cycle[f"{link}__valid"] & cycle[f"{link}__ready"] for cycle in cycles]
        assert np.array_equal(np.flatnonzero(moved), np.flatnonzero(moving))
    entering = [cycle["pixel_reader.entering"] for cycle in cycles]
    assert any(entering)
    assert [cycle["array.skew_1_1"] for cycle in cycles[1:]] == [vector >> 8 for vector in entering[:-1]]


def test_an_engine_without_words_writes_no_waveforms(tmp_path):
    engine = Accelerator(CONFIG, engine="amaranth", vcd=tmp_path / "machine.vcd").engine
    engine.close()
    assert not list(tmp_path.iterdir())


def test_a_reset_engine_equals_a_new_one():
    """It moves the same words in the same cycles as a new engine, even after a run that was not read to its end."""
    random = np.random.default_rng(1)
    x, w, trace = int8(random, (3, 4)), int8(random, (4, 5)), traces(random, 100)
    used = Accelerator(CONFIG, engine="amaranth")
    used.matmul(w.T, x.T)
    used.engine.exchange(input_packet(CONFIG, int8(random, (8, 2))), 0)
    used.engine.reset(trace)
    assert used.engine.cycle == 0
    assert not len(used.engine.record.offers)
    reset, new = Accelerator(engine=used.engine), Accelerator(CONFIG, engine="amaranth", trace=trace)
    assert np.array_equal(reset.matmul(x, w), new.matmul(x, w))
    assert reset.counts == new.counts
    for cycles in ("offers", "accepts"):
        assert np.array_equal(getattr(reset.engine.record, cycles), getattr(new.engine.record, cycles))


def test_an_engine_that_writes_waveforms_is_not_reset(tmp_path):
    engine = Accelerator(CONFIG, engine="amaranth", vcd=tmp_path / "machine.vcd").engine
    with pytest.raises(ValueError, match="writes waveforms"):
        engine.reset()
