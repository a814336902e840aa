"""The exact engine refuses packets that would make the machine's tokens overflow."""

import numpy as np
import pytest
from support.programs import PLAIN, SMALL, input_packet, load, parameter_words, run

from etchnet.hdl.core.control.tokens import WEIGHT_TOKENS
from etchnet.hdl.isa import Destination, Drain, Pass, Target, TileKind, packet
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.exact.tokens import Progress, TokenQueue
from etchnet.sim.engines.link import LinkError, LinkTrace
from etchnet.sim.timing import schedule

INPUT = np.zeros((1, 4), np.int8)


def program():
    """Return the packets of a program that waits for one weights packet, and those of its run."""
    passes = [
        Pass(
            kind=TileKind.IDENTITY,
            wait_input=True,
            wait_output=True,
            wait_weights=True,
            release=True,
            release_input=True,
        )
    ]
    passes, drains = schedule(passes, [Drain(destination=Destination.OUTPUT, commit=True)], SMALL)
    words = parameter_words(SMALL, [PLAIN] * 4)
    return [*load(SMALL, passes, drains, words), input_packet(SMALL, INPUT)], [run(SMALL, passes, drains, 1)]


@pytest.mark.parametrize("count", [WEIGHT_TOKENS, WEIGHT_TOKENS + 1])
def test_committed_weights_packets_are_limited(count):
    loaded, started = program()
    weights = packet(Target.WEIGHTS, np.zeros((1, 1, 1), np.uint32), SMALL, commit=True)
    packets = np.concatenate([*loaded, *[weights] * count, *started])
    engine = ExactEngine(SMALL)
    if count <= WEIGHT_TOKENS:
        assert not engine.exchange(packets, 1).any()
        return
    with pytest.raises(LinkError, match="more than 255 committed weights packets wait for the passes that use them"):
        engine.exchange(packets, 1)


def permitting(count):
    """Return the packets of a program that permits one weights packet in each of `count` repeats, and of its run.

    Among them are packets that use no permission: of weights, and of another target.
    """
    p = Pass(kind=TileKind.IDENTITY, wait_input=True, wait_output=True, release=True, release_weights=True)
    passes, drains = schedule([p], [Drain(destination=Destination.OUTPUT, commit=True)], SMALL)
    return [
        *load(SMALL, passes, drains, parameter_words(SMALL, [PLAIN] * 4)),
        *[packet(Target.WEIGHTS, np.zeros((1, 1, 1), np.uint32), SMALL), *[input_packet(SMALL, INPUT)] * 2],
        run(SMALL, passes, drains, 1, repeats=count),
    ]


@pytest.mark.parametrize(("permitted", "sent"), [(255, 0), (256, 0), (256, 1), (257, 1)])
def test_permitted_weights_packets_are_limited(permitted, sent):
    """The next packet that uses a permission tells whether there were too many before."""
    following = packet(Target.WEIGHTS, np.zeros((1, 1, 1), np.uint32), SMALL, acquire=True)
    engine = ExactEngine(SMALL)
    assert not engine.exchange(np.concatenate([*permitting(permitted), *[following] * sent]), permitted).any()
    if permitted - sent <= WEIGHT_TOKENS:
        engine.exchange(following, 0)
        return
    with pytest.raises(LinkError, match="more than 255 weights packets are permitted by passes and not sent yet"):
        engine.exchange(following, 0)


def test_the_first_word_of_a_packet_uses_its_permission():
    """The first permission is used before the 256th is given, although the rest of the packet comes after all."""
    following = packet(Target.WEIGHTS, np.zeros((2, 1, 1), np.uint32), SMALL, acquire=True)
    words = np.concatenate([*permitting(256), following])
    offers = np.zeros(1 << 14, bool)
    offers[: len(words) - 1] = True
    engine = ExactEngine(SMALL, trace=LinkTrace(offers, []))
    assert not engine.exchange(words, 256).any()
    assert np.flatnonzero(engine.record.offers)[-1] == 1 << 14
    assert len(engine.record.accepts) < 1 << 14


def test_a_limit_counts_from_the_event_to_the_use():
    """The third token may come in the cycle in which the first is used, whichever is known first."""
    for third, used in ((5, 5), (6, 5)):
        queue = TokenQueue(Progress(), limit=2, meaning="tokens wait")
        for event in (1, 2, third):
            queue.put(event + 2, event=event)
        queue.use(used)
    queue = TokenQueue(Progress(), limit=2, meaning="tokens wait")
    queue.put(3, event=1)
    queue.put(4, event=2)
    queue.use(6)
    with pytest.raises(LinkError, match="more than 2 tokens wait at once"):
        queue.put(7, event=5)


def test_an_input_is_committed_only_if_it_was_acquired():
    words = np.zeros((1, 1, 1), np.uint32)
    first = packet(Target.INPUT, words, SMALL, acquire=True)
    second = packet(Target.INPUT, words, SMALL, address=1, commit=True)
    ExactEngine(SMALL).exchange(np.concatenate([first, second]), 0)
    with pytest.raises(LinkError, match="commits a half of the input memory that no packet has acquired"):
        ExactEngine(SMALL).exchange(np.concatenate([first, second, second]), 0)
