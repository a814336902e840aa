"""Waveforms of the RTL in Amaranth's simulator."""

import numpy as np
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


def test_a_cycle_is_read_off_the_waveforms_where_vcd_time_says(tmp_path):
    """Words move in the cycles of the record, and a register's value is that of its input a cycle before."""
    random, path = np.random.default_rng(0), tmp_path / "machine.vcd"
    machine = Accelerator(CONFIG, engine="amaranth", trace=traces(random, 100), vcd=path)
    machine.matmul(int8(random, (3, 4)), int8(random, (4, 5)))
    engine = machine.engine
    engine.close()
    cycles = list(snapshots(path, [engine.vcd_time(cycle) for cycle in range(engine.cycle)]))
    assert len(cycles) == engine.cycle
    for link, willing in (("link_in", engine.record.offers), ("link_out", engine.record.accepts)):
        moved = [cycle[f"{link}__valid"] & cycle[f"{link}__ready"] for cycle in cycles]
        assert np.array_equal(np.flatnonzero(moved), np.flatnonzero(willing))
    entering = [cycle["pixel_reader.entering"] for cycle in cycles]
    assert any(entering)
    assert [cycle["array.skew_1_1"] for cycle in cycles[1:]] == [vector >> 8 for vector in entering[:-1]]


def test_no_words_no_waveforms(tmp_path):
    engine = Accelerator(CONFIG, engine="amaranth", vcd=tmp_path / "machine.vcd").engine
    engine.close()
    assert not list(tmp_path.iterdir())
