"""How far a run of batches is: a bar while it runs, where somebody is watching; then one line."""

import sys
import time
from collections.abc import Callable

# A bar in a notebook sends three messages each time it is drawn. Programs that run notebooks may
# read messages only when a cell is done, and lose what comes after the first thousand.
_SECONDS_BETWEEN_UPDATES = 0.5


def describe(logs: dict[str, float]) -> str:
    """Return ``loss: 0.1234 - accuracy: 0.9876``; tiny values are written with an exponent."""
    return " - ".join(
        f"{name}: {value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{name}: {value:.4e}"
        for name, value in logs.items()
    )


def checked_verbosity(verbose) -> int:
    """Return 0, 1 or 2; 'auto' is 1."""
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
    return 1 if verbose == "auto" else int(verbose)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return "IPKernelApp" in getattr(shell, "config", {})


class Progress:
    """Reports on one run of batches.

    Parameters
    ----------
    batches : int
        Batches in the run.
    label : str
        What is running, for instance ``Epoch 1/5``.
    verbose : {0, 1, 2}
        Nothing; a bar while it runs and one line at the end; the line alone. Where there is
        neither terminal nor notebook, 1 is the same as 2.
    """

    def __init__(self, batches: int, label: str, verbose: int):
        self._label, self._verbose = label, verbose
        self._bar, self._next_update, self._begun = None, 0.0, time.perf_counter()
        if verbose == 1 and (_in_notebook() or sys.stdout.isatty()):
            # Imported here because most of its cost is only worth it where a bar is drawn.
            from tqdm.auto import tqdm

            # The bar goes when the run ends: what stays is text, which a saved notebook keeps.
            options = {"unit": "batch", "file": sys.stdout, "leave": False}
            options |= {"mininterval": 0, "miniters": 1}  # drawn at every update, which are few
            self._bar = tqdm(total=batches, desc=label, **options)

    def update(self, batches: int, logs: Callable[[], dict[str, float]]) -> None:
        """Say that so many batches are done; ``logs`` is called only if the bar is redrawn."""
        if self._bar is not None and (now := time.perf_counter()) >= self._next_update:
            self._next_update = now + _SECONDS_BETWEEN_UPDATES
            self._bar.set_postfix_str(describe(logs()), refresh=False)
            self._bar.update(batches - self._bar.n)

    def note(self, text: str) -> None:
        """Say what is going on now: in the bar, else to those who watch a program's messages.

        A notebook without a bar keeps all that is written, so there nothing is said.
        """
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif self._verbose and not _in_notebook():
            print(f"{self._label} - {text}", file=sys.stderr, flush=True)

    def finish(self, logs: dict[str, float]) -> None:
        """Print the line that reports on the whole run."""
        self._close()
        if self._verbose:
            seconds = time.perf_counter() - self._begun
            print(f"{self._label} - {seconds:.1f}s - {describe(logs)}", flush=True)

    def _close(self):
        if self._bar is not None:
            self._bar.close()

    def __enter__(self):
        """Return itself."""
        return self

    def __exit__(self, *exception):
        """Take the bar away, also after an error or an interruption."""
        self._close()
