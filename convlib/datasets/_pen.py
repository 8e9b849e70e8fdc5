"""The pen: kernels that turn a skeleton into the strokes of one sample, and these into ink.

A sample takes its random numbers from a generator of its own, whose state starts from the seed
and the sample's number, so it is the same whoever draws it, and whatever is drawn beside it.
"""

import math

import numpy as np
from numba import njit, prange

from convlib.datasets._skeletons import CORNER, LIFT, pack
from convlib.kernels._cache import stamped_cache
from convlib.kernels._threads import load_tbb

load_tbb()

SIZE = 28  # pixels in each direction
CHUNKS = 64  # parts of the work that may run in parallel

_BOX = 20  # pixels: the larger extent of the ink, to the middle of its edges
_CENTRE = 14.5  # pixels from the edge: MNIST centres on the middle of row and column 14
_STEPS = 6  # straight pieces between two points of a skeleton

# How much hands differ. Lengths are fractions of the digit's box unless pixels are named, and
# spreads standard deviations; of logarithms where a quantity can only be positive.
_POINT_ERROR, _POINT_ERROR_SPREAD = 0.036, 0.4  # a point of the skeleton is off by this much
_STROKE_ERROR = 0.03  # and a stroke after the first is set down off by this much
_SOFT_CORNERS = 0.25  # share of samples whose corners are rounded
_WAVES = 4  # bends of the whole digit, horizontal and vertical in turn
_WAVE_STRENGTH = 0.04
_ASPECT, _ASPECT_SPREAD = 0.82, 0.25  # width over height of the box
_SLANT, _SLANT_SPREAD = 0.18, 0.22  # shift to the right over height; people lean to the right
_TURN_SPREAD = 0.08  # radians
_PEN, _PEN_SPREAD = 1.15, 0.34  # half the line's width, pixels
_THINNEST_PEN, _WIDEST_PEN = 0.6, 2.3
_PRESSURE_SPREAD = 0.2  # how much the width changes along the line
_EDGE, _EDGE_SPREAD = 1.2, 0.2  # pixels from paper to full ink across the line's border

_POINTS, _MARKS, _STARTS, _STYLES = pack()
MOST_POINTS = int(np.diff(_STARTS).max())
MOST_VERTICES = MOST_POINTS * _STEPS

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
    def _move_points(first, last, state, points):
        """Put the points of a skeleton where this sample has them: each one a little off."""
        error = _POINT_ERROR * math.exp(_POINT_ERROR_SPREAD * _normal(state))
        shift_x = shift_y = 0.0
        for i in range(first, last):
            points[i - first, 0] = _POINTS[i, 0] + shift_x + error * _normal(state)
            points[i - first, 1] = _POINTS[i, 1] + shift_y + error * _normal(state)
            if _MARKS[i] == LIFT:
                shift_x = _STROKE_ERROR * _normal(state)
                shift_y = _STROKE_ERROR * _normal(state)

    @njit(cache=True)
    def _join(points, marks, sharp, vertices):
        """Write splines through the points as vertices (x, y, –, pen down); return how many."""
        count = 0
        for i in range(len(marks)):
            if marks[i] == LIFT:
                vertices[count, 0], vertices[count, 1] = points[i, 0], points[i, 1]
                vertices[count, 3] = 0
                count += 1
                continue
            begins = i == 0 or marks[i - 1] == LIFT or (sharp and marks[i] == CORNER)
            ends = marks[i + 1] == LIFT or (sharp and marks[i + 1] == CORNER)
            for step in range(_STEPS):
                for axis in range(2):
                    here, after = points[i, axis], points[i + 1, axis]
                    # Where a curve begins or ends it is continued by mirroring.
                    before = 2 * here - after if begins else points[i - 1, axis]
                    beyond = 2 * after - here if ends else points[i + 2, axis]
                    vertices[count, axis] = _spline(before, here, after, beyond, step / _STEPS)
                vertices[count, 3] = 1
                count += 1
        return count

    @njit(cache=True)
    def _deform(vertices, count, state):
        """Bend, stretch, slant and turn the whole digit."""
        aspect = _ASPECT * math.exp(_ASPECT_SPREAD * _normal(state))
        slant = _SLANT + _SLANT_SPREAD * _normal(state)
        angle = _TURN_SPREAD * _normal(state)
        cosine, sine = math.cos(angle), math.sin(angle)
        for wave in range(_WAVES):
            axis = wave % 2
            strength = _WAVE_STRENGTH * _normal(state)
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
        """Give the line its width and scale the digit to the box."""
        low_x = high_x = vertices[0, 0]
        low_y = high_y = vertices[0, 1]
        for v in range(count):
            low_x, high_x = min(low_x, vertices[v, 0]), max(high_x, vertices[v, 0])
            low_y, high_y = min(low_y, vertices[v, 1]), max(high_y, vertices[v, 1])
        width = _PEN * math.exp(_PEN_SPREAD * _normal(state))
        width = min(_WIDEST_PEN, max(_THINNEST_PEN, width))
        scale = (_BOX - 2 * width) / max(high_x - low_x, high_y - low_y)
        pressure = _PRESSURE_SPREAD * _normal(state)
        rhythm = 2 * math.pi * (0.5 + _uniform(state)) / (3 * _STEPS)  # radians for a vertex
        phase = 2 * math.pi * _uniform(state)
        for v in range(count):
            vertices[v, 0] = _CENTRE + scale * (vertices[v, 0] - (low_x + high_x) / 2)
            vertices[v, 1] = _CENTRE + scale * (vertices[v, 1] - (low_y + high_y) / 2)
            vertices[v, 2] = width * (1 + pressure * math.sin(rhythm * v + phase))

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

    @njit(cache=True)
    def _centre(vertices, count, state, image):
        """Move the strokes so that their ink, as in ``image``, has its centre in the middle."""
        mass = mass_x = mass_y = 0.0
        for row in range(SIZE):
            for column in range(SIZE):
                mass += image[row, column]
                mass_x += image[row, column] * (column + 0.5)
                mass_y += image[row, column] * (row + 0.5)
        # MNIST's digits were moved by whole pixels, which leaves up to half a pixel.
        shift_x = _CENTRE + _uniform(state) - 0.5 - mass_x / mass
        shift_y = _CENTRE + _uniform(state) - 0.5 - mass_y / mass
        for v in range(count):
            vertices[v, 0] += shift_x
            vertices[v, 1] += shift_y

    @njit(cache=True)
    def _sample(label, state, points, vertices, field, image):
        """Draw one sample: its image, and its strokes as vertices of x, y, half width, pen down.

        Returns how many vertices there are. ``points`` and ``field`` are work memory.
        """
        styles = _STYLES[label + 1] - _STYLES[label]
        style = _STYLES[label] + int(styles * _uniform(state))
        first, last = _STARTS[style], _STARTS[style + 1]
        _move_points(first, last, state, points)
        sharp = _uniform(state) > _SOFT_CORNERS
        count = _join(points, _MARKS[first:last], sharp, vertices)
        _deform(vertices, count, state)
        _fit(vertices, count, state)
        # Thin lines are black in the middle, too.
        edge = min(_EDGE * math.exp(_EDGE_SPREAD * _normal(state)), 1.6 * vertices[0, 2])
        _ink(vertices, count, edge, field, image)
        _centre(vertices, count, state, image)
        _ink(vertices, count, edge, field, image)
        return count

    @njit(cache=True, parallel=True)
    def draw(labels, key, states, points, vertices, field, images):
        """Draw sample i for every ``labels[i]``; the work memory has a part for each chunk."""
        for chunk in prange(CHUNKS):
            state = states[chunk]
            begin = chunk * len(labels) // CHUNKS
            end = (chunk + 1) * len(labels) // CHUNKS
            for i in range(begin, end):
                state[0] = key + np.uint64(i)
                _sample(labels[i], state, points[chunk], vertices[chunk], field[chunk], images[i])

    @njit(cache=True)
    def trace(labels, key, points, vertices, field, image, counts):
        """Write the strokes that `draw` renders: ``counts[i]`` vertices for sample i."""
        state = np.empty(1, np.uint64)
        for i in range(len(labels)):
            state[0] = key + np.uint64(i)
            counts[i] = _sample(labels[i], state, points, vertices[i], field, image)
