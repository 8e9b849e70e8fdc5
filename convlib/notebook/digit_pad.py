"""A pad to draw a digit on, read by a network at every stroke."""

from __future__ import annotations

from collections.abc import Callable

import anywidget
import numpy as np
import traitlets

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
      <br><button>clear</button></div>
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
    pixels = traitlets.List(traitlets.Int(), default_value=[0] * 784).tag(sync=True)
    probabilities = traitlets.List(traitlets.Float(), default_value=[0.0] * 10).tag(sync=True)

    def __init__(self, read: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self._read = read
        self.observe(self._on_pixels, names="pixels")

    def _on_pixels(self, change: dict) -> None:
        image = np.asarray(change["new"], dtype=np.float32).reshape(28, 28) / 255
        if image.any():
            self.probabilities = [float(p) for p in self._read(image)]
        else:
            self.probabilities = [0.0] * 10


def show_digit_pad(
    read: Callable[[np.ndarray], np.ndarray], example: np.ndarray, sentence: str
) -> None:
    """Show the pad; without a running kernel, a picture of an example that was read.

    Parameters
    ----------
    read : callable
        Given an image of shape (28, 28), float32 in 0..1, returns ten probabilities.
    example : numpy.ndarray
        Such an image, for the still picture.
    sentence : str
        What to see in the still picture.
    """
    require_sentence(sentence)
    still = png_bytes(reading(example, read(example)))
    show_png(still, sentence, extra=widget_view(DigitPad(read)))
