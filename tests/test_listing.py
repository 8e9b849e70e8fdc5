"""The program in the README, which is the text's own, on drawn digits.

It is taken out of the README and run as it stands, from a seed, but for the name of the data set.
Chapter 14 runs it on MNIST, where MNIST is at hand.
"""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

from convlib.datasets import digits, mnist
from convlib.utils import set_random_seed

README = Path(__file__).parent.parent / "README.md"

# Both tables as the text prints them, in rows of words.
CONVOLUTIONS = """
Layer (type) Output Shape Param #
conv2d_1 (Conv2D) (None, 26, 26, 32) 320
maxpooling2d_1 (MaxPooling2D) (None, 13, 13, 32) 0
conv2d_2 (Conv2D) (None, 11, 11, 64) 18496
maxpooling2d_2 (MaxPooling2D) (None, 5, 5, 64) 0
conv2d_3 (Conv2D) (None, 3, 3, 64) 36928
"""
CLASSIFIER = """
flatten_1 (Flatten) (None, 576) 0
dense_1 (Dense) (None, 64) 36928
dense_2 (Dense) (None, 10) 650
"""
TOTALS = """
Total params: {total}
Trainable params: {total}
Non-trainable params: 0
"""


def listing() -> str:
    """Return the first program in the README."""
    return re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]


def run(dataset: str) -> tuple[dict, str]:
    """Run the listing on a data set; return its variables and what it printed."""
    set_random_seed(0)
    program = re.sub(r"\bmnist\b", dataset, listing())
    variables, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), variables)
    return variables, printed.getvalue()


def rows(text: str) -> list[str]:
    """Return the lines that are not rulers, with single spaces."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line.strip("_=")]


def accuracy(model, dataset) -> float:
    """Return the model's accuracy on the test images of a data set."""
    _, (images, labels) = dataset.load_data()
    probabilities = model.predict(images[..., None].astype("float32") / 255, verbose=0)
    return np.mean(probabilities.argmax(1) == labels)


@pytest.fixture(scope="module")
def on_strokes():
    """Run the listing on 60 000 drawn digits, once for all tests."""
    return run("strokes")


def test_both_summaries_are_the_texts(on_strokes):
    _, printed = on_strokes
    expected = (
        CONVOLUTIONS
        + TOTALS.format(total="55,744")
        + CONVOLUTIONS
        + CLASSIFIER
        + TOTALS.format(total="93,322")
    )
    assert rows(printed)[: len(rows(expected))] == rows(expected)


def test_it_learns_drawn_digits(on_strokes):
    variables, printed = on_strokes
    assert variables["test_acc"] > 0.96
    assert rows(printed)[-1] == str(variables["test_acc"])
    history = variables["model"].history.history
    assert len(history["accuracy"]) == len(history["loss"]) == 5
    assert history["loss"][-1] < history["loss"][0]


def test_trained_on_drawings_it_reads_real_handwriting(on_strokes):
    variables, _ = on_strokes
    assert accuracy(variables["model"], digits) >= 0.80


@pytest.mark.usefixtures("mnist_data")
def test_trained_on_drawings_it_reads_mnist(on_strokes):
    variables, _ = on_strokes
    assert accuracy(variables["model"], mnist) >= 0.92
