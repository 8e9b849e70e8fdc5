"""Small models, data and a finite-difference oracle that several test modules use."""

import numpy as np

from convlib import layers, models, utils

BACKENDS = ["reference", "cpu"]


def compiled(stack, loss="categorical_crossentropy", seed=0, dtype="float32", **options):
    """Return a compiled model, its weights decided by the seed alone."""
    utils.set_random_seed(seed)
    model = models.Sequential(stack, dtype=dtype)
    model.compile(options.pop("optimizer", "rmsprop"), loss, **options)
    return model


def convnet(**options):
    """Return the smallest network with convolution, pooling and two dense layers."""
    stack = [
        layers.Conv2D(4, (3, 3), activation="relu", input_shape=(8, 8, 1)),
        layers.MaxPooling2D((2, 2)),
        layers.Flatten(),
        layers.Dense(6, activation="relu"),
        layers.Dense(3, activation="softmax"),
    ]
    return compiled(stack, **options)


def images(samples=40, seed=0):
    """Return noisy 8×8 images of three classes, and their labels."""
    generator = np.random.default_rng(seed)
    prototypes = np.random.default_rng(99).random((3, 8, 8, 1))
    labels = generator.integers(0, 3, samples)
    noise = 0.1 * generator.standard_normal((samples, 8, 8, 1))
    return (prototypes[labels] + noise).astype("float32"), labels


def training_loss(model, x, y):
    """Return the mean loss of one batch in training mode."""
    plan = model._training_plan(len(x))
    plan.load(x, 0, len(x))
    plan.load_targets(model.loss.wanted(y), 0, len(x))
    plan.prepare(len(x))
    plan.forward(len(x), training=True)
    return float(plan.losses(len(x)).astype(np.float64).mean())


def weight_gradients(model, x, y):
    """Return (weight, gradient) for every trainable weight array, the weight being the live one."""
    training_loss(model, x, y)
    plan, parameters = model._training, model._parameters
    plan.backward_from_loss(len(x))
    # A step of size zero completes the gradients and changes nothing.
    velocity = np.zeros_like(parameters.values)
    vectors = parameters.values, parameters.gradients, velocity
    assert plan.kernels.sgd_update(*vectors, 0.0, 0.0, False, plan.scratch)
    pairs = []
    for layer, gradients in parameters.gradients_of.items():
        weights = [getattr(layer, name) for name in layer.trainable_names]
        pairs += zip(weights, [gradient.copy() for gradient in gradients], strict=True)
    return pairs


def assert_is_derivative(function, point, gradient, step=1e-6, places=6, seed=0):
    """Compare a gradient with central differences at a few random places of ``point``."""
    generator = np.random.default_rng(seed)
    scale = max(1e-3, np.abs(gradient).max())
    for place in generator.choice(point.size, min(places, point.size), replace=False):
        index = np.unravel_index(place, point.shape)
        before = point[index]
        point[index] = before + step
        above = function()
        point[index] = before - step
        below = function()
        point[index] = before
        difference = (above - below) / (2 * step)
        assert abs(difference - gradient[index]) < 1e-6 * scale, (
            index,
            difference,
            gradient[index],
        )
