"""The compiler: from a network to the fastest program for a machine.

`PIPELINE` lists its stages. Those from `im2col` to `choose_orders` run once for each im2col variant; the later ones run
for the fastest candidate, and for the next one if that does not fit the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from etchnet.hdl.isa import chunks
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler import dump, stages
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.im2col import im2col_variants
from etchnet.host.compiler.program import Program
from etchnet.host.compiler.state import State
from etchnet.host.network.layers import NetworkError
from etchnet.host.network.network import INPUT, Network

__all__ = ["PIPELINE", "Stage", "compile_network", "compile_stages", "dump_after"]

_BEAM = 4
"""partial schedules that the thorough search keeps"""


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
    Stage(stages.im2col, dump.unfolded),
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
        How the host unfolds the input (`none`, `row` or `whole`, see `im2col_variants`); None takes the variant with
        the fewest cycles, those of the link included.
    thorough
        Whether to search with several partial schedules. With only one, compiling is faster, but the program may be
        slower.
    pipeline
        The stages; they must include ones named `im2col` and `choose_orders`.

    Raises
    ------
    CapacityError
        The network does not fit the machine's memories.
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
        pipeline=pipeline,
    )
    return _program(list(history.values())[-1])


def compile_stages(
    network: Network,
    config: Config,
    *,
    batch: int = 1,
    streamed: bool = False,
    once: bool = False,
    packed: str | None = None,
    thorough: bool = True,
    pipeline: Sequence[Stage] = PIPELINE,
) -> _History:
    """Compile a network, and return the state after each stage, by the stage's name.

    The states are those of the candidate that became the program. Parameters and errors: see `compile_network`.
    """
    if batch < 1:
        raise CapacityError(f"batch must be at least 1, not {batch}")
    if network.contract != config.contract and any(not layer.wide for layer in network.layers):
        raise NetworkError(f"the network must have the machine's contract, {config.contract}, not {network.contract}")
    names = [stage.name for stage in pipeline]
    first, last = names.index("im2col"), names.index("choose_orders")
    start = State.start(network, config, batch=batch, streamed=streamed, once=once)
    common = _run(pipeline[:first], {}, start)
    candidates = _candidates(pipeline[first : last + 1], common, start, packed, thorough=thorough)
    errors: list[CapacityError] = []
    for candidate in candidates:
        try:
            return _run(pipeline[last + 1 :], candidate, candidate["choose_orders"])
        except CapacityError as error:
            errors.append(error)
    raise min(errors, key=lambda error: error.needed)


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

    Later stages do not run, except those that choose the im2col variant. The results of the stages before `emit` are
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


def _candidates(
    search: Sequence[Stage], common: _History, start: State, packed: str | None, *, thorough: bool
) -> list[_History]:
    """Return the candidates, from the most promising to the least: their histories up to `choose_orders`.

    A quick search compares all im2col variants, and a thorough search refines the best. Whether a candidate fits the
    program and weight memories is known only after it is emitted, so the list ends with every candidate in the orders
    that have the fewest passes.
    """
    state = list(common.values())[-1] if common else start
    names = [variant.name for variant in im2col_variants(state.network, state.config.rows)]
    if packed is not None and packed not in names:
        raise NetworkError(f"packed must be one of {', '.join(names)} for this network, not {packed!r}")
    found: list[_History] = []
    errors: list[CapacityError] = []
    for name in names if packed is None else [packed]:
        try:
            found.append(_run(search, common, state.replace(variant=name)))
        except CapacityError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    found.sort(key=_cost)

    def again(candidate: _History, beam: int) -> _History:
        before = list(candidate.values())[-2]
        return _run(search[-1:], candidate, before.replace(beam=beam))

    if thorough and len(found[0]["choose_orders"].groups) > 1:
        found.insert(0, again(found[0], _BEAM))
        found.sort(key=_cost)
    return [*found, *(again(candidate, 0) for candidate in found)]


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
        im2col=state.im2col,
        input_layouts=[memory.layouts[INPUT - k] for k in range(len(state.network.input_shapes))],
        output_layouts=[memory.outputs[output] for output in state.network.outputs],
        fused=[origin[group.result] for group in state.groups if group.addition],
        orders={origin[group.layer]: order for group, order in zip(state.groups, state.orders, strict=True)},
        activation_words=memory.activation_words,
        residual_words=memory.residual_words,
    )
