"""PyTorch as somebody uses it who cares about speed; each job has variants, the best one counts.

Batches are taken from a tensor that is in memory as a whole, by one permutation an epoch, without a
loader; the loss stays a tensor until the epoch ends; the optimizer updates all weights at once.
"""

import platform

import numpy as np
import torch
from torch import nn

from benchmarks.contestants import resident_megabytes
from benchmarks.workload import Convolution

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


def introduce() -> dict:
    """Return the versions of what computes."""
    return {
        "name": "PyTorch",
        "versions": {"PyTorch": torch.__version__, "Python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }


def text_network(layout: str) -> nn.Module:
    """Return the network of the text, without the softmax at its end."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(576, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    return model.to(memory_format=LAYOUTS[layout])


def load(path: str, part: str, images: int, layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images from 0 to 1 and labels."""
    with np.load(path) as arrays:
        x, y = arrays[f"x_{part}"][:images], arrays[f"y_{part}"][:images]
    x = torch.from_numpy(x[:, np.newaxis].astype(np.float32) / 255)
    x, y = (array.to(torch.get_default_device()) for array in (x, torch.from_numpy(y).long()))
    return x.contiguous(memory_format=LAYOUTS[layout]), y


def train(path: str, images: int, batch: int, layout: str, compiled: bool = False, captured=None):
    """Train for one epoch; ``captured`` makes of the step for whole batches a faster one."""
    x, y = load(path, "train", images, layout)
    model = text_network(layout)
    optimizer = torch.optim.RMSprop(
        model.parameters(),
        lr=0.001,
        alpha=0.9,
        eps=1e-7,
        foreach=True,
        capturable=captured is not None,
    )
    criterion, total = nn.CrossEntropyLoss(), torch.zeros(())

    def loss_of(x, y):
        return criterion(model(x), y)

    if compiled:
        loss_of = torch.compile(loss_of)

    def step(chosen):
        optimizer.zero_grad()
        loss = loss_of(x[chosen], y[chosen])
        loss.backward()
        optimizer.step()
        total.add_(loss.detach())

    whole = captured(step, torch.arange(batch)) if captured and batch <= images else step

    def work():
        total.zero_()
        for chosen in torch.randperm(images, device=x.device).split(batch):
            (whole if len(chosen) == batch else step)(chosen)
        return total.item()

    return work


def memory(path: str, images: int, batch: int):
    """Train for two more epochs; return the megabytes that were resident after each so far."""
    epoch = train(path, images, batch, "channels-last", compiled=False)

    megabytes = []

    def work():
        for _ in range(2):
            epoch()
            megabytes.append(resident_megabytes())
        return megabytes

    return work


def predict(path: str, images: int, batch: int, layout: str, compiled: bool):
    """Predict the class probabilities of test images."""
    x, _ = load(path, "test", images, layout)
    model = text_network(layout).eval()
    if compiled:
        model = torch.compile(model)

    def work():
        with torch.inference_mode():
            torch.cat([model(part).softmax(1) for part in x.split(batch)]).numpy()

    return work


def convolution(direction: str, layout: str, **layer):
    """Run one pass of a `Convolution` in oneDNN."""
    layer, aten, form = Convolution(**layer), torch.ops.aten, LAYOUTS[layout]
    w_shape = (layer.filters, layer.channels // layer.groups, layer.kernel, layer.kernel)
    x = random((layer.batch, layer.channels, layer.size, layer.size), form)
    dy = random((layer.batch, layer.filters, layer.output_size, layer.output_size), form)
    w, b = random(w_shape, form), torch.randn(layer.filters)
    geometry = ([layer.strides] * 2, [layer.margin] * 2, [layer.dilation] * 2)
    rest = (*geometry, False, [0, 0], layer.groups)
    if direction == "forward":
        return lambda: aten.convolution(x, w, b, *rest)
    is_wanted = [direction == "backward_input"] + 2 * [direction == "backward_params"]
    return lambda: aten.convolution_backward(dy, x, w, [layer.filters], *rest, is_wanted)


def random(shape, form: torch.memory_format) -> torch.Tensor:
    """Return a tensor of random numbers in a memory format."""
    return torch.randn(shape).contiguous(memory_format=form)


def operation(kind: str, direction: str, shape: list[int], layout: str):
    """Run one pass of an operation that is all memory, on images given by their NHWC shape."""
    aten, form = torch.ops.aten, LAYOUTS[layout]
    samples, height, width, channels = shape
    x = random((samples, channels, height, width), form)
    rows = torch.randn(samples * height * width, channels)

    def max_pool(size, strides):
        window = [size] * 2, [strides] * 2, [0, 0], [1, 1], False
        y, winners = aten.max_pool2d_with_indices(x, *window)
        dy = torch.randn_like(y)
        return {
            "forward": lambda: aten.max_pool2d_with_indices(x, *window),
            "backward": lambda: aten.max_pool2d_with_indices_backward(dy, x, *window, winners),
        }

    def average_pool(size, strides):
        window = [size] * 2, [strides] * 2, [0, 0], False, False, None
        dy = torch.randn_like(aten.avg_pool2d(x, *window))
        return {
            "forward": lambda: aten.avg_pool2d(x, *window),
            "backward": lambda: aten.avg_pool2d_backward(dy, x, *window),
        }

    def relu():
        dy = torch.randn_like(x)
        return {
            "forward": lambda: torch.relu(x),
            "backward": lambda: aten.threshold_backward(dy, x, 0),
        }

    def softmax():
        y, dy = rows.softmax(1), torch.randn_like(rows)
        return {
            "forward": lambda: rows.softmax(1),
            "backward": lambda: aten._softmax_backward_data(dy, y, 1, torch.float32),
        }

    def batch_norm():
        w, b, mean, variance = (torch.rand(channels) for _ in range(4))
        _, *saved = aten.native_batch_norm(x, w, b, mean, variance, True, 0.1, 1e-3)
        dy, wanted = torch.randn_like(x), [True] * 3
        running = mean, variance
        return {
            "forward": lambda: aten.native_batch_norm(x, w, b, *running, True, 0.1, 1e-3),
            "backward": lambda: aten.native_batch_norm_backward(
                dy, x, w, *running, *saved, True, 1e-3, wanted
            ),
        }

    operations = {
        "max-pool 2×2/2": lambda: max_pool(2, 2),
        "max-pool 3×3/2": lambda: max_pool(3, 2),
        "average-pool 2×2/2": lambda: average_pool(2, 2),
        "average-pool 3×3/2": lambda: average_pool(3, 2),
        "ReLU": relu,
        "softmax": softmax,
        "batch normalisation": batch_norm,
    }
    return operations[kind]()[direction]


JOBS = {
    "train": train,
    "memory": memory,
    "predict": predict,
    "convolution": convolution,
    "operation": operation,
}
