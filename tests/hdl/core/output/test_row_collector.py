"""The collector of rows."""

import numpy as np
import pytest
from support import rtl

from etchnet.hdl.core.output.row_collector import RowCollector
from etchnet.hdl.isa.config import Config


@pytest.mark.parametrize(("columns", "requantisers"), [(4, 2), (6, 2), (3, 1)])
def test_a_row_is_complete_with_its_last_group(columns, requantisers):
    config = Config(rows=4, columns=columns, requantisers=requantisers)
    rows = np.random.default_rng(columns).integers(-(1 << 31), 1 << 31, (5, config.groups, requantisers))

    def bench():
        for row in rows:
            for index, group in enumerate(row):
                outputs = yield {"valid": 1, "index": index, "results": rtl.int32_lanes(group)}
            assert outputs["row"] == rtl.int32_lanes(row.ravel())
            # Results that are not valid are not held.
            yield {"valid": 0, "index": 0, "results": rtl.int32_lanes(np.zeros(requantisers))}

    rtl.run(RowCollector(config), bench())


def test_groups_are_held_until_they_are_replaced():
    config = Config(rows=4, columns=4, requantisers=2)

    def bench():
        yield {"valid": 1, "index": 0, "results": rtl.int32_lanes([1, 2])}
        yield {"valid": 0, "index": 0, "results": rtl.int32_lanes([9, 9])}
        outputs = yield {"valid": 1, "index": 1, "results": rtl.int32_lanes([3, 4])}
        assert outputs["row"] == rtl.int32_lanes([1, 2, 3, 4])

    rtl.run(RowCollector(config), bench())
