"""The minimiser, against known minima and scipy's."""

import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

from regraft.tasks.lbfgs import minimise


def rosenbrock(x):
    return float(rosen(x)), rosen_der(x)


def test_the_valley_of_rosenbrock_is_followed_to_its_end() -> None:
    found = minimise(rosenbrock, np.full(20, -1.2), max_iterations=500, gradient_tolerance=1e-8)
    assert found.converged
    assert np.linalg.norm(rosen_der(found.x)) <= 1e-8
    np.testing.assert_allclose(found.x, 1.0, rtol=0, atol=1e-7)


def test_it_takes_no_more_evaluations_than_scipy_by_half() -> None:
    start = np.full(20, -1.2)
    asked: list[np.ndarray] = []

    def counted(x):
        asked.append(x)
        return rosenbrock(x)

    ours = minimise(counted, start, max_iterations=500, gradient_tolerance=1e-6)
    theirs = minimize(rosen, start, jac=rosen_der, method="L-BFGS-B", options={"gtol": 1e-6, "ftol": 0.0})
    assert len(asked) <= 1.5 * theirs.nfev
    assert rosen(ours.x) <= theirs.fun + 1e-10


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_any_scale_of_a_quadratic_is_solved(scale: float) -> None:
    curvatures = scale * np.logspace(-2, 2, 30)
    found = minimise(
        lambda x: (0.5 * float(curvatures @ (x - 3) ** 2), curvatures * (x - 3)),
        np.zeros(30),
        max_iterations=2000,
        gradient_tolerance=scale * 1e-9,
    )
    assert found.converged
    np.testing.assert_allclose(found.x, 3.0, rtol=0, atol=1e-6)


def test_steps_into_infinity_are_taken_back() -> None:
    def barrier(x):
        if x[0] >= 1.0:
            return np.inf, np.array([np.nan])
        return float(-10 * x[0] - np.log(1 - x[0])), -10 + 1 / (1 - x)

    found = minimise(barrier, np.zeros(1), max_iterations=100, gradient_tolerance=1e-8)
    assert found.converged
    np.testing.assert_allclose(found.x, 0.9, rtol=1e-8)


def test_values_with_rounding_noise_still_converge() -> None:
    curvatures = np.logspace(-1, 1, 50)

    def rounded(x):
        value = 1.0 + 0.5 * float(curvatures @ (x - 1) ** 2)
        return float(np.float32(value)), curvatures * (x - 1)

    found = minimise(rounded, np.zeros(50), max_iterations=500, gradient_tolerance=1e-7, noise=1e-7)
    assert found.converged


def test_the_same_start_gives_the_same_bits() -> None:
    runs = [minimise(rosenbrock, np.zeros(6), max_iterations=30, gradient_tolerance=1e-9) for _ in range(2)]
    assert np.array_equal(runs[0].x, runs[1].x)


def test_too_few_iterations_are_reported_as_not_converged() -> None:
    found = minimise(rosenbrock, np.zeros(6), max_iterations=2, gradient_tolerance=1e-9)
    assert not found.converged
    assert found.iterations == 2


def test_a_start_at_the_minimum_takes_no_step() -> None:
    found = minimise(rosenbrock, np.ones(4), max_iterations=10, gradient_tolerance=1e-9)
    assert found.converged
    assert found.iterations == 0


def test_a_function_without_a_minimum_ends_without_converging() -> None:
    found = minimise(lambda x: (float(-x[0]), -np.ones(1)), np.zeros(1), max_iterations=5, gradient_tolerance=1e-9)
    assert not found.converged
