"""A model as a description (JSON) and one run of float32 numbers, for a browser to compute with.

The description names operations rather than classes, so that the other side knows few of them:

==============  ================================================================================
convolution     window, strides, padding, dilation, groups; a depthwise one has a group per channel
dense           on the last axis
maximum         the largest value under a window
average         the mean of the pixels under a window, padding not counted
normalization   per channel: ``(x − mean) · scale + shift``
padding         zeros around
identity        the same numbers, perhaps in another shape: flattening, dropout, no activation
==============  ================================================================================

Each may end with an activation. Windows are resolved: padding is ``[[top, bottom], [left, right]]``
and a global pooling has the whole image as its window.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from convlib import layers
from convlib.kernels import memory
from convlib.models import Sequential

FORMAT = "convlib network 1"
HERE = Path(__file__).resolve().parent
SCRIPTS = "forward.js", "explorer.js"


def describe(
    model: Sequential, images: np.ndarray | None = None, labels=None
) -> tuple[dict, np.ndarray]:
    """Return a model as a description that JSON can hold, and all its numbers.

    Parameters
    ----------
    model : Sequential
        Built, with images ``(height, width, channels)`` as input.
    images : array (n, height, width) or (n, height, width, channels), optional
        A gallery of examples, in the numbers that the model was trained on.
    labels : sequence of n, optional
        What the examples show; their numbers from 0 on if not given.

    Returns
    -------
    description : dict
        ``weights`` of a layer says for each of its arrays where it begins (``offset``, in numbers)
        and which ``shape`` it has; ``gallery`` does so for the examples.
    numbers : float32 array of one dimension

    Raises
    ------
    TypeError
        If `model` is no model, or has a layer that cannot be described.
    ValueError
        If the model is not built, does not take images, or the examples do not fit.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model must be a Sequential, got {type(model).__name__}")
    if not model.built:
        raise ValueError("the model is not built; give its first layer input_shape=...")
    shape = model.input_shape[1:]
    if len(shape) != 3:
        raise ValueError(f"the model must take images (height, width, channels), not {shape}")
    runs: list[np.ndarray] = []

    def stored(array) -> dict:
        array = np.asarray(memory.to_host(array), dtype="<f4")
        offset = sum(run.size for run in runs)
        runs.append(array.ravel())
        return {"offset": offset, "shape": list(array.shape)}

    described = []
    for layer in model.layers:
        parts, weights = _operation(layer)
        described.append(
            {
                "name": layer.name,
                "class": type(layer).__name__,
                "input_shape": _as_image(layer.input_shape[1:], layer),
                "output_shape": _as_image(layer.output_shape[1:], layer),
                "activation": None,
                **parts,
                "weights": {name: stored(array) for name, array in weights.items()},
            }
        )
    description = {"format": FORMAT, "name": model.name, "input_shape": list(shape)}
    description["layers"] = described
    if images is not None:
        images = _examples(images, shape)
        labels = list(range(len(images))) if labels is None else [str(label) for label in labels]
        if len(labels) != len(images):
            raise ValueError(f"the gallery has {len(images)} images but {len(labels)} labels")
        description["gallery"] = {"images": stored(images), "labels": [str(x) for x in labels]}
    description["numbers"] = sum(run.size for run in runs)
    return description, np.concatenate(runs or [np.empty(0, "<f4")])


def script() -> str:
    """Return all JavaScript of the explorer as one module that imports nothing.

    It exports ``mount(element, network, numbers)`` for a page that holds a description and its
    numbers, ``numbersFrom(base64)`` for the latter, ``load(element, url)`` for what `export` wrote,
    and what anywidget asks for. As the text of a ``<script type="module">`` it also runs in a page
    that is opened from a disk, where a browser lets no script import another.
    """
    lines = (line for name in SCRIPTS for line in (HERE / name).read_text("utf-8").splitlines())
    return "\n".join(line for line in lines if not line.startswith("import ")) + "\n"


def export(model: Sequential, folder: str | Path, images=None, labels=None) -> None:
    """Write what a page needs to compute with a model without Python.

    The files are ``network.json``, ``network.f32`` (little-endian), and ``explorer.js``, which is
    `script`.

    Parameters
    ----------
    model, images, labels
        As for `describe`.
    folder : path
        Made if it is not there.
    """
    description, numbers = describe(model, images, labels)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.json").write_text(json.dumps(description), encoding="utf-8")
    (folder / "network.f32").write_bytes(numbers.tobytes())
    (folder / "explorer.js").write_text(script(), encoding="utf-8")


def _as_image(shape, layer) -> list[int]:
    """Return a shape as height, width and channels; a vector is an image of one pixel."""
    if len(shape) not in (1, 3):
        raise TypeError(f"{layer.label} makes {shape}, neither an image nor a vector")
    return list(shape) if len(shape) == 3 else [1, 1, *shape]


def _examples(images, shape) -> np.ndarray:
    images = np.asarray(images, dtype="<f4")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[1:] != shape or not len(images):
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"the gallery must have shape (n, {wanted}), got {images.shape}")
    return images


def _operation(layer) -> tuple[dict, dict[str, np.ndarray]]:
    """Return what a layer does, and the arrays that it needs for that."""
    if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        kernel, channels = memory.to_host(layer.kernel), layer.input_shape[-1]
        groups = getattr(layer, "groups", channels)
        kernel = kernel.reshape(*kernel.shape[:2], channels // groups, -1)
        window = _window(layer, layer.kernel_size, layer.dilation_rate)
        parts = {"kind": "convolution", **window, "groups": groups}
        return parts | _activation(layer), _with_bias(kernel, layer)
    if isinstance(layer, layers.Dense):
        return {"kind": "dense", **_activation(layer)}, _with_bias(layer.kernel, layer)
    if isinstance(layer, (layers.MaxPooling2D, layers.AveragePooling2D)):
        maximum = isinstance(layer, layers.MaxPooling2D)
        kind = "maximum" if maximum else "average"
        return {"kind": kind, **_window(layer, layer.pool_size)}, {}
    if isinstance(layer, (layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D)):
        kind = "maximum" if isinstance(layer, layers.GlobalMaxPooling2D) else "average"
        size = list(layer.input_shape[1:3])
        whole = {"window": size, "strides": [1, 1], "dilation": [1, 1]}
        return {"kind": kind, **whole, "padding": [[0, 0], [0, 0]]}, {}
    if isinstance(layer, layers.BatchNormalization):
        mean, variance, gamma, beta = (
            memory.to_host(getattr(layer, name))
            for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        scale = gamma / np.sqrt(variance + variance.dtype.type(layer.epsilon))
        return {"kind": "normalization"}, {"mean": mean, "scale": scale, "shift": beta}
    if isinstance(layer, layers.ZeroPadding2D):
        return {"kind": "padding", "padding": [list(side) for side in layer.padding]}, {}
    if isinstance(layer, (layers.Flatten, layers.Dropout)):
        return {"kind": "identity"}, {}
    if isinstance(layer, (layers.ReLU, layers.Softmax, layers.Activation)):
        return {"kind": "identity", **_activation(layer)}, {}
    raise TypeError(f"{layer.label} is no layer that the explorer can show")


def _window(layer, size, dilation=(1, 1)) -> dict:
    padding = layer._geometry(layer.input_shape).padding
    return {
        "window": list(size),
        "strides": list(layer.strides),
        "padding": [list(side) for side in padding],
        "dilation": list(dilation),
    }


def _with_bias(kernel, layer) -> dict:
    return {"kernel": kernel} | ({} if layer.bias is None else {"bias": layer.bias})


def _activation(layer) -> dict:
    """Return the activation that a layer is, or ends with."""
    step = layer
    if not isinstance(layer, (layers.ReLU, layers.Softmax)):
        steps = layers.activation_steps(layer.activation)
        step = steps[0] if steps else None
    if step is None:
        return {"activation": None}
    activation = {"kind": type(step).__name__.lower()}
    if isinstance(step, layers.ReLU):
        names = "max_value", "negative_slope", "threshold"
        activation |= {name: getattr(step, name) for name in names}
    return {"activation": activation}
