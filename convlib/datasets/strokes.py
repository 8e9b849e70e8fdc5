"""Digits drawn by a program, as a pen would: any number of them, and nothing to download."""

import math
import operator
from collections.abc import Iterable, Sequence

import numpy as np
from numba import njit, prange

from convlib.datasets._skeletons import SKELETONS
from convlib.kernels._cache import stamped_cache

Arrays = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

SIZE = 28  # pixels in each direction

_CLASSES = len(SKELETONS)
_BOX = 20  # pixels: the ink's larger extent
_CENTRE = 14.5  # pixels from the edge: MNIST centres on the middle of row and column 14
_STEPS = 6  # straight pieces between two points of a skeleton
_CHUNKS = 64  # parts of the work that run in parallel; more than processors, however many
_CORNER, _LIFT = 1, 2


POINT_ERROR = 0.035
STROKE_ERROR = 0.03
ASPECT = -0.2
ASPECT_SPREAD = 0.25
SLANT = 0.18
SLANT_SPREAD = 0.22
TURN_SPREAD = 0.08
WAVE = 0.035
PEN = 1.15
PEN_SPREAD = 0.3
UNEVEN = 0.15
EDGE = 1.2
EDGE_SPREAD = 0.2
SOFT_CORNERS = 0.25


def _pack_skeletons():
    """Return the skeletons as arrays for the kernel.

    ``points`` and ``marks`` (corner, or pen lifted afterwards) of all skeletons one after the
    other; those of skeleton s begin at ``starts[s]``; the skeletons of class c at ``styles[c]``.
    """
    points, marks, starts, styles = [], [], [0], [0]
    for skeletons in SKELETONS:
        for skeleton in skeletons:
            for stroke in skeleton.split("|"):
                for point in stroke.split():
                    points.append([float(number) for number in point.rstrip("!").split(",")])
                    marks.append(_CORNER * point.endswith("!"))
                marks[-1] = _LIFT
            starts.append(len(points))
        styles.append(len(starts) - 1)
    return (
        np.array(points) / 100,
        np.array(marks, np.uint8),
        np.array(starts),
        np.array(styles),
    )


_POINTS, _MARKS, _STARTS, _STYLES = _pack_skeletons()
_MOST_POINTS = int(np.diff(_STARTS).max())
_MOST_VERTICES = _MOST_POINTS * (_STEPS + 1)


def load_data(seed: int = 0, train: int = 60_000, test: int = 10_000) -> Arrays:
    """Draw a training and a test set: ``(x_train, y_train), (x_test, y_test)``.

    The same seed gives the same bytes, for any number of threads, and a shorter set is the
    beginning of a longer one. The test set has its own random numbers. Any ten consecutive labels
    from a multiple of ten on hold every digit once.

    Parameters
    ----------
    seed : int, default 0
        Not negative; another seed, other digits.
    train, test : int, default 60 000 and 10 000
        How many digits to draw.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of uint8 arrays
        Images of shape ``(n, 28, 28)``, 0 for paper and 255 for ink, and labels 0–9 of shape
        ``(n,)``.
    """
    return _draw_part(seed, 0, _count(train, "train")), _draw_part(seed, 1, _count(test, "test"))


def _draw_part(seed: int, part: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    key = _key([seed, part])
    blocks = np.tile(np.arange(_CLASSES, dtype=np.uint8), (-(-count // _CLASSES), 1))
    labels = np.random.default_rng(key).permuted(blocks, axis=1).ravel()[:count]
    return _draw_with(key, labels), labels


def draw(labels: Iterable[int], seed: int = 0) -> np.ndarray:
    """Draw one digit for each label.

    Digit i depends on the seed, on i and on its label, on nothing else.

    Parameters
    ----------
    labels : sequence of int
        Which digits, 0–9.
    seed : int, default 0
        Not negative.

    Returns
    -------
    uint8 array of shape ``(len(labels), 28, 28)``, 0 for paper and 255 for ink.
    """
    return _draw_with(_key([seed]), _checked(labels))


def _draw_with(key: np.uint64, labels: np.ndarray) -> np.ndarray:
    images = np.empty((len(labels), SIZE, SIZE), np.uint8)
    vertices = np.empty((_CHUNKS, _MOST_VERTICES, 4))
    moved = np.empty((_CHUNKS, _MOST_POINTS, 2))
    field = np.empty((_CHUNKS, SIZE, SIZE))
    _draw_kernel(labels, key, _POINTS, _MARKS, _STARTS, _STYLES, moved, vertices, field, images)
    return images


def _key(seed: Sequence[int]) -> np.uint64:
    return np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]


def _count(value: int, name: str) -> int:
    count = operator.index(value)
    if count < 0:
        raise ValueError(f"{name} must be a number of digits, 0 or more, got {value}")
    return count


def _checked(labels) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be a sequence of integers 0–9, got {labels.dtype} of shape {labels.shape}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < _CLASSES:
        raise ValueError(f"labels must lie in 0–9, got {labels.min()} to {labels.max()}")
    return labels.astype(np.uint8)


with stamped_cache():

    @njit(cache=True)
    def _uniform(state):
        """Return the next number of SplitMix64 in [0, 1) (Steele, Lea and Flood, OOPSLA 2014)."""
        state[0] += np.uint64(0x9E3779B97F4A7C15)
        z = state[0]
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        return (z >> np.uint64(11)) * 2.0**-53

    @njit(cache=True)
    def _normal(state):
        """Return a standard normal number (Box and Muller)."""
        radius = math.sqrt(-2 * math.log(1 - _uniform(state)))
        return radius * math.cos(2 * math.pi * _uniform(state))

    @njit(cache=True)
    def _spline(before, here, after, beyond, t):
        """Return the Catmull-Rom curve through ``here`` (t = 0) and ``after`` (t = 1)."""
        return 0.5 * (
            2 * here
            + (after - before) * t
            + (2 * before - 5 * here + 4 * after - beyond) * t**2
            + (3 * here - before - 3 * after + beyond) * t**3
        )

    @njit(cache=True)
    def _move_points(points, marks, first, last, state, moved):
        """Put the points of a skeleton where this sample has them: every one a little off."""
        point_error = POINT_ERROR * math.exp(0.4 * _normal(state))
        shift_x = shift_y = 0.0
        for i in range(first, last):
            moved[i - first, 0] = points[i, 0] + shift_x + point_error * _normal(state)
            moved[i - first, 1] = points[i, 1] + shift_y + point_error * _normal(state)
            if marks[i] == _LIFT:
                shift_x = STROKE_ERROR * _normal(state)
                shift_y = STROKE_ERROR * _normal(state)

    @njit(cache=True)
    def _trace(moved, marks, first, last, corners, vertices):
        """Write the splines through ``moved`` as vertices (x, y, –, pen down); return how many."""
        count = 0
        for i in range(last - first):
            mark = marks[first + i]
            if mark == _LIFT:
                vertices[count, 0], vertices[count, 1] = moved[i, 0], moved[i, 1]
                vertices[count, 3] = 0
                count += 1
                continue
            begins = i == 0 or marks[first + i - 1] == _LIFT or (corners and mark == _CORNER)
            ends = marks[first + i + 1] == _LIFT or (corners and marks[first + i + 1] == _CORNER)
            for step in range(_STEPS):
                for axis in range(2):
                    here, after = moved[i, axis], moved[i + 1, axis]
                    # Beyond an end the curve is continued by mirroring.
                    before = 2 * here - after if begins else moved[i - 1, axis]
                    beyond = 2 * after - here if ends else moved[i + 2, axis]
                    vertices[count, axis] = _spline(before, here, after, beyond, step / _STEPS)
                vertices[count, 3] = 1
                count += 1
        return count

    @njit(cache=True)
    def _deform(vertices, count, state):
        """Bend, stretch, slant and turn the whole digit."""
        aspect = math.exp(ASPECT + ASPECT_SPREAD * _normal(state))
        slant = SLANT + SLANT_SPREAD * _normal(state)
        angle = TURN_SPREAD * _normal(state)
        cosine, sine = math.cos(angle), math.sin(angle)
        for wave in range(4):
            axis = wave % 2
            strength = WAVE * _normal(state)
            direction = 2 * math.pi * _uniform(state)
            frequency = 2 * math.pi * (0.4 + 0.8 * _uniform(state))
            phase = 2 * math.pi * _uniform(state)
            along_x, along_y = frequency * math.cos(direction), frequency * math.sin(direction)
            for v in range(count):
                at = along_x * vertices[v, 0] + along_y * vertices[v, 1] + phase
                vertices[v, axis] += strength * math.sin(at)
        for v in range(count):
            y = vertices[v, 1] - 0.5
            x = aspect * (vertices[v, 0] - 0.5) - slant * y
            vertices[v, 0] = cosine * x - sine * y
            vertices[v, 1] = sine * x + cosine * y

    @njit(cache=True)
    def _fit(vertices, count, state):
        """Scale to the box, put the centre of mass in the middle and give the pen its width."""
        low_x = high_x = vertices[0, 0]
        low_y = high_y = vertices[0, 1]
        for v in range(count):
            low_x, high_x = min(low_x, vertices[v, 0]), max(high_x, vertices[v, 0])
            low_y, high_y = min(low_y, vertices[v, 1]), max(high_y, vertices[v, 1])
        width = PEN * math.exp(PEN_SPREAD * _normal(state))
        scale = (_BOX - 2 * width) / max(high_x - low_x, high_y - low_y)
        unevenness = UNEVEN * _normal(state)
        rhythm = 2 * math.pi * (0.5 + _uniform(state))
        phase = 2 * math.pi * _uniform(state)
        mass = mass_x = mass_y = 0.0
        for v in range(count):
            vertices[v, 0] *= scale
            vertices[v, 1] *= scale
            vertices[v, 2] = width * (1 + unevenness * math.sin(rhythm * v / _STEPS / 3 + phase))
            if v > 0 and vertices[v - 1, 3] == 1:
                piece = math.hypot(
                    vertices[v, 0] - vertices[v - 1, 0], vertices[v, 1] - vertices[v - 1, 1]
                )
                mass += piece
                mass_x += piece * (vertices[v, 0] + vertices[v - 1, 0]) / 2
                mass_y += piece * (vertices[v, 1] + vertices[v - 1, 1]) / 2
        # MNIST's digits were moved by whole pixels, so theirs is off by up to half a pixel.
        shift_x = _CENTRE + _uniform(state) - 0.5 - mass_x / mass
        shift_y = _CENTRE + _uniform(state) - 0.5 - mass_y / mass
        for v in range(count):
            vertices[v, 0] += shift_x
            vertices[v, 1] += shift_y

    @njit(cache=True)
    def _ink(vertices, count, edge, field, image):
        """Render: full ink inside the pen's way, a ramp of ``edge`` pixels at its border.

        ``field`` is how deep inside the nearest stroke a pixel's centre lies, in pixels.
        """
        field[:] = -SIZE
        for v in range(count - 1):
            if vertices[v, 3] == 0:
                continue
            x, y, width = vertices[v, 0], vertices[v, 1], vertices[v, 2]
            step_x, step_y = vertices[v + 1, 0] - x, vertices[v + 1, 1] - y
            step_width = vertices[v + 1, 2] - width
            squared = step_x * step_x + step_y * step_y + 1e-12
            reach = max(width, width + step_width) + edge
            top = max(0, math.floor(min(y, y + step_y) - reach))
            bottom = min(SIZE, math.ceil(max(y, y + step_y) + reach))
            left = max(0, math.floor(min(x, x + step_x) - reach))
            right = min(SIZE, math.ceil(max(x, x + step_x) + reach))
            for row in range(top, bottom):
                from_y = row + 0.5 - y
                for column in range(left, right):
                    from_x = column + 0.5 - x
                    t = min(1.0, max(0.0, (from_x * step_x + from_y * step_y) / squared))
                    off_x, off_y = from_x - t * step_x, from_y - t * step_y
                    depth = width + t * step_width - math.sqrt(off_x * off_x + off_y * off_y)
                    field[row, column] = max(field[row, column], depth)
        for row in range(SIZE):
            for column in range(SIZE):
                level = min(1.0, max(0.0, 0.5 + field[row, column] / edge))
                image[row, column] = np.uint8(255 * level + 0.5)

    @njit(cache=True, parallel=True)
    def _draw_kernel(labels, key, points, marks, starts, styles, moved, vertices, field, images):
        """Draw sample i for every label; the chunks only decide who works on which."""
        for chunk in prange(_CHUNKS):
            state = np.zeros(1, np.uint64)
            for i in range(chunk * len(labels) // _CHUNKS, (chunk + 1) * len(labels) // _CHUNKS):
                state[0] = key + np.uint64(i)
                state[0] = np.uint64(2**63 * _uniform(state)) ^ key
                label = labels[i]
                number = styles[label + 1] - styles[label]
                style = styles[label] + int(number * _uniform(state))
                first, last = starts[style], starts[style + 1]
                _move_points(points, marks, first, last, state, moved[chunk])
                corners = _uniform(state) > SOFT_CORNERS
                count = _trace(moved[chunk], marks, first, last, corners, vertices[chunk])
                _deform(vertices[chunk], count, state)
                _fit(vertices[chunk], count, state)
                edge = EDGE * math.exp(EDGE_SPREAD * _normal(state))
                edge = min(edge, 1.6 * vertices[chunk, 0, 2])
                _ink(vertices[chunk], count, edge, field[chunk], images[i])
