"""PyTorch as somebody uses it who cares about speed; each job has variants, the best one counts.

Batches are taken from a tensor that is in memory as a whole, by one permutation an epoch, without a
loader; the loss stays a tensor until the epoch ends; the optimizer updates all weights at once.
"""

import platform

import numpy as np
import torch
from torch import nn

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
    return x.contiguous(memory_format=LAYOUTS[layout]), torch.from_numpy(y.astype(np.int64))


def train(path: str, images: int, batch: int, layout: str, compiled: bool):
    """Train for one epoch."""
    x, y = load(path, "train", images, layout)
    model = text_network(layout)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.001, alpha=0.9, eps=1e-7, foreach=True)
    criterion = nn.CrossEntropyLoss()

    def loss_of(x, y):
        return criterion(model(x), y)

    if compiled:
        loss_of = torch.compile(loss_of)

    def work():
        order = torch.randperm(images)
        total = torch.zeros(())
        for start in range(0, images, batch):
            chosen = order[start : start + batch]
            optimizer.zero_grad()
            loss = loss_of(x[chosen], y[chosen])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        total.item()

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


JOBS = {"train": train, "predict": predict}
