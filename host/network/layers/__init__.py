"""The layers of a network: their settings, the shapes of their results, and bit-exact results in numpy.

A *tensor* is a batch of images: int8 (N, H, W, C), channels last. A vector is an image of one pixel.
"""

from etchnet.host.network.layers.base import MAX_TERMS, Layer, NetworkError, Shape, as_array, as_int8
from etchnet.host.network.layers.elementwise import Add, AddConstant
from etchnet.host.network.layers.linear import Conv, Dense, Depthwise, Linear
from etchnet.host.network.layers.pools import AveragePool, MaxPool, Pool
from etchnet.host.network.layers.scaling import Scaling
from etchnet.host.network.layers.shapes import Concat, Pad, Reshape, Slice
from etchnet.host.network.layers.windows import Padding, same_padding

__all__ = [
    "LAYERS",
    "MAX_TERMS",
    "Add",
    "AddConstant",
    "AveragePool",
    "Concat",
    "Conv",
    "Dense",
    "Depthwise",
    "Layer",
    "Linear",
    "MaxPool",
    "NetworkError",
    "Pad",
    "Padding",
    "Pool",
    "Reshape",
    "Scaling",
    "Shape",
    "Slice",
    "as_array",
    "as_int8",
    "same_padding",
]

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (Dense, Conv, Depthwise, AveragePool, MaxPool, Add, AddConstant, Concat, Pad, Reshape, Slice)
}
"""every kind of layer, by the name that files of `Network.save` give it"""
