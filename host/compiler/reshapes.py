"""Reshapes that need no passes: those that do not move values in memory, or whose readers ignore the shape."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from etchnet.hdl.isa.config import Config
from etchnet.host.network.layers import Dense, Layer, Reshape, Shape
from etchnet.host.network.network import INPUT, Network, needed_layers

__all__ = ["reshaped_in_place", "rewrite_network", "sources_of", "stored_tensor", "strip_reshapes"]


def sources_of(network: Network) -> list[tuple[int, ...]]:
    """Return the layers that each layer reads."""
    return [tuple(s) for s in network.sources]


def rewrite_network(
    network: Network,
    layers: Sequence[Layer],
    sources: Sequence[Sequence[int]],
    *,
    last: int | None = None,
    input_shape: Shape | None = None,
) -> tuple[Network, list[int]]:
    """Return a network with other layers or sources, and the index in `layers` of each layer that is kept.

    Parameters
    ----------
    layers, sources
        As for `Network`. Layers that the result does not need are removed.
    last
        The layer that gives the result; by default the last one.
    input_shape
        Shape of the input; by default that of `network`.
    """
    kept, renumbered = needed_layers(sources, len(layers) - 1 if last is None else last)
    shape = input_shape or network.input_shape
    return Network([layers[index] for index in kept], shape, renumbered, network.contract), kept


def strip_reshapes(network: Network) -> tuple[Network, list[int]]:
    """Remove the reshapes that change nothing in memory, and those that only fully connected layers read.

    Returns the network, and for each of its layers the index in the original.
    """
    layers, shapes, sources = network.layers, network.shapes, sources_of(network)
    input_shape = network.input_shape
    first = network.readers(INPUT)
    if len(first) == 1 and isinstance(layers[first[0]], Reshape) and len(layers) > 1:
        # The host packs inputs in the shape in which they are read.
        input_shape = shapes[first[0]]
        sources = [tuple(INPUT if s == first[0] else s for s in which) for which in sources]
        sources[first[0]] = ()

    def skip(layer: Layer, source: int) -> int:
        """Return the tensor that a layer can read instead of a chain of reshapes."""
        while source != INPUT and isinstance(reshape := layers[source], Reshape) and sources[source]:
            before = sources[source][0]
            shape = network.input_shape if before == INPUT else shapes[before]
            if not (isinstance(layer, Dense) or shape == reshape.size):
                break
            source = before
        return source

    for index, layer in enumerate(layers):
        sources[index] = tuple(skip(layer, source) for source in sources[index])
    last = len(layers) - 1
    while isinstance(layers[last], Reshape) and sources[last] and sources[last][0] != INPUT:
        last = sources[last][0]
    return rewrite_network(network, layers, sources, last=last, input_shape=input_shape)


def _same_in_memory(layer: Reshape, shape: Shape, config: Config) -> bool:
    """Return whether a tensor of `shape` has the same words in memory before and after a reshape."""
    if shape[2] == layer.size[2]:
        return True
    whole = config.rows if config.tiles_per_word > 1 or config.rows == config.columns else 0
    return bool(whole) and shape[2] % whole == 0 and layer.size[2] % whole == 0


def reshaped_in_place(network: Network, config: Config) -> set[int]:
    """Return the reshapes whose result is equal, in memory, to their source.

    Reshapes of the network's input, and one that gives the network's result, are not considered.
    """
    found: set[int] = set()
    for index, (layer, (source, *_)) in enumerate(zip(network.layers, sources_of(network), strict=True)):
        last = index == len(network.layers) - 1
        if not isinstance(layer, Reshape) or source == INPUT or last:
            continue
        if _same_in_memory(layer, network.source_shapes(index)[0], config):
            found.add(index)
    return found


def stored_tensor(network: Network, tensor: int, in_place: Collection[int]) -> int:
    """Return the tensor in whose memory a tensor is stored: itself, unless it was reshaped in place."""
    while tensor in in_place:
        tensor = sources_of(network)[tensor][0]
    return tensor
