"""Private names of Amaranth: their effect, and that only one file uses them."""

import gc
import re
import warnings
from pathlib import Path

from amaranth.hdl import Elaboratable, Fragment, Module, UnusedElaboratable

from etchnet.hdl.blocks import amaranth_internals

ROOT = Path(amaranth_internals.__file__).parents[2]
PRIVATE = re.compile(r"\bamaranth(\.\w+)*\._\w+|_MustUse")


class Unelaborated(Elaboratable):
    def elaborate(self, platform):
        """Never called."""


def warned(mark):
    """Return whether an elaboratable that is never elaborated causes a warning."""
    Fragment.get(Module(), None)  # Amaranth warns once something has been elaborated
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        component = Unelaborated()
        if mark:
            amaranth_internals.mark_used(component)
        del component
        gc.collect()
    return any(issubclass(w.category, UnusedElaboratable) for w in caught)


def test_a_marked_component_causes_no_warning():
    assert warned(mark=False)
    assert not warned(mark=True)


def test_the_yosys_is_recent_enough():
    assert amaranth_internals.yosys().version() >= (0, 40)


def test_no_other_file_uses_a_private_name():
    own = Path(amaranth_internals.__file__)
    files = [path for wing in ("hdl", "sim", "host") for path in (ROOT / wing).rglob("*.py") if path != own]
    assert len(files) > 100
    assert [path.name for path in files if PRIVATE.search(path.read_text())] == []
