"""Liberty files: the values that are read, and the files that are refused."""

import gzip
import re

import pytest
from support import tiny_liberty
from support.tiny_liberty import CELLS

from etchnet.host.asic.liberty import LibertyError, Table, read_liberty


def test_a_table_is_linear_between_its_points_and_beyond_the_last():
    table = Table([0.0, 1.0], [1.0, 2.0, 4.0], [[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]])
    assert table(0.5, 1.0) == 5
    assert table(0.0, 3.0) == 1.5
    assert table(1.0, 6.0) == 13
    assert table(2.0, 1.0) == 20
    assert table(-1.0, 0.0) == 0


def test_a_library_is_read_with_its_units(library):
    tiny = read_liberty(library)
    assert (tiny.name, tiny.nanoseconds) == ("tiny", 1.0)
    assert {name: cell.area for name, cell in tiny.cells.items()} == CELLS
    assert [name for name, cell in tiny.cells.items() if cell.sequential] == ["DFF"]
    arc = tiny.cells["NAND2"].pins["Y"].arcs[1]
    assert (arc.related, arc.sense) == ("B", "negative_unate")
    assert arc.tables["cell_rise"](5.0, 0.03) == pytest.approx(0.19)
    library.write_text(tiny_liberty.text().replace('"1ns"', '"10ps"'))
    assert read_liberty(library).nanoseconds == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.index("cell (BUF)")], "group library has no end"),
        (lambda text: text.replace("area : 1.0", "area : x"), "cell INV: could not convert string to float: 'x'"),
        (lambda text: text.replace('"1ns"', '"1 minute"'), "time_unit must be a time such as 1ns, not '1 minute'"),
        (lambda text: text.replace("0.05, 2.05", "0.05"), "values, one per pair of its indices, not 2"),
        (lambda text: "module top; endmodule", "expected ':' or '('"),
        (lambda text: "library (x) { }", "contains no cell"),
        (lambda text: "", "it must contain one group"),
    ],
)
def test_a_file_that_is_not_a_library_is_refused_by_name(library, change, message):
    library.write_text(change(tiny_liberty.text()))
    with pytest.raises(LibertyError, match=re.escape(message)) as refused:
        read_liberty(library)
    assert str(library) in str(refused.value)


def test_a_compressed_library_is_the_same(library, tmp_path):
    packed = tmp_path / "tiny.lib.gz"
    packed.write_bytes(gzip.compress(library.read_bytes()))
    assert read_liberty(packed) == read_liberty(library)
    packed.write_bytes(packed.read_bytes()[:100])
    with pytest.raises(LibertyError, match="cannot be read"):
        read_liberty(packed)
