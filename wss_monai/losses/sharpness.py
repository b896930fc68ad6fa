# SPDX-License-Identifier: Apache-2.0
"""The sharpness t of the log-barrier as a function of the epoch."""

from __future__ import annotations

import math

__all__ = ["barrier_t"]


def barrier_t(
    epoch: int,
    epochs: int,
    *,
    t0: float = 5.0,
    factor: float = 1.1,
    steps: float = 50.0,
    t_max: float = 1000.0,
    published: bool = False,
) -> float:
    """t = min(t0 x factor^n, t_max), for ``LogBarrierExtension.set_t`` at the start of an epoch.

    n rises evenly from 0 to ``steps`` over the run whatever its length, so that short and long runs follow one method;
    with ``published`` n is the number of finished epochs, as in Kervadec et al., arXiv 1904.04205, section 4 (x 1.1 an
    epoch; ``MultiplyT`` of that code with ``factor`` as its mu).

    Args:
        epoch: from 1.
        epochs: of the whole run.
        t0: t in the first epoch.
        factor: growth a step.
        steps: steps over the run.
        t_max: greatest t.
        published: one step an epoch instead.

    Raises:
        ValueError: numbers that are not positive.
    """
    if not all(math.isfinite(v) and v > 0 for v in (t0, factor, steps, t_max)):
        raise ValueError(f"t0, factor, steps and t_max must be positive, got {t0}, {factor}, {steps}, {t_max}.")
    done = epoch - 1
    n = done if published else steps * done / max(1, epochs - 1)
    growth = n * math.log(factor)
    return min(t0 * math.exp(growth), t_max) if growth < 700 else t_max
