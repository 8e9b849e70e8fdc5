"""The table that `Sequential.summary` prints."""

from collections.abc import Iterator, Sequence

from convlib.base import Layer


def lines(layers: Sequence[Layer], line_length: int | None = None) -> Iterator[str]:
    """Yield the lines: names, output shapes, numbers of weights, and the totals."""
    rows = [("Layer (type)", "Output Shape", "Param #")]
    rows += [
        (f"{layer.name} ({type(layer).__name__})", f"{layer.output_shape}", layer.count_params())
        for layer in layers
    ]
    first, second = (max(len(row[column]) for row in rows) + 2 for column in (0, 1))
    width = line_length or max(65, first + second + 10)
    first, second = max(first, width * 45 // 100), max(second, width * 40 // 100)
    yield "_" * width
    for number, (name, shape, count) in enumerate(rows):
        yield f"{name:{first}}{shape:{second}}{count}"
        yield ("_" if 0 < number < len(layers) else "=") * width
    total = sum(layer.count_params() for layer in layers)
    trainable = sum(getattr(layer, name).size for layer in layers for name in layer.trainable_names)
    yield f"Total params: {total:,}"
    yield f"Trainable params: {trainable:,}"
    yield f"Non-trainable params: {total - trainable:,}"
