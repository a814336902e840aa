"""The checker's limits: for each rule, the last program that is accepted, and the first one that is refused."""

import dataclasses

import pytest
from support.machines import small

from etchnet.hdl.isa import Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.sim.timing import ProgramError, check, schedule

CONFIG = small(residual_words=8, depthwise=2)
HALF_WORDS = small(columns=2)
PLAIN = small(residual_words=0, depthwise=0)

INPUT = {"kind": TileKind.IDENTITY, "pixels": 3, "step": 1}
WAITS = {"wait_input": True, "wait_output": True, "release_input": True}
OUTPUT = {"pixels": 3, "destination": Destination.OUTPUT}
FEEDBACK = {"pixels": 3, "destination": Destination.ACCUMULATORS}


def one(p=(), d=()):
    """Return a program of one pass and its drain, with some fields changed."""
    return [Pass(**INPUT | WAITS | {"release": True} | dict(p))], [Drain(**OUTPUT | {"commit": True} | dict(d))]


def two(p=(), d=(), *, after=(), last=()):
    """Return a program whose second pass follows a drain to the activation memory; all four may be changed."""
    passes = [
        Pass(**INPUT | WAITS | {"release": True, "release_input": False} | dict(p)),
        Pass(**INPUT | {"release": True, "release_input": True, "bank": 1} | dict(after)),
    ]
    drains = [Drain(**{"pixels": 3} | dict(d)), Drain(**OUTPUT | {"bank": 1, "commit": True} | dict(last))]
    return passes, drains


def chained(d=(), *, last=()):
    """Return a program of one pass, a drain, and one chained to it; both drains may be changed."""
    passes, drains = one(d=last)
    return passes, [Drain(**{"pixels": 3} | dict(d)), dataclasses.replace(drains[0], chained=True)]


def depthwise(**fields):
    """Return a program of one depthwise pass over lines of 5 pixels, of which the drain takes the first sum."""
    window = {"kind": TileKind.DEPTHWISE, "pixels": 12, "columns": 5, "step": 0} | fields
    return one(window, {"pixels": 1})


def refusal(program, config):
    """Return the message with which a program with enough idle cycles is refused; none if it is accepted."""
    for _ in range(2):
        try:
            check(*program, config, repeats=2)
        except ProgramError as error:
            if "idle cycles" not in str(error):
                return str(error)
            program = schedule(*program, config)
    return ""


ACTIVATION = {"source": Source.ACTIVATION}
RESIDUAL = {"destination": Destination.RESIDUAL}
LIMITS = {
    "input memory": [
        (one({"address": 0}), one({"address": -1}), "pass 0 reads beyond the input memory"),
        (one({"address": 13}), one({"address": 14}), "pass 0 reads beyond the input memory"),
        (
            one({"address": 0, "pixels": 14, "columns": 6, "line": 6}),
            one({"address": -1, "pixels": 14, "columns": 6, "line": 6}),
            "pass 0 reads beyond the input memory",
        ),
        # The line that is not complete does not read the last words of its range.
        (
            one({"address": 11, "pixels": 5, "columns": 3, "line": 3}),
            one({"address": 12, "pixels": 5, "columns": 3, "line": 3}),
            "pass 0 reads beyond the input memory",
        ),
    ],
    "weights": [
        (one({"kind": TileKind.STORED, "weights": 28}), one({"kind": 0, "weights": 29}), "word 32; the last is 31"),
        (one({"kind": TileKind.DIAGONAL, "weights": 31}), one({"kind": 1, "weights": 32}), "word 32; the last is 31"),
    ],
    "accumulators": [
        (one({"row": 13}, {"row": 13}), one({"row": 14}), "pass 0 folds into accumulator row 16; the last is 15"),
        (one({"row": 13}, {"row": 13}), one({}, {"row": 14}), "a drain of pass 0 reads beyond the accumulators"),
        (one({}, {"pixels": 3}), one({}, {"pixels": 4}), "reads rows of bank 0 that the program has not set"),
        (two({}, after={"bank": 0, "fold": Fold.ADD}, last={"bank": 0}), one({"fold": Fold.MAX}), "pass 0 adds to"),
        (
            two({}, after={"bank": 0, "fold": Fold.ADD}, last={"bank": 0}),
            two({}, after={"bank": 0, "row": 1, "fold": Fold.ADD}, last={"bank": 0}),
            "pass 1 adds to accumulators that the program has not set",
        ),
    ],
    "activation words": [
        (two({}, {"address": 29}), two({}, {"address": 30}), "writes activation word 32; the last is 31"),
        *(
            (
                two({}, {"address": 4}, after={**ACTIVATION, "address": 4}),
                two({}, {"address": 4}, after={**ACTIVATION, "address": address}),
                "pass 1 reads activation words that the program has not written",
            )
            for address in (3, 5)
        ),
    ],
    "output words": [
        (one({}, {"address": 13}), one({}, {"address": 14}), "writes output word 16; the last is 15"),
        (
            one({}, {"address": 4, "wide": True, "stride": 4}),
            one({}, {"address": 5, "wide": True, "stride": 4}),
            "writes output word 16; the last is 15",
        ),
    ],
    "residual words": [
        (
            chained({"address": 5, **RESIDUAL}, last={"residual": True, "row": 5}),
            chained({"address": 6, **RESIDUAL}, last={"residual": True, "row": 5}),
            "writes residual word 8; the last is 7",
        ),
        # Of every two words it writes the first.
        (
            chained({"stride": 2, **RESIDUAL}, last={"residual": True, "row": 4, "pixels": 1}),
            chained({"stride": 2, **RESIDUAL}, last={"residual": True, "row": 5, "pixels": 1}),
            "a drain reads residual words that the program has not written",
        ),
        *(
            (
                chained({"address": 4, **RESIDUAL}, last={"residual": True, "row": 4}),
                chained({"address": 4, **RESIDUAL}, last={"residual": True, "row": row}),
                message,
            )
            for row, message in (
                (3, "a drain reads residual words that the program has not written"),
                (5, "a drain reads residual words that the program has not written"),
                (6, "a drain of pass 0 reads beyond the residual memory"),
            )
        ),
    ],
    "feedback": [
        (
            chained({**FEEDBACK, "into": 1, "address": 13}, last={"bank": 1, "row": 13}),
            chained({**FEEDBACK, "into": 1, "address": 14}, last={"bank": 1, "row": 13}),
            "a drain folds into accumulator row 16; the last is 15",
        ),
        (
            chained({**FEEDBACK, "into": 1}, last={"bank": 1}),
            chained({**FEEDBACK, "into": 1, "fold": Fold.ADD}, last={"bank": 1}),
            "a drain adds to rows of bank 1 that the program has not set",
        ),
        (
            chained({**FEEDBACK}),
            chained({**FEEDBACK, "fold": Fold.ADD}),
            "a drain of pass 0 reads the bank that it adds to: there is one read port",
        ),
    ],
    "fields of a pass": [
        (one({"pixels": 1}, {"pixels": 1}), one({"pixels": 0}), "pass 0 must have at least 1 pixel, not 0"),
        (
            one({"hold": Fold.ADD}, {"pixels": 1}),
            one({"hold": Fold.ADD, "fold": Fold.MAX}, {"pixels": 1}),
            "pass 0 holds a row by add: its fold must be set or add, not max",
        ),
        *((one(), one({name: 4}), "one of them does not exist") for name in ("kind", "fold", "hold")),
    ],
    "windows": [
        (depthwise(), depthwise(hold=Fold.ADD), "pass 0 is depthwise and holds a row by add"),
        (depthwise(columns=4), depthwise(columns=3), "lines of 3 pixels; depthwise passes take 4 to 18"),
        (depthwise(pixels=25, columns=18), depthwise(pixels=25, columns=19), "lines of 19 pixels"),
        (depthwise(pixels=7), depthwise(pixels=6), "pass 0 walks 6 pixels: no window fits within them"),
    ],
    "fields of a drain": [
        (one({}, {"tiles": 1}), one({}, {"tiles": 0}), "drain 0 must have at least 1 tile and 1 pixel, not 0 and 3"),
        (one({}, {"pixels": 1}), one({}, {"pixels": 0}), "drain 0 must have at least 1 tile and 1 pixel, not 1 and 0"),
        *((one(), one({}, {name: 4}), "one of them does not exist") for name in ("destination", "fold")),
        (one({}, {"parameters": 3}), one({}, {"parameters": 4}), "drain 0 reads parameter word 4; the last is 3"),
        (
            one({}, {"tiles": 3, "pixels": 1, "parameters": 1}),
            one({}, {"tiles": 3, "pixels": 1, "parameters": 2}),
            "drain 0 reads parameter word 4; the last is 3",
        ),
        (
            one({}, {"tiles": 3, "pixels": 1, "parameters": 3, "shared": True}),
            one({}, {"tiles": 3, "pixels": 1, "parameters": 4, "shared": True}),
            "drain 0 reads parameter word 4; the last is 3",
        ),
        (one({}, {"low": 5, "high": 5}), one({}, {"low": 5, "high": 4}), "drain 0 clamps to 5..4: low must not be"),
        (one({}, {"wide": True, "stride": 4}), two({}, {"wide": True}), "drain 0 writes int32: only the output memory"),
    ],
    "halves": [
        (one(), one({"wait_input": False}), "pass 0 reads the input memory, which it has not waited for"),
        (two(), two({"release_input": True}), "pass 1 reads the input memory, which it has not waited for"),
        (
            two({"release_input": True}, after=ACTIVATION | {"release_input": False}),
            two({"release_input": True}, after=ACTIVATION),
            "pass 1 reads the input memory, which it has not waited for or has released",
        ),
        (two(), two(after={"wait_output": True}), "pass 1 waits for a second half of the output memory"),
        (one(), one({"wait_output": False}), "writes the output memory, which no pass has waited for"),
        (two({}, OUTPUT), two({}, OUTPUT | {"commit": True}), "commits an output; only the last may"),
        (one(), one({}, {"destination": Destination.ACTIVATION}), "commits an output; only the last may, and it must"),
        (
            two({"release_input": True}, after={"wait_input": True}),
            two({"release_input": True}, after={"wait_input": True, "release_input": False}),
            "a program that releases input must release every half that it waits for",
        ),
    ],
    "the end": [
        (two(), two({"release": False}), "1 passes release 2 drains that are not chained to another"),
        (one(), one({"release": False}), "must end with a pass that releases a drain that commits its output"),
        (one(), one({}, {"chained": True}), "1 passes release 0 drains that are not chained to another"),
        (one(), one({}, {"commit": False}), "must end with a pass that releases a drain that commits its output"),
    ],
}


@pytest.mark.parametrize("rule", LIMITS)
def test_the_limit_of_every_rule(rule):
    for good, bad, message in LIMITS[rule]:
        assert refusal(good, CONFIG) == "", good
        assert message in refusal(bad, CONFIG), bad


def test_what_a_machine_does_not_have():
    assert refusal(one({}, {"lane": 1}), HALF_WORDS) == ""
    assert "drain 0 has lane 2; the last is 1" in refusal(one({}, {"lane": 2}), HALF_WORDS)
    assert "pass 0 is depthwise, which this machine does not support" in refusal(depthwise(), PLAIN)
    for program in (chained(RESIDUAL), chained({}, last={"residual": True})):
        assert "uses the residual memory, which this machine does not have" in refusal(program, PLAIN)
    for program in ([], []), ([Pass()], []):
        assert "a program must end with a pass" in refusal(program, CONFIG)
