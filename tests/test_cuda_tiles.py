"""The GPU's matrix products in tiles of every size: small problems would all take small ones.

Sizes are no multiple of a tile in any direction, with and without quads. Numbers are whole and so
small that every order of a sum gives the same.
"""

import numpy as np
import pytest
from devices import BACKENDS, device_of

from convlib import shapes
from convlib.kernels import get_backend, reference

if "cuda" not in BACKENDS:
    pytest.skip("needs a GPU or its simulator", allow_module_level=True)

from convlib.kernels.cuda import conv2d_pool, correlation, direct, outer_products, tiles

cuda = get_backend("cuda")
PLANS = (
    *(correlation.forward_pass, correlation.backward_passes, direct.best_forward_pass),
    *(outer_products.plan_of, conv2d_pool.fused_pass, conv2d_pool.sparse_plan),
)
POOL = (2, 2)


WAYS = {  # blocks that call for large tiles, blocks that need no parts of sums, dtypes
    "large": (1, 1, (np.float32,)),
    "small": (10**9, 1, (np.float32, np.float64)),
    "in parts": (10**9, 40, (np.float32,)),
}


@pytest.fixture(
    params=[
        pytest.param((way, dtype), id=f"{way}-{dtype.__name__}")
        for way, (*_, dtypes) in WAYS.items()
        for dtype in dtypes
    ]
)
def dtype(request, monkeypatch):
    """Choose one size of tiles for all problems, and parts of sums or none."""
    way, dtype = request.param
    few, enough, _ = WAYS[way]
    monkeypatch.setattr(tiles, "FEWEST_BLOCKS", few)
    for module in (tiles, conv2d_pool):
        monkeypatch.setattr(module, "ENOUGH_BLOCKS", enough)
    for module in (tiles, outer_products):
        monkeypatch.setattr(module, "FEWEST_STEPS", 1)
    monkeypatch.setattr(conv2d_pool, "FEWEST_ROUNDS", 1)
    for plan in PLANS:
        plan.cache_clear()
    yield dtype
    for plan in PLANS:
        plan.cache_clear()


def run(operation, outputs, arguments):
    """Compare what an operation writes with the reference."""
    device = device_of(cuda)
    there = [
        device.upload(value) if isinstance(value, np.ndarray) else value for value in arguments
    ]
    getattr(cuda, operation)(*there, device.Scratch())
    wide = [
        value.astype(float) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value
        for value in arguments
    ]
    getattr(reference, operation)(*wide, None)
    for place in outputs:
        np.testing.assert_array_equal(there[place].copy_to_host(), wide[place], operation)


GEOMETRIES = [
    # image, kernel, filters, options
    ((1, 11, 13, 8), (3, 3), 68, {}),
    ((1, 13, 11, 10), (3, 3), 67, {}),
    ((2, 9, 10, 12), (3, 2), 70, {"padding": "same"}),
    ((1, 14, 15, 26), (1, 3), 68, {"strides": (2, 1), "dilation": (1, 2), "padding": "same"}),
    ((2, 9, 8, 72), (2, 1), 72, {"groups": 2}),
]


@pytest.mark.parametrize(("image", "kernel", "filters", "options"), GEOMETRIES)
def test_every_tile_computes_the_same(image, kernel, filters, options, dtype):
    random = np.random.default_rng(filters)

    def numbers(*shape):
        return random.integers(-3, 4, shape).astype(dtype)

    def empty(*shape, dtype=dtype):
        return np.full(shape, np.nan if dtype != np.uint8 else 77, dtype)

    strides, dilation = options.get("strides", (1, 1)), options.get("dilation", (1, 1))
    groups = options.get("groups", 1)
    size, padding = shapes.window_geometry(
        image[1:3], kernel, strides, options.get("padding", "valid"), dilation
    )
    window = strides, padding, dilation, groups
    w_shape, y_shape = (*kernel, image[3] // groups, filters), (image[0], *size, filters)
    x, w, b, dy = numbers(*image), numbers(*w_shape), numbers(filters), numbers(*y_shape)
    run("conv2d_relu_forward", [3], [x, w, b, empty(*y_shape), *window])
    run("conv2d_backward_input", [2], [dy, w, empty(*image), *window])
    run("conv2d_backward_params", [2, 3], [x, dy, empty(*w_shape), empty(filters), *window])

    pooled = image[0], size[0] // 2, size[1] // 2, filters
    y, code = empty(*pooled), empty(*pooled, dtype=np.uint8)
    run("conv2d_relu_max_pool2d_forward", [3, 4], [x, w, b, y, code, POOL, *window])
    reference.conv2d_relu_max_pool2d_forward(x, w, b, y, code, POOL, *window, None)
    dy = numbers(*pooled)
    run("conv2d_relu_max_pool2d_backward_input", [3], [dy, code, w, empty(*image), POOL, *window])
    outputs = empty(*w_shape), empty(filters)
    run("conv2d_relu_max_pool2d_backward_params", [3, 4], [x, dy, code, *outputs, POOL, *window])
