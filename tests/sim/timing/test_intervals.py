"""The interval map against an array with an entry for every row."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from etchnet.sim.timing.intervals import NEVER, CycleMap

ROWS = 12


@st.composite
def accesses(draw):
    """Draw a run of rows, its base cycle, and its steps: a number, or an ascending array."""
    first = draw(st.integers(0, ROWS - 1))
    stop = draw(st.integers(first + 1, ROWS))
    gaps = st.lists(st.integers(0, 4), min_size=stop - first, max_size=stop - first)
    steps = draw(st.one_of(st.integers(0, 4), gaps.map(np.cumsum)))
    return (first, stop), draw(st.integers(-20, 20)), steps


def expand(rows, steps):
    """Return the step of every row of a run, as an array."""
    return steps * np.arange(rows[1] - rows[0]) if isinstance(steps, int) else steps


def both(history):
    """Return the map and an array of cycles after the same accesses."""
    cycles, found = np.full(ROWS, NEVER), CycleMap()
    for rows, base, steps in history:
        found.assign(rows, base, steps)
        cycles[slice(*rows)] = base + expand(rows, steps)
    return found, cycles


def earliest(cycles, rows, steps):
    """Return the smallest base at which no row of the access comes before its cycle."""
    inside = cycles[slice(*rows)]
    assigned = inside != NEVER
    return int((inside - expand(rows, steps))[assigned].max()) if assigned.any() else NEVER


@settings(max_examples=200)
@given(st.lists(accesses(), max_size=6), accesses())
def test_an_access_waits_for_the_last_one_of_every_row(history, access):
    found, cycles = both(history)
    rows, _, steps = access
    assert found.earliest_base(rows, steps) == earliest(cycles, rows, steps)


@given(st.lists(accesses(), max_size=6), accesses())
def test_rows_are_assigned_if_each_has_been_accessed(history, access):
    found, cycles = both(history)
    rows = access[0]
    assert found.is_assigned(rows) == bool((cycles[slice(*rows)] != NEVER).all())


@given(st.lists(accesses(), max_size=6), accesses(), st.integers(-20, 40))
def test_runs_that_are_not_pending_delay_nothing(history, access, now):
    """An access that cannot begin before `now` waits as long with the pending runs alone."""
    found, cycles = both(history)
    rows, pending = access[0], found.pending(now)
    assert max(now, pending.earliest_base(rows, 0)) == max(now, earliest(cycles, rows, 0))
    # Runs are pending until their last access, and no longer.
    assert bool(pending.state_key(NEVER)) == bool(found.state_key(now)) == bool((cycles > now).any())


@given(st.lists(accesses(), max_size=6), accesses(), st.integers(-20, 20), st.integers(-50, 50))
def test_a_shifted_map_has_the_same_state_as_seen_from_a_shifted_cycle(history, access, now, by):
    found, cycles = both(history)
    shifted, (rows, _, steps) = found.shifted(by), access
    assert shifted.state_key(now + by) == found.state_key(now)
    wanted = earliest(cycles, rows, steps)
    assert shifted.earliest_base(rows, steps) == (wanted if wanted == NEVER else wanted + by)


def test_a_copy_is_independent():
    found = CycleMap()
    found.assign((0, 4), 10, 1)
    copy = found.copy()
    copy.assign((1, 2), 50, 1)
    assert found.earliest_base((0, 4), 1) == 10
    assert copy.earliest_base((1, 2), 0) == 50
    assert found.state_key(0) != copy.state_key(0)
