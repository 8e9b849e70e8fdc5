"""What people do with the explorer and what they see then, on the site and in notebooks."""

import re
from base64 import b64decode
from io import BytesIO

import numpy as np
from PIL import Image

SEVEN = [[(0.25, 0.25), (0.7, 0.25), (0.42, 0.8)]]  # strokes, across and down, of 1

# After the second one, what the first was to draw has been drawn.
TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def draw(explorer, strokes):
    """Clear the pad, and draw on it with the mouse."""
    explorer.get_by_role("button", name="Clear").click()
    pad = explorer.locator(".pad canvas")
    pad.scroll_into_view_if_needed()
    box, mouse = pad.bounding_box(), pad.page.mouse
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        mouse.move(*points[0])
        mouse.down()
        for point in points[1:]:
            mouse.move(*point)
        mouse.up()


def answer(explorer):
    """Return which digit is the most probable, once what was done has been drawn."""
    explorer.page.evaluate(TWO_FRAMES)
    return int(explorer.locator(".answer").get_attribute("data-class"))


def image_on_pad(explorer):
    """Return what the pad shows, 0 for paper and 1 for ink, as the network takes it."""
    shown = explorer.locator(".pad canvas").evaluate("canvas => canvas.toDataURL()")
    picture = Image.open(BytesIO(b64decode(shown.partition(",")[2])))
    red = np.asarray(picture.getchannel("R"), np.float32)
    assert red.shape == (28, 28)
    return 1 - red.reshape(1, 28, 28, 1) / 255


def probabilities(explorer):
    """Return the percentages beside the bars."""
    values = explorer.locator(".probabilities .value").all_text_contents()
    return np.array([float(value.removesuffix("%")) for value in values])


def number(text):
    return float(text.replace("−", "-").replace("·10", "e"))


def table(explorer, name):
    """Return the numbers of one of the tables in the detail."""
    cells = explorer.locator(f".detail .{name} td").all_text_contents()
    return np.array([number(cell) for cell in cells])


def sum_and_bias(explorer):
    """Return the sum of the products, the bias, what both come to, and what is made of that."""
    words = explorer.locator(".detail .sum").text_content()
    found = re.search(r"(\S+) \(sum of .*\) ([+−]) (\S+) \(bias\) = (\S+) .* (\S+)$", words)
    assert found, words
    bias = number(found[3]) if found[2] == "+" else -number(found[3])
    return number(found[1]), bias, number(found[4]), number(found[5])


def check_pointing(explorer, network, layer):
    """Point into the middle of a bright map; what is then said of the value has to be true."""
    explorer.locator("[data-example='2']").first.click()
    answer(explorer)
    values = network.layer_outputs(image_on_pad(explorer))[layer][0]
    brightest = values[len(values) // 2, len(values) // 2].argmax()
    name = network.layers[layer].name
    explorer.locator(f"[data-layer='{name}'] [data-map='{brightest}']").hover()
    answer(explorer)
    place = explorer.locator(".detail").evaluate("detail => ({ ...detail.dataset })")
    row, column, channel = (int(place[axis]) for axis in ("row", "column", "map"))
    assert channel == brightest
    assert abs(row - len(values) // 2) <= 1 and abs(column - len(values) // 2) <= 1
    patch, kernel, products = (table(explorer, n) for n in ("patch", "kernel", "products"))
    assert len(patch) == len(kernel) == len(products) == 9
    assert np.abs(patch * kernel - products).max() < 0.02, "they have two decimals"
    total, bias, before, after = sum_and_bias(explorer)
    if layer == 0:  # later ones add up more maps than are written out
        assert abs(products.sum() - total) < 9 * 0.005 + 0.0005
    assert abs(total + bias - before) < 0.002
    assert abs(after - max(before, 0)) < 0.001
    assert abs(after - values[row, column, channel]) < 0.001
