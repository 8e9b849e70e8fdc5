"""A pad to draw a digit on, read by a network at every stroke."""

from __future__ import annotations

from collections.abc import Callable

import anywidget
import numpy as np
import traitlets
from PIL import Image

from convlib.notebook.display import png_bytes, require_sentence, show_png
from convlib.notebook.figures import reading
from convlib.notebook.widgets import widget_view

_SCRIPT = """
function render({ model, el }) {
  const side = 252, cells = 28;
  el.innerHTML = `<div style="display:flex;gap:16px;align-items:flex-start;flex-wrap:wrap">
    <div><canvas width="${side}" height="${side}" role="img" tabindex="0"
      aria-label="Draw a digit here with the mouse, a pen or a finger"
      style="border:1px solid #555;background:#000;touch-action:none;cursor:crosshair"></canvas>
      <br><button>clear</button>
      <label><input type="checkbox" checked> centre it</label></div>
    <div class="bars" style="font:13px sans-serif;min-width:240px" aria-live="polite"></div></div>`;
  const canvas = el.querySelector("canvas"), pen = canvas.getContext("2d");
  const small = document.createElement("canvas");
  small.width = small.height = cells;
  const reduced = small.getContext("2d", { willReadFrequently: true });

  function send() {
    // Reduce to 28x28 by averaging, as MNIST's makers did.
    reduced.imageSmoothingEnabled = true;
    reduced.imageSmoothingQuality = "high";
    reduced.drawImage(canvas, 0, 0, cells, cells);
    const rgba = reduced.getImageData(0, 0, cells, cells).data;
    model.set("pixels", Array.from({ length: cells * cells }, (_, i) => rgba[4 * i]));
    model.save_changes();
  }
  function clear() {
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, side, side);
    send();
  }
  function bars() {
    const p = model.get("probabilities");
    el.querySelector(".bars").innerHTML = p.map((value, digit) =>
      `<div style="display:flex;align-items:center;gap:6px"><b>${digit}</b>
       <span style="display:inline-block;height:14px;width:${(180 * value).toFixed(0)}px;
       background:${value === Math.max(...p) ? "#0072B2" : "#8A8A8A"}"></span>
       ${(100 * value).toFixed(1)} %</div>`).join("");
  }
  function position(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * side / box.width,
            (event.clientY - box.top) * side / box.height];
  }
  let drawing = false;
  canvas.addEventListener("pointerdown", (event) => {
    drawing = true;
    canvas.setPointerCapture(event.pointerId);
    pen.strokeStyle = "#fff";
    pen.lineWidth = 2.2 * side / cells;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...position(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    pen.lineTo(...position(event));
    pen.stroke();
  });
  canvas.addEventListener("pointerup", () => { drawing = false; send(); });
  el.querySelector("button").addEventListener("click", clear);
  el.querySelector("input").addEventListener("change", (event) => {
    model.set("centred", event.target.checked);
    model.save_changes();
  });
  model.on("change:probabilities", bars);
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, side, side);
  bars();
}
export default { render };
"""


class DigitPad(anywidget.AnyWidget):
    """A canvas of 28x28 cells and a bar for the probability of each digit.

    Parameters
    ----------
    read : callable
        Given an image of shape (28, 28), float32 in 0..1, returns ten probabilities.
    """

    _esm = _SCRIPT
    centred = traitlets.Bool(True).tag(sync=True)
    pixels = traitlets.List(traitlets.Int(), default_value=[0] * 784).tag(sync=True)
    probabilities = traitlets.List(traitlets.Float(), default_value=[0.0] * 10).tag(sync=True)

    def __init__(self, read: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self._read = read
        self.observe(self._on_change, names=["pixels", "centred"])

    def _on_change(self, _change: dict) -> None:
        image = np.asarray(self.pixels, dtype=np.float32).reshape(28, 28) / 255
        if not image.any():
            self.probabilities = [0.0] * 10
            return
        self.probabilities = [float(p) for p in self._read(as_mnist(image, self.centred))]


def as_mnist(image: np.ndarray, centred: bool = True) -> np.ndarray:
    """Bring a drawing to the form of MNIST's digits: 20 pixels large, centre of mass in the middle.

    Parameters
    ----------
    image : numpy.ndarray, shape (28, 28)
        Ink from 0 to 1, not all zero.
    centred : bool, default True
        If false, the drawing is returned as it is.
    """
    if not centred:
        return image
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = 20 / max(cut.shape)
    size = tuple(max(1, round(side * scale)) for side in reversed(cut.shape))
    digit = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BILINEAR))
    corner = []
    for axis in (0, 1):
        profile = digit.sum(axis=1 - axis)
        centre = (profile * np.arange(len(profile))).sum() / profile.sum()
        corner.append(int(np.clip(round(14 - centre), 0, 28 - len(profile))))
    result = np.zeros((28, 28), dtype=np.float32)
    row, column = corner
    result[row : row + digit.shape[0], column : column + digit.shape[1]] = digit
    return result


def show_digit_pad(
    read: Callable[[np.ndarray], np.ndarray], example: np.ndarray, sentence: str
) -> None:
    """Show the pad; without a running kernel, a picture of an example that was read.

    See chapter 14, "Touch it: draw your own".

    Parameters
    ----------
    read : callable
        Given an image of shape (28, 28), float32 in 0..1, returns ten probabilities.
    example : numpy.ndarray, shape (28, 28)
        Such an image, for the still picture.
    sentence : str
        What to see in the still picture.

    Raises
    ------
    ValueError
        If the sentence has less than 20 characters or no full stop at its end.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.datasets import strokes
    >>> from convlib.notebook import show_digit_pad
    >>> def guess(image):
    ...     return np.full(10, 0.1)
    >>> seven = strokes.draw([7])[0] / 255
    >>> show_digit_pad(guess, seven, "A seven, and a guess that knows nothing.")
    """
    require_sentence(sentence)
    still = png_bytes(reading(example, read(example)))
    show_png(still, sentence, extra=widget_view(DigitPad(read)))
