"""Limited-memory BFGS for smooth functions, in numpy.

Source: Nocedal and Wright 2006, Numerical Optimization, algorithms 7.4 (two-loop recursion) and 3.5 (a line search for
the strong Wolfe conditions, here with a shrinking bracket and cubic interpolation); Hager and Zhang 2005, SIAM J.
Optim. 16(1), equation 4.1 (the approximate Wolfe condition, which still accepts steps when the decrease is lost in
rounding). The constants of the safeguards are our choice.

Shapes: p parameters. Deterministic: the same function and start give the same steps.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from jaxtyping import Float

Objective = Callable[[Float[np.ndarray, " p"]], tuple[float, Float[np.ndarray, " p"]]]

DECREASE = 1e-4
"""Fraction of the predicted decrease required of a step (c1 in the book)."""
CURVATURE = 0.9
"""Fraction of the slope that may remain after a step (c2 in the book)."""
MAX_TRIALS = 30
"""Maximum number of evaluations in one line search."""
HISTORY = 10
"""Number of recent steps from which the curvature is estimated."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of a minimisation."""

    x: Float[np.ndarray, " p"]
    """The best point found."""
    converged: bool
    """Whether the gradient's norm reached the tolerance."""
    iterations: int
    """Number of steps."""


@dataclass(frozen=True)
class _Point:
    """A trial of the line search."""

    step: float
    value: float
    slope: float
    x: Float[np.ndarray, " p"]
    gradient: Float[np.ndarray, " p"]


def minimise(
    fun: Objective, x0: Float[np.ndarray, " p"], *, max_iterations: int, gradient_tolerance: float, noise: float = 0.0
) -> Result:
    """Minimise `fun`, which returns its value and gradient, starting from `x0`.

    Stops when the Euclidean norm of the gradient is at most `gradient_tolerance`, after `max_iterations` steps, or when
    no step along the steepest descent improves the value; only the first counts as `converged`. `noise` is the absolute
    error of the function's values beyond float64 rounding. The first trial step is the negative gradient itself, so the
    function should be scaled to curvatures near one; other scales only cost a few evaluations.
    """
    x = np.array(x0, dtype=np.float64)
    value, gradient = fun(x)
    iterations = 0
    pairs: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=HISTORY)
    norm = _norm(gradient)
    while norm > gradient_tolerance and iterations < max_iterations:
        direction = _direction(gradient, pairs)
        slope = float(direction @ gradient)
        if not slope < 0.0:
            pairs.clear()
            direction, slope = -gradient, -norm * norm
        found = _search(fun, _Point(0.0, value, slope, x, gradient), direction, noise + 1e-14 * abs(value))
        if found is None:
            if not pairs:
                break
            pairs.clear()
            continue
        moved, turned = found.x - x, found.gradient - gradient
        overlap = float(moved @ turned)
        if overlap > 1e-12 * _norm(moved) * _norm(turned):
            pairs.append((moved, turned, overlap))
        x, value, gradient = found.x, found.value, found.gradient
        norm = _norm(gradient)
        iterations += 1
    return Result(x=x, converged=norm <= gradient_tolerance, iterations=iterations)


def _norm(x: Float[np.ndarray, " p"]) -> float:
    return sqrt(float(x @ x))


def _direction(
    gradient: Float[np.ndarray, " p"], pairs: deque[tuple[np.ndarray, np.ndarray, float]]
) -> Float[np.ndarray, " p"]:
    """Return the quasi-Newton direction: minus the approximate inverse Hessian times the gradient."""
    direction = -gradient
    if not pairs:
        return direction
    shares = []
    for moved, turned, overlap in reversed(pairs):
        share = float(moved @ direction) / overlap
        direction -= share * turned
        shares.append(share)
    _, turned, overlap = pairs[-1]
    direction *= overlap / float(turned @ turned)
    for (moved, turned, overlap), share in zip(pairs, reversed(shares), strict=True):
        direction += (share - float(turned @ direction) / overlap) * moved
    return direction


def _search(fun: Objective, start: _Point, direction: Float[np.ndarray, " p"], slack: float) -> _Point | None:
    """Return a step along `direction` that meets the strong Wolfe conditions, or None.

    `low` is the longest step known to be too short, `high` the shortest known to be too long.
    """
    low: _Point = start
    high: _Point | None = None
    before, step = start, 1.0
    for _ in range(MAX_TRIALS):
        x = start.x + step * direction
        value, gradient = fun(x)
        point = _Point(step, value, float(gradient @ direction), x, gradient)
        if not (isfinite(value) and isfinite(point.slope)):
            high = point
            step = low.step + 0.1 * (step - low.step)
            continue
        enough = value <= start.value + DECREASE * step * start.slope
        in_the_noise = value <= start.value + slack and point.slope <= (2 * DECREASE - 1) * start.slope
        if not (enough or in_the_noise) or point.slope > -CURVATURE * start.slope:
            high = point
        elif point.slope < CURVATURE * start.slope:
            before, low = low, point
        else:
            return point
        if high is None:
            step = min(max(_cubic(before, low), 2 * step), 10 * step)
            continue
        width = high.step - low.step
        if width <= 1e-14 * high.step:
            break
        guess = _cubic(low, high) if isfinite(high.value) and isfinite(high.slope) else low.step + 0.1 * width
        step = min(max(guess, low.step + 0.1 * width), high.step - 0.1 * width)
    return low if low is not start else None


def _cubic(a: _Point, b: _Point) -> float:
    """Return the minimiser of the cubic through the values and slopes at two steps; far beyond `b` if there is none."""
    if a.step == b.step:
        return b.step
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if square < 0:
        return 10 * b.step
    d2 = sqrt(square)
    below = b.slope - a.slope + 2 * d2
    if below <= 0:
        return 10 * b.step
    return b.step - (b.step - a.step) * (b.slope + d2 - d1) / below
