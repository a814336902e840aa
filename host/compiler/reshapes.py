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
    outputs: Sequence[int] | None = None,
    input_shapes: Sequence[Shape] | None = None,
) -> tuple[Network, list[int]]:
    """Return a network with other layers or sources, and the index in `layers` of each layer that is kept.

    Parameters
    ----------
    layers, sources
        As for `Network`. Layers that the outputs do not need are removed.
    outputs, input_shapes
        As for `Network`; by default those of `network`.
    """
    kept, renumbered, results = needed_layers(sources, network.outputs if outputs is None else outputs)
    shapes = input_shapes or network.input_shapes
    return Network([layers[index] for index in kept], shapes, renumbered, network.contract, results), kept


def strip_reshapes(network: Network) -> tuple[Network, list[int]]:
    """Remove the reshapes that change nothing in memory, and those that only fully connected layers read.

    Returns the network, and for each of its layers the index in the original.
    """
    layers, shapes, sources = network.layers, network.shapes, sources_of(network)
    input_shapes = list(network.input_shapes)
    for number in range(len(input_shapes)):
        tensor = INPUT - number
        first = network.readers(tensor)
        if len(first) == 1 and isinstance(layers[first[0]], Reshape) and first[0] not in network.outputs:
            # The host packs inputs in the shape in which they are read.
            input_shapes[number] = shapes[first[0]]
            sources = [tuple(tensor if s == first[0] else s for s in which) for which in sources]
            sources[first[0]] = ()

    def skip(layer: Layer, source: int) -> int:
        """Return the tensor that a layer can read instead of a chain of reshapes."""
        while source >= 0 and isinstance(reshape := layers[source], Reshape) and sources[source]:
            before = sources[source][0]
            shape = network.input_shapes[INPUT - before] if before < 0 else shapes[before]
            if not (isinstance(layer, Dense) or shape == reshape.size):
                break
            source = before
        return source

    for index, layer in enumerate(layers):
        sources[index] = tuple(skip(layer, source) for source in sources[index])

    def written(output: int) -> int:
        """Return the layer whose result has the values of an output, in the same order."""
        while isinstance(layers[output], Reshape) and sources[output] and sources[output][0] >= 0:
            output = sources[output][0]
        return output

    outputs = [written(output) for output in network.outputs]
    return rewrite_network(network, layers, sources, outputs=outputs, input_shapes=input_shapes)


def _same_in_memory(layer: Reshape, shape: Shape, config: Config) -> bool:
    """Return whether a tensor of `shape` has the same words in memory before and after a reshape."""
    if shape[2] == layer.size[2]:
        return True
    whole = config.rows if config.tiles_per_word > 1 or config.rows == config.columns else 0
    return bool(whole) and shape[2] % whole == 0 and layer.size[2] % whole == 0


def reshaped_in_place(network: Network, config: Config) -> set[int]:
    """Return the reshapes whose result is equal, in memory, to their source.

    Reshapes of the network's inputs, and those that are outputs of the network, are not considered.
    """
    found: set[int] = set()
    for index, (layer, (source, *_)) in enumerate(zip(network.layers, sources_of(network), strict=True)):
        if not isinstance(layer, Reshape) or source < 0 or index in network.outputs:
            continue
        if _same_in_memory(layer, network.source_shapes(index)[0], config):
            found.add(index)
    return found


def stored_tensor(network: Network, tensor: int, in_place: Collection[int]) -> int:
    """Return the tensor in whose memory a tensor is stored: itself, unless it was reshaped in place."""
    while tensor in in_place:
        tensor = sources_of(network)[tensor][0]
    return tensor
