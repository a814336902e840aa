"""A small network with depthwise convolutions and residual branches, in float32."""

import numpy as np
from support.qdq.graphs import FloatGraph, weights

_WINDOW = {"strides": [1, 1], "dilations": [1, 1], "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
_POINT = {"strides": [1, 1], "dilations": [1, 1], "kernel_shape": [1, 1], "pads": [0, 0, 0, 0], "group": 1}


def residual_network() -> FloatGraph:
    """Return it: 8 x 8 x 3 to 5 classes; two inverted residual blocks, a pool, a product and a softmax."""
    g, random = FloatGraph(), np.random.default_rng(7)

    def conv(x: str, channels: int, group: int, options: dict, size: int) -> str:
        inputs, kernel = g.shapes[x][0] // group, options["kernel_shape"]
        values = weights(random, (channels, inputs, *kernel), inputs * kernel[0] * kernel[1])
        constants = {"weights": values, "bias": random.normal(size=channels).astype(np.float32) / 4}
        return g.add("Conv", [x], [(channels, size, size)], constants, **options | {"group": group})

    def clamped(x: str, kind: str) -> str:
        limits = {"low": 0.0, "high": 6.0} if kind == "Clip" else {}
        return g.add(kind, [x], [g.shapes[x]], **limits)

    at = g.add_input((3, 8, 8))
    at = clamped(conv(at, 6, 1, _WINDOW | {"strides": [2, 2]}, 4), "Relu")
    for kind in ("Relu", "Clip"):
        wide = clamped(conv(at, 9, 1, _POINT, 4), kind)
        wide = clamped(conv(wide, 9, 9, _WINDOW, 4), kind)
        at = g.add("Add", [conv(wide, 6, 1, _POINT, 4), at], [(6, 4, 4)])
    at = g.add("GlobalAveragePool", [at], [(6, 1, 1)])
    at = g.add("Flatten", [at], [(6,)], axis=1)
    values = {"weights": weights(random, (5, 6), 6), "bias": random.normal(size=5).astype(np.float32)}
    at = g.add("Gemm", [at], [(5,)], values, transB=1)
    g.outputs = [g.add("Softmax", [at], [(5,)], axis=-1)]
    return g
