"""Plot of a sweep of machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etchnet.hdl.targets.files import replacing
from etchnet.host.reports.selection import Sweep
from etchnet.host.reports.sizing import Point

__all__ = ["SUFFIXES", "draw_sweep"]

SUFFIXES = (".png", ".svg")
"""suffixes of the files that `draw_sweep` writes"""
_FITS, _TOO_LARGE, _FRONT = "#0072b2", "#a3abb4", "#d55e00"


def draw_sweep(sweep: Sweep, path: Path, clock: float) -> None:
    """Plot inferences per second, at a clock in Hz, over multipliers: all points, the Pareto front and the best point.

    Needs matplotlib. The suffix of `path` must be one of `SUFFIXES`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def xy(points: Sequence[Point]) -> tuple[list[int], list[float]]:
        return [p.config.multipliers for p in points], [p.per_second(clock) for p in points]

    figure, axes = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    for refused, label, color in ((False, "fits", _FITS), (True, "too large for the budget", _TOO_LARGE)):
        some = [p for p in sweep.points if p.cycles and bool(p.refused(sweep.budget)) == refused]
        if some:
            axes.scatter(*xy(some), s=18, alpha=0.7, color=color, label=label, linewidths=0)
    axes.plot(*xy(sweep.front), color=_FRONT, linewidth=1.4, marker=".", label="Pareto front")
    if (best := sweep.best) is not None:
        c, at = best.config, (best.config.multipliers, best.per_second(clock))
        text = f"{c.rows} x {c.columns}, W = {c.weight_rows}, n = {c.requantisers}"
        axes.annotate(text, at, xytext=(-8, 10), textcoords="offset points", ha="right", fontsize=9)
        axes.plot(*xy([best]), "o", mfc="none", mec=_FRONT, ms=11)
    axes.set(
        xlabel="multipliers of the array",
        ylabel=f"inferences per second at {clock / 1e6:g} MHz",
        title=sweep.model.name,
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    try:
        with replacing(path) as partial:
            figure.savefig(partial, format=path.suffix[1:].lower(), dpi=150)
    finally:
        pyplot.close(figure)
