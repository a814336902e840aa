"""A block accessed through three pins."""

import numpy as np
from support import rtl

from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.scan_harness import ScanHarness


def test_inputs_are_shifted_in_and_outputs_out():
    """The word of a memory is written in one capture and read in the next two; it leaves bit by bit."""
    block = Ram(bits=8, depth=4, name="block")
    inputs = [(name, len(value)) for name, value in block.inputs.items()]
    random = np.random.default_rng(0)

    def shift(values):
        """Shift in a whole vector, highest bit first, and capture it with its last bit."""
        bits = [values[name] >> bit & 1 for name, width in inputs for bit in range(width)]
        for index, bit in reversed(list(enumerate(bits))):
            yield {"scan_in": bit, "capture": index == 0}

    def bench():
        for _ in range(5):
            word, address = int(random.integers(256)), int(random.integers(4))
            write = {"write_lanes": 1, "write_address": address, "write_data": word, "enable": 0, "address": 0}
            read = {"write_lanes": 0, "write_address": 0, "write_data": 0, "enable": 1, "address": address}
            for values in (write, read):
                yield from shift(values)
                yield {"capture": 0}
                yield {}
            yield {"capture": 1}
            yield {"capture": 0}
            got = 0
            for bit in range(8):
                seen = yield {}
                got |= seen["scan_out"] << bit
            assert got == word

    rtl.run(ScanHarness(block), bench())
