"""The compiler: from a network to the fastest program for a machine.

`PIPELINE` lists its stages. Those from `lower` to `choose_orders` run once for each of the best choices of
arrangements; the later ones run for the fastest candidate, and for the next one if that does not fit the machine. If
none fits, the candidate that falls short in the fewest memories tells how large they must be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from etchnet.hdl.isa import chunks
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler import dump, stages
from etchnet.host.compiler.arrangements import Choice
from etchnet.host.compiler.capacity import CapacityError, Needs, largest, resized
from etchnet.host.compiler.im2col import PACKINGS
from etchnet.host.compiler.program import Program
from etchnet.host.compiler.state import State
from etchnet.host.network.layers import NetworkError
from etchnet.host.network.network import INPUT, Network

__all__ = ["PIPELINE", "Stage", "compile_network", "compile_stages", "dump_after", "tensor_needs"]

_BEAM = 4
"""partial schedules that the thorough search keeps"""
_CHOICES = 3
"""choices of arrangements that are considered for each way of unfolding the input"""

_ATTEMPTS = 8
"""machines that are tried at most, to name all that a machine is short of"""

_BY_ORDER = ("weight_tiles", "passes", "drains")
"""memories of which a program's needs depend on the order of its passes"""


@dataclass(frozen=True)
class Stage:
    """A stage of the compiler.

    Attributes
    ----------
    run
        Takes a state and returns a copy with more fields filled in. Its name is the name of the stage.
    dump
        Takes the state after the stage, and returns what the stage produced, as values for JSON.
    """

    run: Callable[[State], State]
    dump: Callable[[State], dump.Dump]

    @property
    def name(self) -> str:
        """The name of the stage."""
        return self.run.__name__


PIPELINE: tuple[Stage, ...] = (
    Stage(stages.strip_reshapes, dump.network),
    Stage(stages.arrange, dump.arranged),
    Stage(stages.lower, dump.lowered),
    Stage(stages.fuse, dump.fused),
    Stage(stages.allocate, dump.allocated),
    Stage(stages.choose_orders, dump.ordered),
    Stage(stages.emit, dump.emitted),
    Stage(stages.synchronise, dump.synchronised),
    Stage(stages.schedule, dump.scheduled),
    Stage(stages.check, dump.checked),
)
"""The stages of the compiler, in order."""

_History = Mapping[str, State]
"""the state after each stage so far, by the name of the stage"""


def compile_network(
    network: Network,
    config: Config,
    *,
    batch: int = 1,
    streamed: bool = False,
    once: bool = False,
    packed: str | None = None,
    thorough: bool = True,
    grow: Collection[str] = (),
    pipeline: Sequence[Stage] = PIPELINE,
) -> Program:
    """Compile a network to the fastest program found for a machine.

    Parameters
    ----------
    batch
        Inputs that are computed at once.
    streamed
        Whether weights arrive during the run. The network must be a single fully connected layer; the program waits for
        one committed weights packet before each column tile.
    once
        Whether the program runs only once per command, so that repeats need no idle cycles between them.
    packed
        How the host unfolds the input (one of `PACKINGS`, see `im2col_variants`); None takes the way with the fewest
        cycles, those of the link included.
    thorough
        Whether to search with several partial schedules. With only one, compiling is faster, but the program may be
        slower.
    grow
        Parameters of the machine, of those in `etchnet.host.compiler.capacity.MEMORIES`, that are enlarged if the
        network does not fit otherwise: as few of them as possible. The program's `config` is the machine with them.
    pipeline
        The stages; they must include ones named `arrange` and `choose_orders`.

    Raises
    ------
    CapacityError
        The network does not fit the machine's memories; the error names all that are too small and may not grow.
    NetworkError
        The network's rounding contract is not the machine's, or the array cannot compute a layer.
    """
    history = compile_stages(
        network,
        config,
        batch=batch,
        streamed=streamed,
        once=once,
        packed=packed,
        thorough=thorough,
        grow=grow,
        pipeline=pipeline,
    )
    return _program(_last(history))


def compile_stages(
    network: Network,
    config: Config,
    *,
    batch: int = 1,
    streamed: bool = False,
    once: bool = False,
    packed: str | None = None,
    thorough: bool = True,
    grow: Collection[str] = (),
    pipeline: Sequence[Stage] = PIPELINE,
) -> _History:
    """Compile a network, and return the state after each stage, by the stage's name.

    The states are those of the candidate that became the program. Parameters and errors: see `compile_network`.
    """
    if batch < 1:
        raise CapacityError(f"batch must be at least 1, not {batch}")
    if network.contract != config.contract and any(not layer.wide for layer in network.layers):
        raise NetworkError(f"the machine must have the network's contract, {network.contract}, not {config.contract}")
    start = State.start(network, config, batch=batch, streamed=streamed, once=once)
    machine, short = config, dict[str, int]()
    for _ in range(_ATTEMPTS):
        try:
            found = _attempt(
                start.replace(config=machine), packed=packed, thorough=thorough, grow=grow, pipeline=pipeline
            )
        except CapacityError as error:
            if not error.short or any(value > largest(name) for name, value in error.short.items()):
                raise
            # Without enough accumulator rows there are no passes, so what else falls short is known only with them. And
            # the error must name sizes that are enough: on a larger machine another order may be tried first.
            short |= error.short
            machine = resized(config, short)
        else:
            if set(short) <= set(grow):
                return found
            break
    raise CapacityError.of({name: value for name, value in short.items() if name not in grow}, config, batch)


def _attempt(
    start: State,
    *,
    packed: str | None,
    thorough: bool,
    grow: Collection[str],
    pipeline: Sequence[Stage],
) -> _History:
    """Run all stages; see `compile_stages`."""
    config = start.config
    prepared, (search, *later) = _prepared(start, pipeline, packed)
    failed: list[_Failure] = []
    # Tensors alone may rule out a choice. If they rule out all, those that need the fewest larger memories are left.
    shortages = [_last(history).memory.needs.short(config) for history in prepared]
    fewest = min(_shortage(short, grow) for short in shortages)
    nearest = [history for history, short in zip(prepared, shortages, strict=True) if _shortage(short, grow) == fewest]
    for candidate in _candidates(search, nearest, thorough=thorough, brief=fewest > (0, 0)):
        state = _last(candidate)
        short = state.memory.needs.short(config)
        if any(failure.is_minimal(short, state.choice, grow) for failure in failed):
            continue
        try:
            found = _run(later, candidate, state)
        except CapacityError as error:
            failed.append(_Failure({**short, **error.short}, error, candidate))
        else:
            if not short:
                return found
            failed.append(_Failure(short, None, candidate))
    best = min(failed, key=lambda failure: failure.preference(grow))
    short = {name: value for name, value in best.short.items() if name not in grow}
    if short:
        raise CapacityError.of(short, config, start.batch)
    if best.error and not best.error.short:
        raise best.error
    chosen = _last(best.candidate).replace(config=resized(config, best.short))
    return _run(later, {**best.candidate, search.name: chosen}, chosen)


@dataclass(frozen=True, eq=False)
class _Failure:
    """A candidate that does not fit the machine: all that falls short, and the error of its program, if it has one."""

    short: Mapping[str, int]
    error: CapacityError | None
    candidate: _History

    def is_minimal(self, tensors: Collection[str], choice: Choice, grow: Collection[str]) -> bool:
        """Return whether no other order of passes can be preferred, for a choice whose `tensors` fall short."""
        if not set(self.short).isdisjoint(_BY_ORDER) or (self.error and not self.error.short):
            return False
        # The number of parameters depends neither on the order of passes nor on how the input is unfolded.
        mine, other = ([t for t in c.arrangements if t >= 0] for c in (_last(self.candidate).choice, choice))
        least = {*tensors, *(name for name in self.short if name == "parameter_tiles" and mine == other)}
        return _shortage(self.short, grow) <= _shortage(least, grow)

    def preference(self, grow: Collection[str]) -> tuple[bool, bool, tuple[int, int]]:
        """Return a sort key, the lowest for the candidate that needs the fewest changes, least of all fixed ones."""
        hopeless = self.error is not None and not self.error.short
        impossible = any(value > largest(name) for name, value in self.short.items())
        return hopeless, impossible, _shortage(self.short, grow)


def _shortage(short: Collection[str], grow: Collection[str]) -> tuple[int, int]:
    """Return a sort key of the memories that fall short: the number of those that may not grow, and that of all."""
    return len(set(short) - set(grow)), len(short)


def tensor_needs(network: Network, config: Config, *, batch: int = 1) -> list[Needs]:
    """Return what a network's tensors need of a machine's memories, for each choice of arrangements, without a search.

    Raises CapacityError if no machine has such memories, and NetworkError as `compile_network` does.
    """
    prepared, _ = _prepared(State.start(network, config, batch=batch), PIPELINE, None)
    return [_last(history).memory.needs for history in prepared]


def dump_after(
    name: str,
    network: Network,
    config: Config,
    *,
    batch: int = 1,
    packed: str | None = None,
    pipeline: Sequence[Stage] = PIPELINE,
) -> dump.Dump:
    """Compile a network, and return what the stage called `name` produced, as values for JSON.

    Later stages do not run, except those that choose the arrangements. The results of the stages before `emit` are
    therefore available even if the program and weight memories are too small.
    """
    last = [stage.name for stage in pipeline].index(name)
    search = [stage.name for stage in pipeline].index("choose_orders")
    shortened = pipeline[: max(last, search) + 1]
    states = compile_stages(network, config, batch=batch, packed=packed, pipeline=shortened)
    return {"stage": name} | dict(pipeline[last].dump(states[name]))


def _run(stages: Sequence[Stage], history: _History, state: State) -> dict[str, State]:
    """Run stages on a state; return the history with the state after each."""
    found = dict(history)
    for stage in stages:
        found[stage.name] = state = stage.run(state)
    return found


def _last(history: _History) -> State:
    """Return the state after the last stage so far."""
    return list(history.values())[-1]


def _considered(choices: Sequence[Choice]) -> list[Choice]:
    """Return the best choices for each way of unfolding the input, and those that arrange nothing else, by bound."""
    found = []
    for name in PACKINGS:
        some = [choice for choice in choices if choice.im2col.name == name]
        simple = [choice for choice in some if choice.is_simple]
        found += [*some[:_CHOICES], *(choice for choice in simple[:1] if choice not in some[:_CHOICES])]
    return sorted(found, key=lambda choice: choice.bound)


def _prepared(start: State, pipeline: Sequence[Stage], packed: str | None) -> tuple[list[_History], Sequence[Stage]]:
    """Run the stages before `choose_orders` for each choice of arrangements to consider, the most promising first.

    Returns their histories, and the stages from `choose_orders` on. The machine of each last state is large enough for
    its tensors. Raises CapacityError if no machine is.
    """
    names = [stage.name for stage in pipeline]
    arranged, search = names.index("arrange") + 1, names.index("choose_orders")
    common = _run(pipeline[:arranged], {}, start)
    state = _last(common)
    considered = _considered(state.choices)
    ways = [way for way in PACKINGS if any(choice.im2col.name == way for choice in considered)]
    if packed is not None and packed not in ways:
        raise NetworkError(f"packed must be {' or '.join(ways)} for this network, not {packed!r}")
    found: list[_History] = []
    errors: list[CapacityError] = []
    for choice in considered:
        if packed not in (None, choice.im2col.name):
            continue
        chosen = state.replace(choice=choice)
        history = _run(pipeline[arranged:search], {**common, "arrange": chosen}, chosen)
        stored = _last(history)
        short = stored.memory.needs.short(state.config)
        if all(value <= largest(memory) for memory, value in short.items()):
            found.append({**history, names[search - 1]: stored.replace(config=resized(state.config, short))})
        else:
            errors.append(CapacityError.of(short, state.config, state.batch))
    if not found:
        raise errors[0]
    return found, pipeline[search:]


def _candidates(
    search: Stage, prepared: Sequence[_History], *, thorough: bool, brief: bool = False
) -> Iterator[_History]:
    """Yield the candidates, from the most promising to the least: their histories up to `choose_orders`.

    A quick search compares the choices in `prepared`, in the order of their bounds, until a bound is not below the
    cycles of the best; a thorough search refines that one. Whether a candidate fits the program and weight memories is
    known only after it is emitted. So the choices that arrange only the input follow, and then all of these in the
    orders that have the fewest passes. With `brief`, only the best follows in these orders.
    """
    found: list[_History] = []
    left = list(prepared)
    while left and (not found or _last(left[0]).choice.bound < min(map(_cost, found))):
        found.append(_run([search], left[0], _last(left.pop(0))))
    found.sort(key=_cost)

    def again(candidate: _History, beam: int) -> _History:
        before = list(candidate.values())[-2]
        return _run([search], candidate, before.replace(beam=beam))

    if thorough and found and len(found[0]["choose_orders"].groups) > 1:
        found.insert(0, again(found[0], _BEAM))
        found.sort(key=_cost)
    best = [history for history in found if _last(history).choice is _last(found[0]).choice]
    simple = [history for history in found if history not in best and _last(history).choice.is_simple]
    yield from (*best, *simple)
    if brief:
        yield from (again(candidate, 0) for candidate in best[:1])
        return
    for history in left:
        if _last(history).choice.is_simple:
            simple.append(_run([search], history, _last(history)))
            yield simple[-1]
    for candidate in (*best[:1], *simple):
        yield again(candidate, 0)


def _cost(candidate: _History) -> int:
    """Return the cycles of a candidate, or those that the link needs for its inputs if there are more of these."""
    state = candidate["choose_orders"]
    return max(state.cycles, state.memory.input_words * chunks(8 * state.config.rows, state.config))


def _program(state: State) -> Program:
    """Return the program of the state after the last stage."""
    memory, origin = state.memory, state.origin
    return Program(
        config=state.config,
        network=state.source,
        batch=state.batch,
        passes=list(state.code.passes),
        drains=list(state.code.drains),
        weights=state.code.weights,
        parameters=list(state.code.parameters),
        labels=list(state.code.labels),
        writes=list(state.code.writes),
        im2col=state.choice.im2col,
        arrangements={origin[t]: found for t, found in state.choice.arrangements.items() if t >= 0},
        input_layouts=[memory.layouts[INPUT - k] for k in range(len(state.network.input_shapes))],
        output_layouts=[memory.outputs[output] for output in state.network.outputs],
        fused=[origin[group.result] for group in state.groups if group.addition],
        orders={origin[group.layer]: order for group, order in zip(state.groups, state.orders, strict=True)},
        activation_words=memory.activation_words,
        residual_words=memory.residual_words,
    )
