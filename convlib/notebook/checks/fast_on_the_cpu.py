"""Checks of chapter 12: sums without a race, tiles that load less, Winograd's sixteen products."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from convlib.notebook.exercises import Hint, array_of_shape, call, check


class Memory:
    """A matrix that counts how many of its numbers are loaded.

    Parameters
    ----------
    values : numpy.ndarray, shape (rows, columns)
        The numbers.

    Attributes
    ----------
    loads : int
        How many numbers have been read so far; reading one twice counts twice.
    """

    def __init__(self, values: np.ndarray):
        self._values = np.asarray(values)
        self.shape = self._values.shape
        self.loads = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._values)

    def __getitem__(self, place: tuple) -> np.ndarray:
        """Load one number, or the numbers of a slice."""
        if not isinstance(place, tuple) or len(place) != 2:
            raise TypeError("say both where to read: x[p, k], or x[p : p + 4, k]")
        found = self._values[place]
        self.loads += found.size
        return found.copy()


# A tile ------------------------------------------------------------------------------------------

_SIDE = 4


def _tiles(shape: tuple[int, int], by_columns: bool = False) -> Iterator[tuple[slice, slice]]:
    downs, acrosses = (range(0, size, _SIDE) for size in shape)
    pairs = [(i, j) for i in downs for j in acrosses]
    for i, j in sorted(pairs, key=lambda pair: pair[::-1]) if by_columns else pairs:
        yield slice(i, i + _SIDE), slice(j, j + _SIDE)


def _never_reset(right: np.ndarray, by_columns: bool) -> np.ndarray:
    """Return what sums give that begin with those of the tile before."""
    wrong, total = np.empty_like(right), np.zeros((_SIDE, _SIDE))
    for tile in _tiles(right.shape, by_columns):
        total += right[tile]
        wrong[tile] = total
    return wrong


@check
def check_tiled(tiled: Callable) -> str:
    """Check a matrix product by tiles of four by four: its values, and how much it loads."""
    random = np.random.default_rng(12)
    for pixels, terms, filters in ((8, 5, 8), (12, 7, 8), (4, 3, 12)):
        # Whole numbers, so that the order of a sum does not matter.
        x = random.integers(1, 9, size=(pixels, terms)).astype(float)
        w = random.integers(1, 9, size=(terms, filters)).astype(float)
        right, x_memory, w_memory = x @ w, Memory(x), Memory(w)
        case = f"For x of {pixels}×{terms} and w of {terms}×{filters}: "
        got = np.asarray(call(tiled, x_memory, w_memory))
        got = array_of_shape(got, right.shape, f"{case}y")
        if not np.array_equal(got, right):
            _explain_values(got, right, x, w, case)
        _explain_loads(x_memory.loads + w_memory.loads, pixels * terms * filters, case)
    return "Half a load for each multiply-add, where one output at a time needs two."


def _explain_values(got, right, x, w, case):
    if np.array_equal(got, np.outer(x[:, -1], w[-1])):
        raise Hint(
            f"{case}only the last term is left. Sixteen sums begin at zero once for a tile, "
            "before the loop over k."
        )
    if any(np.array_equal(got, _never_reset(right, order)) for order in (False, True)):
        raise Hint(f"{case}a tile's sums go on from those of the tile before. Begin at zero.")
    if np.array_equal(got, x[:, :-1] @ w[:-1]):
        raise Hint(f"{case}the last term of each sum is missing: a range ends too early.")
    good = [np.array_equal(got[tile], right[tile]) for tile in _tiles(right.shape)]
    if any(good):
        rows, columns = list(_tiles(right.shape))[good.index(False)]
        raise Hint(
            f"{case}some tiles are right, but not the one at rows {rows.start} to {rows.stop - 1} "
            f"and columns {columns.start} to {columns.stop - 1}. Is it ever computed and stored?"
        )
    place = tuple(int(k) for k in np.argwhere(got != right)[0])
    raise Hint(f"{case}y{list(place)} should be {right[place]:g}, yours is {got[place]:g}.")


def _explain_loads(loads, products, case):
    each = loads / products
    counted = f"{case}y is right, with {each:.2f} loads for each multiply-add. "
    if each >= 2:
        raise Hint(
            f"{counted}Both factors are loaded for every product. Load four of x and four of w for "
            "each k, and use them for sixteen products."
        )
    if each > 1:
        raise Hint(
            f"{counted}One of the two factors is still loaded for every product. Is the tile four "
            "in one direction only, or a load inside the innermost loop?"
        )
    if each > 0.5:
        raise Hint(f"{counted}The tile is too small: four by four needs 0.50.")
    if each < 0.35:
        raise Hint(
            f"{counted}So few are possible only if whole rows or arrays are kept, and they do not "
            "fit into 32 registers. Keep sixteen sums, four of x and four of w."
        )


# A sum without a race ----------------------------------------------------------------------------


class _Run:
    """Runs tasks one by one, in an order and on threads that the check decides."""

    def __init__(self, threads: int, order: Callable = range, thread_of: Callable | None = None):
        self.threads, self.counts = threads, []
        self._order, self._thread_of = order, thread_of or (lambda i, count, threads: i % threads)

    def __call__(self, task: Callable, count: int) -> None:
        self.counts.append(count)
        for index in self._order(count):
            task(int(index), self._thread_of(int(index), count, self.threads))


def _blocks(index: int, count: int, threads: int) -> int:
    return index * threads // count


def _shuffled(seed: int) -> Callable:
    return lambda count: np.random.default_rng(seed).permutation(count)


_WINDOWS = 1009  # a prime number: no number of chunks divides it


@check
def check_kernel_gradient(kernel_gradient: Callable) -> str:
    """Check a sum over windows that tasks share: its value, and that its bits never change."""
    random = np.random.default_rng(12)
    x = random.normal(size=(_WINDOWS, 9)).astype(np.float32)
    dy = random.normal(size=(_WINDOWS, 4)).astype(np.float32)

    def bits(run):
        return np.asarray(call(kernel_gradient, x, dy, run, run.threads))

    first = _Run(threads=2)
    got = bits(first)
    if got.shape == (4, 9):
        raise Hint("Rows of dw belong to elements of the kernel, columns to filters: x.T @ dy.")
    _explain_sum(array_of_shape(got, (9, 4), "dw"), x, dy)
    if not first.counts:
        raise Hint("The sum is right, but run was never called: one thread does everything.")
    if max(first.counts) < 4:
        raise Hint(
            f"The sum is right, but the most tasks you start at once is {max(first.counts)}. Four "
            "threads would find nothing to do. Cut the windows into eight chunks or more."
        )
    if any(
        not np.array_equal(got, bits(_Run(2, thread_of=thread_of)))
        for thread_of in (
            _blocks,
            lambda i, count, threads: 0,
            lambda i, count, threads: i // 3 % 2,
        )
    ):
        raise Hint(
            "The same tasks in the same order, shared out to threads in another way, give other "
            "bits: there is a sum for each thread. Give each chunk a sum of its own."
        )
    if any(not np.array_equal(got, bits(_Run(threads))) for threads in (1, 3, 4, 7)):
        raise Hint(
            "With another number of threads the bits change: the number of chunks depends on it. "
            "Let it depend on nothing but the shapes."
        )
    orders = [lambda count: range(count - 1, -1, -1), *map(_shuffled, range(4))]
    if any(not np.array_equal(got, bits(_Run(2, order))) for order in orders):
        raise Hint(
            "The bits change with the order in which tasks happen to end. Either tasks add to the "
            "same sum, which is a race as well: one may read it before another has written. Or the "
            "chunks' sums are added as they arrive. Give each task a row of its own, and add the "
            "rows in order when run has returned."
        )
    return "The same bits in every order, on any thread, with any number of threads."


def _explain_sum(got, x, dy):
    right = x.astype(np.float64).T @ dy
    close = {"rtol": 1e-4, "atol": 2e-3}
    if np.allclose(got, right, **close):
        return
    if not got.any():
        raise Hint("dw is all zeros: was run called, and are the chunks' sums added?")
    if np.allclose(got, right / len(x), **close):
        raise Hint("A gradient is a sum over the windows, not their mean.")
    for chunks in range(2, 257):
        size = len(x) // chunks
        last = size * chunks
        if last < len(x) and np.allclose(got, x[:last].T @ dy[:last], **close):
            raise Hint(
                f"The last {len(x) - last} of {len(x)} windows are lost: {len(x)} is not divisible "
                f"by {chunks}. Let chunk i end at (i + 1) * len(x) // chunks."
            )
        bounds = [i * len(x) // chunks for i in range(chunks + 1)]
        for a, b in ((bounds[0], bounds[1]), (bounds[-2], bounds[-1]), (last - size, last)):
            if np.allclose(got, x[a:b].T @ dy[a:b], **close):
                raise Hint("Only one chunk is left: the others are overwritten or never added.")
    raise Hint(
        f"dw[0, 0] should be about {right[0, 0]:.3f}, yours is {got[0, 0]:.3f}. Does every window "
        "belong to exactly one chunk?"
    )


# Winograd ----------------------------------------------------------------------------------------

_INPUT = np.array([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_KERNEL = np.array([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_OUTPUT = np.array([[1.0, 1, 1, 0], [0, 1, -1, -1]])


def _tile(d, g, data=_INPUT, kernel=_KERNEL, output=_OUTPUT):
    return output @ ((kernel @ g @ kernel.T) * (data @ d @ data.T)) @ output.T


class _Count:
    """How many products have been formed."""

    def __init__(self):
        self.products = 0


class _Counted:
    """A number that counts when it is multiplied with another of its kind."""

    def __init__(self, value: float, count: _Count):
        self.value, self.count = value, count

    def __add__(self, other):
        return _Counted(self.value + getattr(other, "value", other), self.count)

    def __sub__(self, other):
        return _Counted(self.value - getattr(other, "value", other), self.count)

    def __rsub__(self, other):
        return _Counted(other - self.value, self.count)

    def __neg__(self):
        return _Counted(-self.value, self.count)

    def __mul__(self, other):
        # A product with a constant, as 1/2, is not counted: it could be an addition or a shift.
        self.count.products += isinstance(other, _Counted)
        return _Counted(self.value * getattr(other, "value", other), self.count)

    def __truediv__(self, other):
        return _Counted(self.value / other, self.count)

    def __float__(self):
        raise TypeError(
            "the check counts products with numbers of its own; do not convert d or g, and make "
            "room for what comes of them with np.empty((4, 4), d.dtype)"
        )

    __radd__, __rmul__ = __add__, __mul__


def _counting(values: np.ndarray, count: _Count) -> np.ndarray:
    counted = np.empty(values.shape, object)
    for place, value in np.ndenumerate(values):
        counted[place] = _Counted(float(value), count)
    return counted


@check
def check_winograd_tile(winograd_tile: Callable) -> str:
    """Check four outputs of a 3×3 convolution, and that sixteen products were enough."""
    random = np.random.default_rng(12)
    for _ in range(3):
        d, g = random.normal(size=(4, 4)), random.normal(size=(3, 3))
        right = np.array([[(d[i : i + 3, j : j + 3] * g).sum() for j in (0, 1)] for i in (0, 1)])
        got = array_of_shape(call(winograd_tile, d, g), (2, 2), "The outputs")
        if not np.allclose(got, right):
            _explain_tile(got, right, d, g)
    count = _Count()
    call(winograd_tile, _counting(d, count), _counting(g, count))
    reasons = {
        36: "That is the direct sum. Transform d and g first, and multiply then.",
        24: "The short way is taken in one direction only; take it in both.",
    }
    if count.products > 16:
        reason = reasons.get(count.products, "Sixteen are enough.")
        raise Hint(f"The outputs are right, with {count.products} products. {reason}")
    if count.products < 16:
        raise Hint(f"Only {count.products} products could be counted; use d and g as they come.")
    return "Sixteen products of data and weights, where the direct sum has 36."


def _explain_tile(got, right, d, g):
    mistakes = {
        "The outputs come out transposed.": right.T,
        "The kernel was turned by 180 degrees. Layers correlate.": _tile(d, g[::-1, ::-1]),
        "Rows and columns of the kernel are exchanged.": _tile(d, g.T),
        "Rows and columns of the patch are exchanged.": _tile(d.T, g),
        "The halves of G are forgotten.": _tile(d, g, kernel=np.sign(_KERNEL)),
        "G's two middle rows are divided by four: a half in each direction is enough.": _tile(
            d, g, kernel=np.where(abs(_KERNEL) < 1, _KERNEL / 2, _KERNEL)
        ),
        "d is transformed with the transposed matrix: B instead of Bᵀ. The rows of the table in "
        "the chapter are the rows of Bᵀ.": _tile(d, g, data=_INPUT.T),
    }
    u, v = _KERNEL @ g @ _KERNEL.T, _INPUT @ d @ _INPUT.T
    for name, product in {
        "V and U are multiplied as matrices; the product is element by element.": u @ v,
        "V and U are multiplied as matrices. Take them element by element, in any order.": v @ u,
        "d is transformed from the left only.": u * (_INPUT @ d),
        "d is transformed from the right only.": u * (d @ _INPUT.T),
        "d is not transformed.": u * d,
        "The matrix on the right of d is Bᵀ; there it should be transposed, B.": u
        * (_INPUT @ d @ _INPUT),
    }.items():
        mistakes[name] = _OUTPUT @ product @ _OUTPUT.T
    for hint, wrong in mistakes.items():
        if np.allclose(got, wrong):
            raise Hint(hint)
    # Several wrong signs can give the same outputs; then each of them is named.
    suspects = []
    for name, keyword, matrix in (
        ("Bᵀ", "data", _INPUT),
        ("G", "kernel", _KERNEL),
        ("Aᵀ", "output", _OUTPUT),
    ):
        single = [(row, column) for row, column in np.argwhere(matrix)]
        for place in [*single, *range(len(matrix))]:
            turned = matrix.copy()
            turned[place] *= -1
            if np.allclose(got, _tile(d, g, **{keyword: turned})):
                is_row = isinstance(place, int)
                where = f"row {place}" if is_row else f"row {place[0]}, column {place[1]}"
                suspects.append(f"{where} of {name}")
    if suspects:
        raise Hint(f"A sign is wrong: look at {' or '.join(suspects)}.")
    raise Hint(
        f"The first output should be {right[0, 0]:.3f}, yours is {got[0, 0]:.3f}. Check V, U and "
        "their product against the chapter's picture, one after the other."
    )
