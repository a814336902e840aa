"""Grouped convolutions, which the machine computes as plain ones."""

from __future__ import annotations

import numpy as np

from etchnet.host.network.model import ModelError

__all__ = ["ungrouped"]

_MOST_WEIGHTS = 1 << 26


def ungrouped(where: str, weights: np.ndarray, groups: int) -> np.ndarray:
    """Return the weights of a plain convolution that equals a grouped one: zero between channels of different groups.

    Parameters
    ----------
    where
        Name of the operator in messages.
    weights
        (y, x, input channels of a group, output channels), of any type.
    groups
        Number of groups, which divides the output channels.

    Returns
    -------
    numpy.ndarray
        (y, x, input channels, output channels), of the same type.

    Raises
    ------
    ModelError
        The result would be too large.
    """
    if groups == 1:
        return weights
    height, width, inputs, outputs = weights.shape
    if weights.size * groups > _MOST_WEIGHTS:
        raise ModelError(
            f"{where}: {groups} groups need {weights.size * groups} weights; at most {_MOST_WEIGHTS} are supported"
        )
    whole = np.zeros((height, width, inputs * groups, outputs), weights.dtype)
    each = outputs // groups
    for group in range(groups):
        rows, columns = slice(group * inputs, (group + 1) * inputs), slice(group * each, (group + 1) * each)
        whole[:, :, rows, columns] = weights[..., columns]
    return whole
