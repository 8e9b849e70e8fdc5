"""PyTorch on a GPU: the jobs of `pytorch`, with all tensors there, timed by the GPU.

cuDNN chooses its algorithms by trying them, and multiplies in float32, as convlib does, not in
TF32. A step that is captured in a CUDA graph is replayed as a whole, after the numbers of its
samples have been copied to where it reads them.
"""

import torch

from benchmarks.contestants import pytorch

if not torch.cuda.is_available():
    raise ImportError("this PyTorch finds no GPU; it may have been built without CUDA")

torch.backends.cudnn.benchmark = True
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

WARM_UP = 3  # steps before one is captured: algorithms are chosen, memory is taken


def introduce() -> dict:
    """Return the versions of what computes."""
    own = pytorch.introduce()
    cudnn = str(torch.backends.cudnn.version())
    return own | {"versions": own["versions"] | {"cuDNN": cudnn}}


class Clock:
    """Takes the time between two events in the GPU's own queue."""

    def start(self) -> None:
        """Begin when everything so far is done."""
        self._start = torch.cuda.Event(enable_timing=True)
        self._start.record()

    def stop(self) -> float:
        """Wait for what has been asked for since, and return its seconds."""
        end = torch.cuda.Event(enable_timing=True)
        end.record()
        end.synchronize()
        return self._start.elapsed_time(end) / 1e3


def captured(step, chosen: torch.Tensor):
    """Return a function that does a step by replaying it; ``chosen`` are the numbers of a batch."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            step(chosen)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(chosen)

    def replay(indices):
        chosen.copy_(indices)
        graph.replay()

    return replay


def train(path: str, images: int, batch: int, layout: str, graphs: bool):
    """Train for one epoch."""
    return pytorch.train(path, images, batch, layout, captured=captured if graphs else None)


def on_gpu(job):
    """Return a job whose tensors are made on the GPU."""

    def prepared(**options):
        # Not while it runs, which would slow every call of PyTorch down.
        with torch.device("cuda"):
            return job(**options)

    return prepared


JOBS = {
    "train": on_gpu(train),
    "convolution": on_gpu(pytorch.convolution),
    "operation": on_gpu(pytorch.operation),
}
