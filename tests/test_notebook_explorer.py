"""A network's description and numbers, and what JavaScript computes from them."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from convlib import layers, utils
from convlib.models import Sequential
from convlib.notebook.explorer import describe, export

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
RUN = """
import fs from "node:fs";
import { checked, explain, layerForward, makeEngine } from "./forward.js";
const network = JSON.parse(fs.readFileSync("network.json"));
const floats = (name) => new Float32Array(new Uint8Array(fs.readFileSync(name)).buffer);
const numbers = floats("network.f32"), x = floats("image.f32"), made = floats("outputs.f32");
checked(network, numbers);
let input = x, start = 0, worst = 0;
const single = [];
network.layers.forEach((layer) => {
  const y = layerForward(layer, numbers, input), [, width, channels] = layer.output_shape;
  single.push(...y);
  const isPlain = layer.activation === null;
  for (let i = 0; i < y.length && isPlain; i++) {
    const pixel = Math.floor(i / channels);
    const at = [Math.floor(pixel / width), pixel % width, i % channels];
    if (layer.kind === "identity" && layer.input_shape[2] !== channels) at.splice(0, 3, 0, 0, i);
    worst = Math.max(worst, Math.abs(explain(layer, numbers, input, ...at).sum - y[i]));
  }
  input = made.subarray(start, start + y.length);
  start += y.length;
});
const engine = makeEngine(network, numbers);
let refused = null;
try { await engine.compute(x.subarray(1)); } catch (error) { refused = error.message; }
let missing = null;
try { checked(network, numbers.subarray(1)); } catch (error) { missing = error.message; }
const chained = (await engine.compute(x)).flatMap((part) => [...part]);
console.log(JSON.stringify({ single, chained, worst, refused, missing }));
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


@pytest.mark.parametrize("stack", [SMALL, VARIED], ids=["small", "varied"])
def test_javascript_computes_what_every_layer_makes(stack, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node, which is not on this computer")
    model = built(stack)
    shape = model.input_shape[1:]
    image = np.random.default_rng(1).random((1, *shape), dtype=np.float32)
    outputs = [output[0] for output in model.layer_outputs(image)]
    export(model, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(RUN)
    (tmp_path / "image.f32").write_bytes(image.tobytes())
    (tmp_path / "outputs.f32").write_bytes(b"".join(output.tobytes() for output in outputs))
    done = subprocess.run([node, "run.js"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    start, x = 0, image[0]
    for layer, output in zip(model.layers, outputs, strict=True):
        theirs = np.array(result["single"][start : start + output.size]).reshape(output.shape)
        start += output.size
        # A sum of n terms errs by at most n roundings of the sum of their sizes.
        terms = x.size + 8
        size = max([1.0, *(float(np.abs(weight).max()) for weight in layer.weights)])
        bound = terms * np.finfo(np.float32).eps * size * max(1.0, float(np.abs(x).max()))
        assert np.abs(theirs - output).max() <= bound, layer.name
        x = output
    assert start == len(result["chained"])
    assert np.allclose(result["chained"][-output.size :], output, atol=1e-4)
    assert result["worst"] < 1e-4
    assert "numbers of float32, got" in result["refused"]
    assert "wants" in result["missing"]


def test_models_that_a_browser_cannot_show_are_refused():
    with pytest.raises(TypeError, match="must be a Sequential"):
        describe(None)
    with pytest.raises(ValueError, match="not built"):
        describe(Sequential([layers.Dense(3)]))
    with pytest.raises(ValueError, match="must take images"):
        describe(Sequential([layers.Dense(3, input_shape=(4,))]))
    with pytest.raises(ValueError, match="images must have shape"):
        describe(built(SMALL), np.zeros((2, 5, 5)))
    with pytest.raises(ValueError, match="2 examples but 1 labels"):
        describe(built(SMALL), np.zeros((2, 12, 12)), ["a"])
