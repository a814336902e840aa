"""Choices of arrangements: for narrow tensors and for the input, which pixels are side by side in a word.

Candidates are ordered by a lower bound of their cycles, the lengths of their passes. The compiler times them exactly,
until the bound of the next is no better than the best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from etchnet.hdl.isa import chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.arrangement import Arrangement, Axis
from etchnet.host.compiler.emit.constants import tile_mask
from etchnet.host.compiler.im2col import Im2col, im2col_variants
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.lowering import lower
from etchnet.host.compiler.parts import Operand, Part
from etchnet.host.compiler.rearrange import rearranged
from etchnet.host.network.layers import Conv, Dense, Depthwise, Linear, Shape
from etchnet.host.network.network import INPUT, Network

__all__ = ["ArrangedNetwork", "Choice", "arrangement_choices"]

_BEAM = 24
"""partial choices that are kept after each tensor"""


@dataclass(frozen=True)
class Choice:
    """Arrangements of the tensors of a network.

    Attributes
    ----------
    arrangements
        The arrangements of all tensors that are not stored pixel by pixel.
    im2col
        How the host unfolds an input; its arrangement is one of `arrangements`.
    bound
        The link words of the inputs, or the least cycles of the layers with weights if these are more.
    """

    arrangements: Mapping[int, Arrangement] = field(default_factory=dict)
    im2col: Im2col = field(default_factory=Im2col)
    bound: int = 0

    @property
    def is_simple(self) -> bool:
        """Whether only inputs are arranged."""
        return all(tensor < 0 for tensor in self.arrangements)

    def with_tensor(self, tensor: int, arrangement: Arrangement | None) -> Choice:
        """Return the choice with one more tensor, whose arrangement is None if it is stored pixel by pixel."""
        if arrangement is None:
            return self
        return dataclasses.replace(self, arrangements={**self.arrangements, tensor: arrangement})


class ArrangedNetwork:
    """The parts of a network's layers with weights, and the least cycles they take, for any arrangements of tensors.

    Parameters
    ----------
    network, config
        The network, and the machine that computes it.
    images
        Inputs that are computed at once.
    """

    def __init__(self, network: Network, config: Config, images: int) -> None:
        self.network, self.config, self.images = network, config, images
        self._parts: dict[tuple[int, Arrangement, Arrangement], list[Part] | None] = {}
        self._cycles: dict[tuple[int, Arrangement, Arrangement], int | None] = {}

    def shape(self, tensor: int) -> Shape:
        """Return the shape of a tensor's images."""
        network = self.network
        return network.input_shapes[INPUT - tensor] if tensor < 0 else network.shapes[tensor]

    def of(self, tensor: int, choice: Choice) -> Arrangement:
        """Return the arrangement of a tensor under a choice."""
        height, width, _ = self.shape(tensor)
        return choice.arrangements.get(tensor) or Arrangement.plain(height, width)

    def parts(self, layer: int, source: Arrangement, result: Arrangement) -> list[Part] | None:
        """Return the parts of a layer with weights; None if it cannot read or write these arrangements."""
        key = layer, source, result
        if key not in self._parts:
            network, (tensor,) = self.network, self.network.sources[layer]
            (part,) = lower(network.layers[layer], [tensor], network.source_shapes(layer), network.contract)
            self._parts[key] = rearranged(part, self.shape(tensor), self.shape(layer), source, result)
        return self._parts[key]

    def chosen_parts(self, layer: int, choice: Choice) -> Sequence[Part]:
        """Return the parts of a layer with weights under a choice of `arrangement_choices`."""
        (tensor,) = self.network.sources[layer]
        parts = self.parts(layer, self.of(tensor, choice), self.of(layer, choice))
        assert parts is not None, "only arrangements that all layers can read are chosen"
        return parts

    def least_cycles(self, layer: int, choice: Choice) -> int | None:
        """Return a lower bound of the cycles of a layer with weights; None if it has no parts under a choice."""
        (tensor,) = self.network.sources[layer]
        key = layer, self.of(tensor, choice), self.of(layer, choice)
        if key not in self._cycles:
            parts, shape = self.parts(*key), key[1].shape(self.shape(tensor)[2])
            stored = TensorLayout.packed if tensor < 0 else TensorLayout.written
            layout = stored(shape, self.images, self.config)
            self._cycles[key] = None if parts is None else sum(self._least(part, layout) for part in parts)
        return self._cycles[key]

    def link_words(self, choice: Choice) -> int:
        """Return the link words of all inputs."""
        words = 0
        for number, (_, _, channels) in enumerate(self.network.input_shapes):
            shape = self.of(INPUT - number, choice).shape(channels)
            words += TensorLayout.packed(shape, self.images, self.config).size
        return words * chunks(8 * self.config.rows, self.config)

    def _least(self, part: Part, layout: TensorLayout) -> int:
        """Return the least cycles of a part: those of its passes, by taps or by windows."""
        config, (operand,) = self.config, part.operands
        pixels = self.images * part.region.height * part.region.width
        strips = ceil_div(pixels, config.accumulator_rows)
        passes = int(tile_mask(operand, part.channels, layout, config).sum()) * len(operand.taps)
        by_taps = passes * max(pixels, strips * config.load_cycles)
        if operand.window is None or not config.depthwise or operand.window.shape[:2] == (1, 1):
            return by_taps
        return min(by_taps, self._least_by_windows(part, operand))

    def _least_by_windows(self, part: Part, operand: Operand) -> int:
        config, region = self.config, part.region
        lines, line = ((n - 1) * s + 1 for n, s in zip((region.height, region.width), operand.stride, strict=True))
        windows = [ceil_div(n, config.depthwise) for n in operand.depthwise_weights.shape[:2]]
        passes = windows[0] * windows[1] * ceil_div(part.channels, config.columns) * self.images
        return passes * max(lines * line, config.load_cycles)


def arrangement_choices(arranged: ArrangedNetwork) -> list[Choice]:
    """Return the choices of arrangements that may be the fastest for a network, the most promising first.

    A beam search arranges one tensor after the other: the narrow results from the last to the first, because bands
    depend on how the result of the tensor's reader is arranged, then the input that the host unfolds. After each
    tensor, the `_BEAM` partial choices with the lowest bounds are kept, and the one that arranges nothing.
    """
    network, config = arranged.network, arranged.config
    linear = [index for index, layer in enumerate(network.layers) if isinstance(layer, Linear)]
    narrow = [tensor for tensor in linear if _may_be_arranged(network, tensor, config)]
    unfolded = _unfolded_input(network, config)
    free = {*narrow} if unfolded is None else {*narrow, unfolded}
    # The cycles of a layer are known when the last of the arrangements of its source and its result is.
    known: dict[int | None, list[int]] = {}
    for layer in linear:
        known.setdefault(min(free & {layer, network.sources[layer][0]}, default=None), []).append(layer)

    def bounded(choices: Iterable[Choice], tensor: int | None) -> list[Choice]:
        """Add the cycles that are known with the arrangement of `tensor`; leave out choices that are not possible."""
        found = []
        for choice in choices:
            cycles = [arranged.least_cycles(layer, choice) for layer in known.get(tensor, ())]
            if None not in cycles:
                found.append(dataclasses.replace(choice, bound=choice.bound + sum(filter(None, cycles))))
        return sorted(found, key=lambda choice: (choice.bound, len(choice.arrangements)))

    kept = bounded([Choice()], None)
    for tensor in reversed(narrow):
        options = (
            choice.with_tensor(tensor, option)
            for choice in kept
            for option in (None, *_options(arranged, choice, tensor))
        )
        found = bounded(options, tensor)
        kept = [choice for number, choice in enumerate(found) if number < _BEAM or not choice.arrangements]
    if unfolded is not None:
        kept = bounded((c for choice in kept for c in _unfoldings(arranged, choice, unfolded)), unfolded)
    kept = [dataclasses.replace(c, bound=max(c.bound, arranged.link_words(c))) for c in kept]
    return sorted(kept, key=lambda choice: (choice.bound, len(choice.arrangements)))


def _unfoldings(arranged: ArrangedNetwork, choice: Choice, source: int) -> Iterator[Choice]:
    """Yield a choice with all ways of unfolding an input."""
    (reader,) = arranged.network.readers(source)
    layer = arranged.network.layers[reader]
    assert isinstance(layer, (Conv, Depthwise))
    result = arranged.of(reader, choice)
    for found in im2col_variants(layer, source, arranged.shape(source), result, arranged.config.rows):
        yield dataclasses.replace(choice.with_tensor(source, found.arrangement), im2col=found)


def _may_be_arranged(network: Network, tensor: int, config: Config) -> bool:
    """Return whether a tensor's pixels leave room for others in a column tile, and only layers with weights read it."""
    layer, readers = network.layers[tensor], network.readers(tensor)
    return (
        2 * network.shapes[tensor][2] <= config.columns
        and network.shapes[tensor][:2] != (1, 1)
        and tensor not in network.outputs
        and not layer.wide
        and bool(readers)
        and all(isinstance(network.layers[reader], Linear) for reader in readers)
    )


def _unfolded_input(network: Network, config: Config) -> int | None:
    """Return the first input that the host may unfold for the only layer that reads it; None if there is none."""
    for number, shape in enumerate(network.input_shapes):
        readers = network.readers(INPUT - number)
        if shape[2] < config.rows and len(readers) == 1 and isinstance(network.layers[readers[0]], (Conv, Depthwise)):
            return INPUT - number
    return None


def _options(arranged: ArrangedNetwork, choice: Choice, tensor: int) -> list[Arrangement]:
    """Return the arrangements of a tensor that are worth trying, besides the plain one."""
    network, (height, width, channels) = arranged.network, arranged.network.shapes[tensor]
    readers = [
        (index, layer) for index in network.readers(tensor) if isinstance(layer := network.layers[index], Linear)
    ]
    most = arranged.config.columns // channels
    found = []
    # A power of two more often divides sizes and strides.
    for members in sorted({most, 1 << most.bit_length() - 1}):
        for lines in range(1, members + 1):
            if members % lines == 0 and lines <= height and members // lines <= width:
                found.append(Arrangement(Axis.neighbours(height, lines), Axis.neighbours(width, members // lines)))
        if len(readers) == 1 and isinstance(reader := readers[0][1], (Conv, Depthwise)):
            size = arranged.shape(readers[0][0])
            y = arranged.of(readers[0][0], choice).y
            # The bands are those that the reader's result is cut to; if it is not arranged, those that it could be.
            bands = _bands_read(reader, Axis.bands(size[0], members) if y == Axis(size[0]) else y)
            if len(bands.offsets) == members and y.step == 1:
                found.append(Arrangement(bands, Axis(width)))
    if all(isinstance(reader, Dense) or _fills(network, tensor, reader) for _, reader in readers):
        return list(dict.fromkeys(found))
    return []


def _fills(network: Network, tensor: int, reader: Linear) -> bool:
    """Return whether the zero point of a tensor, which members outside the image have, is the pad value of a reader."""
    layer = network.layers[tensor]
    assert isinstance(layer, Linear)
    return layer.zero_point == reader.input_zero_point and layer.low <= layer.zero_point <= layer.high


def _bands_read(reader: Conv | Depthwise, result: Axis) -> Axis:
    """Return the axis of a tensor in bands: each member has all lines that a band of the reader's result needs."""
    stride, before = reader.stride[0], reader.padding[0][0]
    lines = stride * result.step * (result.count - 1) + (reader.kernel[0] - 1) * reader.dilation[0] + 1
    return Axis(lines, 1, tuple(stride * offset - before for offset in result.offsets))
