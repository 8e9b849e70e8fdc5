"""A network's description and numbers, and what JavaScript computes from them."""

import base64
import io
import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from convlib import layers, utils
from convlib.models import Sequential
from convlib.notebook import Explorer, display, show_explorer
from convlib.notebook.explorer import describe, export, script
from convlib.notebook.explorer.export import HERE
from convlib.notebook.explorer.widget import SENTENCE, still
from convlib.notebook.widgets import WIDGET_VIEW

SMALL = [
    layers.Conv2D(4, 3, activation="relu", input_shape=(12, 12, 1)),
    layers.MaxPooling2D(2),
    layers.Conv2D(6, 3, activation="relu"),
    layers.Flatten(),
    layers.Dense(8, activation="relu"),
    layers.Dropout(0.5),
    layers.Dense(10, activation="softmax"),
]
VARIED = [
    layers.ZeroPadding2D(((1, 0), (2, 1)), input_shape=(13, 10, 2)),
    layers.Conv2D(6, (3, 2), strides=2, padding="same", groups=2),
    layers.BatchNormalization(),
    layers.Activation("tanh"),
    layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="leaky_relu"),
    layers.AveragePooling2D(3, strides=2, padding="same"),
    layers.Conv2D(5, 2, dilation_rate=2, padding="same", activation="sigmoid", use_bias=False),
    layers.Dense(7, activation="relu6"),
    layers.GlobalAveragePooling2D(),
    layers.Dense(3),
    layers.Softmax(),
]
PLAIN = [  # without activations, so that the sums are the outputs
    layers.ZeroPadding2D(1, input_shape=(11, 12, 2)),
    layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2),
    layers.MaxPooling2D(3, strides=2, padding="same"),
    layers.BatchNormalization(),
    layers.Conv2D(6, 2, padding="same", groups=2),
    layers.AveragePooling2D(2, strides=1, padding="same"),
    layers.Flatten(),
    layers.Dense(5),
]
ENDING = [
    layers.Conv2D(4, 3, strides=2, activation="leaky_relu", input_shape=(9, 12, 3)),
    layers.GlobalMaxPooling2D(),
    layers.Dense(3, activation="softmax"),
]
FLAT = [layers.Flatten(input_shape=(6, 5, 1)), layers.Dense(4), layers.Softmax()]
CHANNELS = [
    layers.MaxPooling2D(2, input_shape=(8, 8, 3)),
    layers.DepthwiseConv2D(2),
    layers.Softmax(),
    layers.ReLU(),
]
STACKS = {
    "small": SMALL,
    "varied": VARIED,
    "plain": PLAIN,
    "ending": ENDING,
    "flat": FLAT,
    "channels": CHANNELS,
}
EPSILON = np.finfo(np.float32).eps
READ = """
import fs from "node:fs";
import * as explorer from "./explorer.js";
import {
  checked, explain, layerForward, outputsOf, product, restsOn,
} from "./forward.js";
const network = JSON.parse(fs.readFileSync("network.json"));
const floats = (name) => new Float32Array(new Uint8Array(fs.readFileSync(name)).buffer);
const numbers = floats("network.f32"), x = floats("image.f32"), made = floats("outputs.f32");
const inputs = [x]; // of each layer, as the library computed it, and the last output
let start = 0;
for (const { output_shape } of network.layers) {
  inputs.push(made.subarray(start, start + product(output_shape)));
  start += product(output_shape);
}
const refused = (act) => {
  try { act(); } catch (error) { return error.message; }
};
const write = (value) => console.log(JSON.stringify(value));
"""


def built(stack):
    utils.set_random_seed(3)
    model = Sequential()
    for layer in stack:
        copy = layers.from_config(type(layer).__name__, layer.get_config())
        copy.given_shape = layer.given_shape
        model.add(copy)
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.1, 1, w.shape) - 0.4 for w in model.get_weights()])
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance[...] = 0.7
    return model


def test_every_weight_comes_back_from_the_description():
    model = built(SMALL)
    description, numbers = describe(model)
    again = []
    for layer in json.loads(json.dumps(description))["layers"]:
        for place in layer["weights"].values():
            stop = place["offset"] + int(np.prod(place["shape"]))
            again.append(numbers[place["offset"] : stop].reshape(place["shape"]))
    assert len(again) == len(model.get_weights()) == 8
    for ours, theirs in zip(model.get_weights(), again, strict=True):
        assert np.array_equal(ours, theirs)


def in_node(folder, model, program, image=None):
    """Return what a JavaScript program writes that has the model, an image and all its outputs."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node, which is not on this computer")
    if image is None:
        shape = model.input_shape[1:]
        image = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    outputs = [output[0] for output in model.layer_outputs(image[None])]
    export(model, folder)
    shutil.copy(HERE / "forward.js", folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "run.js").write_text(READ + program)
    (folder / "image.f32").write_bytes(image.tobytes())
    (folder / "outputs.f32").write_bytes(b"".join(output.tobytes() for output in outputs))
    done = subprocess.run([node, "run.js"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [image, *outputs]


def alone(layer, dtype="float64"):
    """Return a network of one layer with the same weights, computed by the definitions."""
    copy = layers.from_config(type(layer).__name__, layer.get_config())
    model = Sequential([layers.Input(layer.input_shape[1:]), copy], dtype=dtype)
    model.compile(loss="mse", backend="reference")
    model.set_weights(layer.get_weights())
    return model


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_javascript_computes_what_every_layer_makes(stack, tmp_path):
    model = built(stack)
    program = """
    write({
      single: network.layers.map((layer, k) => [...layerForward(layer, numbers, inputs[k])]),
      chained: outputsOf(network, numbers, x).map((y) => [...y]),
      second: outputsOf(network, numbers, x, 2).length,
    });
    """
    result, made = in_node(tmp_path, model, program)
    assert result["second"] == 2
    for layer, x, y, single, chained in zip(
        model.layers, made, made[1:], result["single"], result["chained"], strict=False
    ):
        # Sums are taken in double precision, so only single roundings are left: of a value, of
        # each of three numbers of a normalization, and of its difference from the mean.
        (exact,) = alone(layer).predict(x[None].astype(np.float64), verbose=0)
        size = max(1.0, float(np.abs(exact).max()))
        assert np.abs(np.reshape(single, y.shape) - exact).max() <= 5 * EPSILON * size, layer.name
        assert np.allclose(np.reshape(chained, y.shape), y, rtol=1e-4, atol=1e-4), layer.name
    assert len(result["chained"]) == len(model.layers)


def test_javascript_keeps_what_is_not_a_number(tmp_path):
    model = built(
        [
            layers.Conv2D(2, 1, input_shape=(2, 2, 1)),
            layers.Flatten(),
            layers.Dense(3, activation="relu"),
        ]
    )
    weights = model.get_weights()
    weights[0][..., 1] = np.inf
    weights[2][0, 0] = np.nan
    model.set_weights(weights)
    model.compile(loss="mse", backend="reference")
    program = "write(network.layers.map((layer, k) => " + (
        "[...layerForward(layer, numbers, inputs[k])].map(Number.isNaN)));"
    )
    with np.errstate(invalid="ignore"):
        found, made = in_node(tmp_path, model, program, np.zeros((2, 2, 1), np.float32))
    for ours, theirs in zip(found, made[1:], strict=True):
        assert np.array_equal(np.reshape(ours, theirs.shape), np.isnan(theirs))
    assert np.isnan(made[1]).sum() == 4


def test_every_value_is_the_sum_of_the_products_that_explain_it(tmp_path):
    program = """
    const worst = network.layers.map((layer, k) => {
      const [rows, columns, channels] = layer.output_shape, y = inputs[k + 1];
      const sum = (parts) => parts.reduce((all, part) => part.reduce((a, b) => a + b, all), 0);
      let largest = 0;
      for (let i = 0; i < y.length; i++) {
        const pixel = Math.floor(i / channels);
        const at = [Math.floor(pixel / columns), pixel % columns, i % channels];
        const { products, patch, kernel, bias, inside, winner, count, mean, scale, shift, sum:
          total } = explain(layer, numbers, inputs[k], ...at);
        const under = patch[0].filter((_, tap) => inside[tap]);
        const value = products ? sum(products) + (bias ?? 0)
          : layer.kind === "maximum" ? patch[0][winner]
          : layer.kind === "average" ? sum([under]) / count
          : layer.kind === "normalization" ? (patch[0][0] - mean) * scale + shift : patch[0][0];
        largest = Math.max(largest, Math.abs(value - y[i]), Math.abs(total - y[i]));
        if (products) {
          const tap = i % products[0].length;
          if (products[0][tap] !== patch[0][tap] * kernel[0][tap]) throw new Error(layer.name);
        }
      }
      return largest;
    });
    const dense = network.layers.at(-1), shape = network.layers.at(-2).input_shape;
    const seen = explain(dense, numbers, inputs.at(-2), 0, 0, 3, shape);
    write({ worst, sums: [seen.sum, inputs.at(-1)[3]], window: seen.window,
      patch: seen.patch.map((part) => [...part]) });
    """
    model = built(PLAIN)
    result, made = in_node(tmp_path, model, program)
    for layer, worst, x, y in zip(model.layers, result["worst"], made, made[1:], strict=False):
        # The library's sums, in single precision: of n products of at most this size.
        kernel = getattr(layer, "kernel", np.ones((1, 1)))
        terms = kernel.size // y.shape[-1] + 4
        size = max(1.0, float(np.abs(x).max() * np.abs(kernel).max()), float(np.abs(y).max()))
        assert worst <= terms * EPSILON * size, layer.name
    assert result["sums"][0] == pytest.approx(result["sums"][1], rel=1e-5)
    maps = made[-3]  # before flattening
    assert tuple(result["window"]) == maps.shape[:2]
    for channel, part in enumerate(result["patch"]):
        assert np.array_equal(np.float32(part).reshape(maps.shape[:2]), maps[..., channel])


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_value_rests_on_the_inputs_whose_change_it_notices(stack, tmp_path):
    model = built(stack)
    program = """
    const chosen = network.layers.map(({ output_shape }, k) => {
      const at = output_shape.map((size, axis) => (7 * k + 5 * axis + 3) % size);
      const [image] = restsOn(network, k, ...at);
      return { at, pixels: [...image.pixels], channels: [...image.channels] };
    });
    write(chosen);
    """
    chosen, (image, *outputs) = in_node(tmp_path, model, program)
    # Not-a-number spreads to whatever is computed from it, and by the definitions to nothing else.
    model.compile(loss="mse", backend="reference")
    poisoned = np.repeat(image[None], image.size, axis=0)
    poisoned.reshape(image.size, -1)[np.diag_indices(image.size)] = np.nan
    with np.errstate(invalid="ignore"):
        spread = model.layer_outputs(poisoned)
    for layer, output, found in zip(model.layers, spread, chosen, strict=True):
        place = tuple(found["at"]) if output.ndim == 4 else (found["at"][-1],)
        noticed = np.isnan(output[(slice(None), *place)]).reshape(image.shape)
        pixels = np.array(found["pixels"]).reshape(*image.shape[:2], 1)
        marked = (pixels * np.array(found["channels"])).astype(bool)
        assert np.array_equal(marked, noticed), layer.name


def test_javascript_says_what_does_not_fit(tmp_path):
    program = """
    const broken = (change) => {
      const copy = structuredClone(network);
      change(copy.layers[0]);
      return refused(() => checked(copy, numbers));
    };
    write([
      refused(() => outputsOf(network, numbers, x.subarray(1))),
      refused(() => checked(network, numbers.subarray(1))),
      refused(() => checked({ format: "another" }, numbers)),
      broken((layer) => { layer.kind = "magic"; }),
      broken((layer) => { layer.input_shape = [1, 1, 3]; }),
      broken((layer) => { layer.weights.kernel.offset = 1e9; }),
    ]);
    """
    size, count, form, kind, shape, reach = in_node(tmp_path, built(SMALL), program)[0]
    assert "has 144 numbers of float32, got 143" in size
    assert "numbers of float32, got" in count
    assert "convlib network 1" in form and "another" in form
    assert 'unknown kind "magic"' in kind
    assert "takes 1,1,3, but gets 12,12,1" in shape
    assert "kernel reaches beyond the numbers" in reach


def test_the_pad_inks_moves_and_centres(tmp_path):
    program = """
    const shape = [12, 12, 1], image = new Float32Array(144);
    explorer.inked(image, shape, [3, 2.5], [3, 9.5], 2);
    const before = [...image];
    explorer.inked(image, shape, [3, 2.5], [3, 2.5], 1); // where there is more ink already
    const off = explorer.offCentre(image, shape);
    write({
      before, image: [...image], off, moved: [...explorer.shifted(image, shape, ...off)],
      lost: [...explorer.shifted(image, shape, -12, 0)],
      empty: explorer.offCentre(new Float32Array(144), shape),
      numbers: [...explorer.numbersFrom(fs.readFileSync("network.f32").toString("base64"))],
      all: [...numbers], exports: Object.keys(explorer), render: typeof explorer.default.render,
    });
    """
    result, _ = in_node(tmp_path, built(SMALL), program)
    image = np.array(result["image"]).reshape(12, 12)
    assert result["before"] == result["image"]
    # Half a pixel from the way of a pen of radius 1.1 · 12/28 pixels, with an edge of one pixel.
    assert np.allclose(image[2:4, 2:10], 2 * 1.1 * 12 / 28)
    assert not image[4:].any() and not image[:2].any()
    assert result["off"] == [3, 0]
    assert np.array_equal(np.reshape(result["moved"], (12, 12)), np.roll(image, 3, axis=0))
    assert not any(result["lost"]) and result["empty"] == [0, 0]
    assert result["numbers"] == result["all"]
    assert {"mount", "load", "numbersFrom", "default"} <= set(result["exports"])
    assert result["render"] == "function"


def test_the_script_can_be_written_into_a_page():
    assert "</script" not in script() and "<!--" not in script()
    assert not any(line.startswith("import") for line in script().splitlines())


def test_models_that_a_browser_cannot_show_are_refused():
    with pytest.raises(TypeError, match="must be a Sequential"):
        describe(None)
    with pytest.raises(ValueError, match="not built"):
        describe(Sequential([layers.Dense(3)]))
    with pytest.raises(ValueError, match="must take images"):
        describe(Sequential([layers.Dense(3, input_shape=(4,))]))
    with pytest.raises(
        ValueError, match=r"gallery must have shape \(n, 12, 12, 1\), got \(2, 5, 5"
    ):
        describe(built(SMALL), np.zeros((2, 5, 5)))
    with pytest.raises(ValueError, match="2 images but 1 labels"):
        describe(built(SMALL), np.zeros((2, 12, 12)), ["a"])


def test_the_explorer_refuses_what_the_pad_cannot_draw():
    with pytest.raises(ValueError, match="1 or 3 channels; the model takes"):
        Explorer(built(VARIED))
    with pytest.raises(TypeError, match="must be a Sequential"):
        Explorer("a model")
    with pytest.raises(ValueError, match="not built"):
        Explorer(Sequential([layers.Dense(3)]))
    with pytest.raises(ValueError, match="gallery must have shape"):
        Explorer(built(SMALL), gallery=np.zeros((3, 28, 28)))


def test_the_explorer_holds_the_network_of_the_moment_it_was_made():
    model = built(SMALL)
    gallery = np.random.default_rng(0).random((2, 12, 12))
    explorer = Explorer(model, gallery, labels=["a", "b"])
    description, numbers = describe(model, gallery, ["a", "b"])
    assert explorer.description == description and explorer.numbers == numbers.tobytes()
    model.set_weights([0 * weight for weight in model.get_weights()])
    assert explorer.numbers == numbers.tobytes()


def test_the_explorer_has_ten_drawn_digits_for_images_of_their_size():
    model = Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
    assert Explorer(model).description["gallery"]["labels"] == [str(i) for i in range(10)]
    assert "gallery" not in Explorer(built(SMALL)).description


@pytest.mark.parametrize("stack", [SMALL, ENDING, FLAT], ids=["small", "ending", "flat"])
def test_the_explorer_has_a_still_picture_and_a_sentence(stack):
    model = built(stack)
    data, metadata = Explorer(model)._repr_mimebundle_()
    assert {WIDGET_VIEW, "image/png", "text/plain"} == set(data)
    assert metadata["image/png"]["alt"] == data["text/plain"] == SENTENCE
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.width > picture.height > 250
    assert data["image/png"] == Explorer(model)._repr_mimebundle_()[0]["image/png"]


def test_the_still_picture_shows_image_maps_and_probabilities():
    image = np.random.default_rng(0).random((12, 12, 1))
    model = built(SMALL)
    parts = still(model, image).subfigs
    assert [len(part.axes) for part in parts] == [1, 15, 1]
    maps = [panel for panel in parts[1].axes if panel.images]
    assert len(maps) == 4 + 4 + 5
    first = model.layer_outputs(image[None].astype(np.float32))[0][0]
    strongest = first[..., first.mean(axis=(0, 1)).argmax()]
    assert np.array_equal(maps[0].images[0].get_array(), strongest)
    assert [len(part.axes) for part in still(built(PLAIN[:3]), np.ones((11, 12, 2))).subfigs][1]
    assert len(still(built(ENDING), np.zeros((9, 12, 3))).subfigs) == 3


def test_show_explorer_prints_its_sentence(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda data, **options: shown.append((data, options)))
    with pytest.raises(ValueError, match="needs a sentence"):
        show_explorer(built(SMALL), "no")
    sentence = "A small network, untrained, and what it makes of an empty pad."
    show_explorer(built(SMALL), sentence)
    (widget, options), (caption, _) = shown
    assert widget["text/plain"] == sentence and WIDGET_VIEW in widget
    assert options["metadata"]["image/png"]["alt"] == sentence
    assert sentence in caption["text/markdown"]
