"""Allocation of memory to tensors according to their lifetimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Lifetime", "allocate"]


@dataclass(frozen=True)
class Lifetime:
    """The size of a tensor in words, and the first and the last step of the program in which it must be in memory."""

    size: int
    first: int
    last: int


def allocate(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Return the first word of each tensor, and the number of words that a memory needs for them.

    Tensors that are in memory in the same step do not share words. The largest are allocated first, each into the
    lowest gap that holds it. The result is not always the smallest possible memory.
    """
    addresses = [0] * len(lifetimes)
    allocated: list[int] = []
    for index in sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, i)):
        tensor = lifetimes[index]
        taken = sorted(
            (addresses[other], addresses[other] + lifetimes[other].size)
            for other in allocated
            if lifetimes[other].first <= tensor.last and tensor.first <= lifetimes[other].last
        )
        address = 0
        for start, stop in taken:
            if address + tensor.size <= start:
                break
            address = max(address, stop)
        addresses[index] = address
        allocated.append(index)
    needed = max((address + t.size for address, t in zip(addresses, lifetimes, strict=True)), default=0)
    return addresses, needed
