"""Optimizers against their formulas worked by hand, metrics against small tables."""

import numpy as np
import pytest
from small_models import BACKENDS

from convlib import metrics, optimizers
from convlib.kernels import get_backend
from convlib.kernels.scratch import Scratch


def walk(optimizer, gradients, backend, start=1.0):
    """Return the path of one weight under the given gradients."""
    weight = np.array([start], np.float64)
    optimizer.build(weight)
    path = []
    for gradient in gradients:
        gradient = np.array([gradient], np.float64)
        assert optimizer.update(get_backend(backend), weight, gradient, Scratch()) is True
        path.append(weight[0])
    return path


def rmsprop(gradients, rate=0.001, rho=0.9, epsilon=1e-7, w=1.0):
    square = 0.0
    for g in gradients:
        square = rho * square + (1 - rho) * g**2
        w -= rate * g / (square + epsilon) ** 0.5
        yield w


def adam(gradients, rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, w=1.0):
    mean = square = 0.0
    for t, g in enumerate(gradients, 1):
        mean = beta_1 * mean + (1 - beta_1) * g
        square = beta_2 * square + (1 - beta_2) * g**2
        step = rate * (1 - beta_2**t) ** 0.5 / (1 - beta_1**t)
        w -= step * mean / (square**0.5 + epsilon)
        yield w


def sgd(gradients, rate=0.01, momentum=0.0, nesterov=False, w=1.0):
    velocity = 0.0
    for g in gradients:
        velocity = momentum * velocity - rate * g
        w += momentum * velocity - rate * g if nesterov else velocity
        yield w


GRADIENTS = [2.0, -1.0, 0.5, 0.0, 3.0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "optimizer, formula",
    [
        (optimizers.RMSprop, rmsprop),
        (optimizers.Adam, adam),
        (optimizers.SGD, sgd),
        (lambda: optimizers.RMSprop(0.1, rho=0.5, epsilon=0.01),
         lambda g: rmsprop(g, 0.1, 0.5, 0.01)),
        (lambda: optimizers.Adam(0.1, 0.8, 0.9, 0.01), lambda g: adam(g, 0.1, 0.8, 0.9, 0.01)),
        (lambda: optimizers.SGD(0.1, momentum=0.9), lambda g: sgd(g, 0.1, 0.9)),
        (lambda: optimizers.SGD(0.1, 0.9, nesterov=True), lambda g: sgd(g, 0.1, 0.9, True)),
    ],
)  # fmt: skip
def test_paths_follow_the_formulas(optimizer, formula, backend):
    np.testing.assert_allclose(
        walk(optimizer(), GRADIENTS, backend), list(formula(GRADIENTS)), rtol=1e-10
    )


def test_first_steps_by_hand():
    # RMSprop: 2 / √(0.1·4) = √10; Adam: the first step is the rate, whatever the gradient.
    assert walk(optimizers.RMSprop(0.1, epsilon=0), [2.0], "reference")[0] == pytest.approx(
        1 - 0.1 * np.sqrt(10)
    )
    assert walk(optimizers.Adam(0.1, epsilon=0), [-7.0], "reference")[0] == pytest.approx(1.1)
    assert walk(optimizers.SGD(0.1), [2.0], "reference")[0] == pytest.approx(0.8)


def test_state_lives_as_long_as_the_weights():
    optimizer = optimizers.SGD(momentum=0.9)
    walk(optimizer, [1.0, 1.0], "reference")
    assert optimizer.iterations == 2
    optimizer.build(np.zeros(1))
    assert optimizer.iterations == 2 and optimizer.state["velocity"].any()
    optimizer.build(np.zeros(3))
    assert optimizer.iterations == 0 and not optimizer.state["velocity"].any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.RMSprop, optimizers.Adam])
def test_only_steps_that_were_taken_count(kind, backend):
    optimizer, kernels = kind(), get_backend(backend)
    gradients = [2.0, np.nan, -1.0, np.inf, 0.5]
    weight = np.array([1.0])
    optimizer.build(weight)
    for gradient in gradients:
        taken = optimizer.update(kernels, weight, np.array([gradient]), Scratch())
        assert taken is bool(np.isfinite(gradient))
    assert optimizer.iterations == 3
    # Adam's steps depend on their number.
    assert weight[0] == walk(kind(), [2.0, -1.0, 0.5], backend)[-1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_postponed_gradients_are_added_up_before_the_step(backend):
    optimizer, scratch = optimizers.SGD(1.0), Scratch(postpones_sums=True)
    weights, gradients = np.zeros(5), np.full(5, 9.0)
    optimizer.build(weights)
    (sums,) = scratch.take_sums(((3, 2), np.float64))
    sums[...] = [[1, 10], [2, 20], [3, 30]]
    scratch.postpone(gradients[1:3], sums)
    assert optimizer.update(get_backend(backend), weights, gradients, scratch)
    np.testing.assert_array_equal(gradients, [9, 6, 60, 9, 9])
    np.testing.assert_array_equal(weights, -gradients)
    # What was added up is forgotten.
    gradients[...] = 0
    assert optimizer.update(get_backend(backend), weights, gradients, scratch)
    np.testing.assert_array_equal(gradients, 0)


def test_defaults_are_keras():
    assert optimizers.get("rmsprop").get_config() == {
        "learning_rate": 0.001, "rho": 0.9, "epsilon": 1e-7,
    }  # fmt: skip
    assert optimizers.get("Adam").get_config() == {
        "learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7,
    }  # fmt: skip
    assert optimizers.get("SGD").get_config() == {
        "learning_rate": 0.01, "momentum": 0.0, "nesterov": False,
    }  # fmt: skip


# Metrics ----------------------------------------------------------------------------------------

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])
LABELS = np.array([1, 2, 1, 1])
ONE_HOT = np.eye(3)[LABELS]


@pytest.mark.parametrize(
    "metric, y_true, y_pred, expected",
    [
        (metrics.CategoricalAccuracy(), ONE_HOT, SCORES, 1 / 4),
        (metrics.SparseCategoricalAccuracy(), LABELS, SCORES, 1 / 4),
        (metrics.SparseCategoricalAccuracy(), LABELS[:, None], SCORES, 1 / 4),
        (metrics.TopKCategoricalAccuracy(k=1), ONE_HOT, SCORES, 2 / 4),
        (metrics.TopKCategoricalAccuracy(k=2), ONE_HOT, SCORES, 3 / 4),
        (metrics.SparseTopKCategoricalAccuracy(k=2), LABELS, SCORES, 3 / 4),
        (metrics.SparseTopKCategoricalAccuracy(k=5), LABELS, SCORES, 1),
        (metrics.BinaryAccuracy(), [0, 1, 1, 0], [[0.2], [0.6], [0.4], [0.5]], 3 / 4),
        (metrics.BinaryAccuracy(threshold=0.3), [[0, 1], [1, 0]], [[0.4, 0.5], [0.3, 0.1]], 2 / 4),
        (metrics.Accuracy(), [1, 2, 3, 4], [1, 2, 0, 4], 3 / 4),
    ],
)
def test_metric_values(metric, y_true, y_pred, expected):
    metric.update_state(y_true, y_pred)
    assert metric.result() == pytest.approx(expected)
    metric.reset_state()
    assert metric.result() == 0
    for one, other in zip(np.asarray(y_true), np.asarray(y_pred), strict=True):
        metric.update_state(one[None], other[None])
    assert metric.result() == pytest.approx(expected)


@pytest.mark.parametrize(
    "output_shape, labels, kind",
    [
        ((None, 1), False, metrics.BinaryAccuracy),
        ((None, 3), False, metrics.CategoricalAccuracy),
        ((None, 3), True, metrics.SparseCategoricalAccuracy),
    ],
)
def test_accuracy_stands_for_the_kind_that_fits(output_shape, labels, kind):
    for name in ("accuracy", "acc"):
        metric = metrics.get(name, output_shape, labels)
        assert type(metric) is kind and metric.name == name
