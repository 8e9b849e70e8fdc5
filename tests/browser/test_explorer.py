"""The explorer in a page that is opened from the disk, as readers use it."""

import base64
import json

import numpy as np
import pytest

from convlib import layers, utils
from convlib.datasets import strokes
from convlib.models import Sequential
from convlib.notebook import Explorer
from convlib.notebook.explorer import script

RULES = {"preload": False, "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Explorer</title>
<meta name="viewport" content="width=device-width"></head>
<body data-theme="{theme}"><main><h1>Explorer</h1><h2>A network</h2><div id="here"></div></main>
<script type="module">
{script}
const network = {description}, numbers = numbersFrom("{numbers}");
window.show = (change = (some) => some) => {{
  window.takeDown = mount(document.getElementById("here"), network, change(numbers));
}};
show();
</script></body></html>
"""
DIGITS = strokes.draw(range(10), seed=1).astype(np.float32)[..., None] / 255


@pytest.fixture(scope="module")
def model():
    """A network with a layer of each kind that is explained in its own way."""
    utils.set_random_seed(1)
    result = Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(4, 3, strides=2, activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    result.compile(optimizer="adam", loss="categorical_crossentropy")
    images, labels = strokes.load_data(train=1000, test=0)[0]
    images = images[..., None].astype(np.float32) / 255
    result.fit(images, utils.to_categorical(labels, 10), epochs=2, verbose=0)
    return result


@pytest.fixture(scope="module", params=[(390, "light"), (800, "dark"), (1400, "dark")])
def tab(request, browser, model, tmp_path_factory):
    """A page of the browser with the explorer, and what it complained about."""
    width, theme = request.param
    explorer = Explorer(model)
    page_file = tmp_path_factory.mktemp("page") / "explorer.html"
    page_file.write_text(
        PAGE.format(
            theme=theme,
            script=script(),
            numbers=base64.b64encode(explorer.numbers).decode(),
            description=json.dumps(explorer.description),
        ),
        encoding="utf-8",
    )
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page = context.new_page()
    page.troubles = []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("console", lambda said: said.type == "error" and page.troubles.append(said.text))
    page.address = page_file.as_uri()
    yield page
    context.close()


@pytest.fixture
def page(tab):
    """The explorer as it is at the start."""
    tab.troubles.clear()
    tab.mouse.move(0, 0)
    tab.goto(tab.address)
    tab.wait_for_selector(".convlib-explorer .responses figure")
    yield tab
    assert tab.troubles == []


def percentages(page):
    """Return the probabilities that are written beside the bars, in percent."""
    texts = page.locator(".probabilities .value").all_text_contents()
    return np.array([float(text.removesuffix(" %")) for text in texts])


def frame(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def test_it_reads_what_the_library_reads(page, model):
    expected = 100 * model.predict(DIGITS, verbose=0)
    for digit in (0, 3, 7):
        page.get_by_role("button", name=f"Put example {digit} on the pad").click()
        frame(page)
        assert np.abs(percentages(page) - expected[digit]).max() <= 0.051
        best = page.locator(".answer").get_attribute("data-class")
        assert int(best) == expected[digit].argmax()


def test_a_stroke_changes_the_answer_and_is_announced(page, model):
    page.get_by_role("button", name="Clear").click()
    frame(page)
    empty = 100 * model.predict(np.zeros_like(DIGITS[:1]), verbose=0)[0]
    assert np.abs(percentages(page) - empty).max() <= 0.051
    pad = page.get_by_role("application", name="Pad, 28 by 28 pixels")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    points = [(0.5, 0.2), (0.5, 0.5), (0.5, 0.8)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    frame(page)
    assert np.abs(percentages(page) - empty).max() > 1
    best = page.locator(".answer").get_attribute("data-class")
    assert percentages(page)[int(best)] == percentages(page).max()
    page.wait_for_function(
        "best => document.querySelector('[role=status]').textContent.includes(`: ${best} (`)",
        arg=best,
    )
    times = page.locator(".convlib-explorer").evaluate("root => ({ ...root.dataset })")
    assert {"computeMs", "drawMs"} <= set(times)


def test_keys_move_and_clear_the_drawing(page, model):
    pad = page.get_by_role("application", name="Pad, 28 by 28 pixels")
    pad.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    frame(page)
    moved = np.zeros_like(DIGITS[:1])
    moved[:, 1:, 1:] = DIGITS[:1, :-1, :-1]
    assert np.abs(percentages(page) - 100 * model.predict(moved, verbose=0)[0]).max() <= 0.051
    page.keyboard.press("Delete")
    frame(page)
    assert page.locator(".answer").text_content() == "Draw a digit"


def test_keys_do_not_reach_the_notebook_around_it_but_shortcuts_do(page):
    page.evaluate("() => { heard = []; document.onkeydown = ({ key }) => heard.push(key); }")
    page.get_by_role("application", name="Pad, 28 by 28 pixels").focus()
    for key in ("a", "ArrowDown", "Control+z"):
        page.keyboard.press(key)
    assert page.evaluate("heard") == ["Control", "z"]


def test_pointing_at_a_value_shows_how_it_comes_about_down_to_the_image(page, model):
    outputs = model.layer_outputs(DIGITS[:1])
    layer = page.locator("section[data-layer=depthwiseconv2d_1]")
    place = layer.locator("[data-map='2']")
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    page.mouse.move(box["x"] + 6.5 / 13 * box["width"], box["y"] + 4.5 / 13 * box["height"])
    frame(page)
    detail = page.locator(".detail")
    found = {key: detail.get_attribute(f"data-{key}") for key in ("layer", "map", "row", "column")}
    assert found == {"layer": "depthwiseconv2d_1", "map": "2", "row": "4", "column": "6"}
    texts = page.locator(".products td").all_text_contents()
    products = [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]
    value = outputs[2][0, 4, 6, 2] - model.layers[2].bias[2]
    assert len(products) == 9 and abs(sum(products) - value) <= 9 * 0.0051
    # One map of the layer before, and seven pixels of the image: 3 + 2 · 2.
    assert page.locator("[data-layer=batchnormalization_1] [data-rests]").count() == 1
    shares = [page.locator(".pad .box").evaluate(
        "(box, name) => Number(box.style.getPropertyValue(name))", name
    ) for name in ("--top", "--left", "--height", "--width")]  # fmt: skip
    assert np.allclose(shares, np.array([6, 10, 7, 7]) / 28)
    assert "7×7 pixels" in detail.text_content()


def test_a_click_shows_filter_and_gallery_and_keys_go_on_from_there(page, model):
    place = page.locator("section[data-layer=conv2d_1] [data-map='1']")
    place.click()
    frame(page)
    assert place.get_attribute("aria-pressed") == "true"
    page.wait_for_selector(".of-map h3:has-text('conv2d_1, map 1')")
    page.wait_for_selector(".responses figure[data-example='9']")
    largest = model.layer_outputs(DIGITS)[0][..., 1].max(axis=(1, 2))
    for example, text in enumerate(page.locator(".responses figcaption").all_text_contents()):
        label, value = text.split(": ")
        assert int(label) == example and abs(float(value) - largest[example]) <= 0.00051
    page.keyboard.press("ArrowRight")
    frame(page)
    assert page.evaluate("document.activeElement.dataset.map") == "2"
    page.keyboard.press("Enter")
    before = int(page.locator(".detail").get_attribute("data-column"))
    page.keyboard.press("ArrowLeft" if before else "ArrowRight")
    frame(page)
    after = int(page.locator(".detail").get_attribute("data-column"))
    assert abs(after - before) == 1
    heading = page.locator(".detail h3").first.text_content()
    page.wait_for_function(
        "said => document.querySelector('[role=status]').textContent === said", arg=heading
    )


def test_maps_are_painted_where_their_buttons_are(page, model):
    outputs = model.layer_outputs(DIGITS[:1])[0][0]
    brightness = """layer => {
      const sheet = layer.querySelector(".maps canvas"), context = sheet.getContext("2d");
      const zoom = sheet.width / sheet.getBoundingClientRect().width;
      return [...layer.querySelectorAll(".map")].map((button) => {
        const place = ["offsetLeft", "offsetTop", "offsetWidth", "offsetHeight"];
        const { data } = context.getImageData(...place.map((name) =>
          Math.round(button[name] * zoom)));
        return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i] + data[4 * i + 1]);
      });
    }"""
    painted = page.locator(".layer[data-layer=conv2d_1]").evaluate(brightness)
    assert len(painted) == outputs.shape[-1]
    for map_number, found in enumerate(painted):
        # The larger a value, the brighter, but for one of the 255 steps where two hardly differ.
        order = np.argsort(outputs[..., map_number].ravel(), kind="stable")
        assert np.all(np.diff(np.array(found)[order]) >= -4) and max(found) > min(found) + 20


def test_a_value_of_a_vector_is_chosen_by_keys(page):
    sheet = page.get_by_role("application", name="dense_1, 10 values")
    sheet.focus()
    page.keyboard.press("ArrowDown")
    frame(page)
    best = page.locator(".answer").get_attribute("data-class")
    assert page.locator(".detail").get_attribute("data-map") == best
    step = -1 if best == "9" else 1
    page.keyboard.press("ArrowLeft" if step < 0 else "ArrowRight")
    frame(page)
    assert page.locator(".detail").get_attribute("data-map") == str(int(best) + step)
    assert page.locator(".inputs button").count() == 4  # the maps before flattening
    assert "softmax over 10 values" in page.locator(".sum").text_content()


def test_a_network_that_has_lost_its_numbers_is_shown_as_it_is(page):
    page.evaluate("takeDown()")
    page.evaluate("show((numbers) => numbers.fill(NaN))")
    assert page.locator(".answer").text_content() == "The values are not numbers"
    assert "NaN" in page.locator(".sum").text_content()


def test_it_fits_the_window_and_is_accessible(page):
    from axe_playwright_python.sync_playwright import Axe

    width, there = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= there
    violations = Axe().run(page, options=RULES).response["violations"]
    assert not [(rule["id"], rule["nodes"][0]["html"]) for rule in violations]


def test_it_can_be_taken_down(page):
    page.get_by_role("button", name="Clear").click()  # something is still to be drawn
    page.evaluate("takeDown()")
    frame(page)
    assert page.locator("#here").inner_html() == ""
