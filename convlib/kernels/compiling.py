"""Notice when kernels are being compiled, which takes seconds and happens once on a computer."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MESSAGE = "compiling kernels, which is done once on this computer"
SECONDS_BEFORE_MESSAGE = 1.0  # a single kernel for some rare case is not worth a word


@contextmanager
def notice_compilation(tell: Callable[[str], None]) -> Iterator[None]:
    """Call ``tell`` with a message, once, if what is done inside compiles for long.

    Kernels that come from the cache are not compiled, and nothing is said then.
    """
    # Without Numba, as with the reference backend, there is nothing to compile.
    event = sys.modules.get("numba.core.event")
    if event is None:
        yield
        return

    class Watch(event.Listener):
        depth, begun, seconds, has_told = 0, 0.0, 0.0, False

        def on_start(self, _):
            if self.depth == 0:
                self.begun = time.perf_counter()
            self.depth += 1
            self.tell_if_long()

        def on_end(self, _):
            self.tell_if_long()
            self.depth -= 1
            if self.depth == 0:
                self.seconds += time.perf_counter() - self.begun

        def tell_if_long(self):
            spent = self.seconds + time.perf_counter() - self.begun
            if not self.has_told and spent >= SECONDS_BEFORE_MESSAGE:
                self.has_told = True
                tell(MESSAGE)

    with event.install_listener("numba:compile", Watch()):
        yield
