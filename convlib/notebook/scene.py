"""A photograph that nobody took: a house, a tree and a fence in the sun, computed ray by ray.

Chapters filter it as one filters a photograph. It has what makes photographs hard: soft shades,
sharp edges in many directions, fine texture, shadows and a little noise. No camera was there, so
no licence goes with it, and it can be made at any size.

Each ray from the eye meets a convex body (the set of points with ``normals @ p <= offsets``), a
sphere, the ground or the sky. What it sees there is the surface's own brightness times the light
that falls on it: sun if nothing stands in its way, and some light from the sky.
"""

from __future__ import annotations

from functools import cache

import numpy as np

_EYE = np.array([0.0, 1.75, -9.5], np.float32)
_FOCAL_LENGTH = 1.42  # in heights of the picture
_HORIZON = 0.41  # where the horizon lies, in heights of the picture from its lower edge
_SUN = np.array([-0.62, 0.62, -0.48], np.float32)
_SUN /= np.linalg.norm(_SUN)
_RAYS_PER_PIXEL = 2  # in each direction
_LEAF = 0.055  # side of the cubes of space that are leaves or empty
_NEAR = 1e-3  # a shadow does not begin on the surface that throws it


def _prism(outline: list, depth: float, angle: float, place: tuple) -> tuple:
    """Return normals, offsets, centre and radius of an upright prism with a convex outline.

    The outline lies in the (x, y) plane, counterclockwise, and is drawn out along z; then the body
    is turned about the vertical axis and moved.
    """
    points = np.array(outline, np.float32)
    along = np.roll(points, -1, axis=0) - points
    sides = np.stack([along[:, 1], -along[:, 0], 0 * along[:, 0]], 1)
    sides /= np.linalg.norm(sides, axis=1, keepdims=True)
    normals = np.concatenate([sides, [[0, 0, 1], [0, 0, -1]]]).astype(np.float32)
    offsets = np.concatenate([(sides[:, :2] * points).sum(1), [depth, 0]])
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], np.float32)
    normals = normals @ turn.T
    offsets = (offsets + normals @ np.array(place)).astype(np.float32)
    middle = np.array([*(points.min(0) + points.max(0)) / 2, depth / 2])
    radius = np.linalg.norm([*np.ptp(points, axis=0) / 2, depth / 2])
    return normals, offsets, (turn @ middle + place).astype(np.float32), np.float32(radius)


def _rectangle(left: float, bottom: float, right: float, top: float) -> list:
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def _near_to(origins: np.ndarray, directions: np.ndarray, centre: np.ndarray, radius: float):
    """Return the numbers of the rays that may meet a ball."""
    to_centre = centre - origins
    along = np.einsum("nk,nk->n", to_centre, directions)
    return np.flatnonzero(np.einsum("nk,nk->n", to_centre, to_centre) - along**2 <= radius**2)


class _Scene:
    """Bodies, balls and textures."""

    def __init__(self, seed: int):
        random = np.random.default_rng(seed)
        self.lattice = random.uniform(size=(64, 64)).astype(np.float32)
        angle, corner = -0.5, (0.55, 0.0, -0.6)
        width, depth, wall, ridge = 3.1, 4.4, 2.0, 3.55
        gable = [(0, 0), (width, 0), (width, wall), (width / 2, ridge), (0, wall)]
        slope = (ridge - wall) / (width / 2)
        eaves, thick = 0.32, 0.16
        left_roof = [
            (-eaves, wall - eaves * slope),
            (width / 2, ridge),
            (width / 2, ridge + thick),
            (-eaves, wall - eaves * slope + thick),
        ]
        right_roof = [(width - x, y) for x, y in reversed(left_roof)]
        self.bodies = [("brick", _prism(gable, depth, angle, corner))]
        forward = np.array([np.sin(angle), 0, np.cos(angle)])
        sideways = np.array([np.cos(angle), 0, -np.sin(angle)])
        self.house = np.array(corner), sideways, forward
        overhang = tuple(corner - 0.3 * forward)
        for outline in (left_roof, right_roof):
            self.bodies.append(("tiles", _prism(outline, depth + 0.6, angle, overhang)))
        chimney = tuple(corner + 0.62 * sideways + 2.6 * forward)
        self.bodies.append(("brick", _prism(_rectangle(0, 2, 0.5, 4.1), 0.5, angle, chimney)))
        for x in np.arange(-6.2, -0.9, 0.34):
            picket = [(0, 0.06), (0.19, 0.06), (0.19, 0.85), (0.095, 1.0), (0, 0.85)]
            self.bodies.append(("paint", _prism(picket, 0.05, 0.0, (x, 0, -3.2))))
        for y in (0.24, 0.62):
            rail = _prism(_rectangle(-6.6, y, -1.0, y + 0.1), 0.06, 0.0, (0, 0, -3.14))
            self.bodies.append(("paint", rail))
        trunk = [(-0.22, 0), (0.22, 0), (0.12, 2.6), (-0.12, 2.6)]
        self.bodies.append(("bark", _prism(trunk, 0.36, 0.6, (-2.3, 0, 0.5))))
        self.balls = self._crown(random, np.array([-2.3, 3.05, 0.6]))

    @staticmethod
    def _crown(random: np.random.Generator, middle: np.ndarray) -> np.ndarray:
        """Return the tufts of leaves as rows of (x, y, z, radius, brightness)."""
        boughs = middle + random.normal(size=(24, 3)) * (0.68, 0.48, 0.6)
        tufts = boughs[random.integers(len(boughs), size=380)]
        out = random.normal(size=tufts.shape)
        tufts = tufts + 0.5 * out / np.linalg.norm(out, axis=1, keepdims=True)
        radius = random.uniform(0.1, 0.24, size=len(tufts))
        brightness = random.uniform(0.16, 0.42, size=len(tufts))
        return np.column_stack([tufts, radius, brightness]).astype(np.float32)

    def noise(self, x: np.ndarray, y: np.ndarray, octaves: int = 4) -> np.ndarray:
        """Return smooth random values between 0 and 1, finer and weaker with every octave."""
        total, weight = 0, 0.5
        for _ in range(octaves):
            i, j = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
            s, t = x - i, y - j
            s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
            corner = [[self.lattice[(i + a) % 64, (j + b) % 64] for b in (0, 1)] for a in (0, 1)]
            upper = corner[0][0] * (1 - t) + corner[0][1] * t
            lower = corner[1][0] * (1 - t) + corner[1][1] * t
            total = total + weight * (upper * (1 - s) + lower * s)
            x, y, weight = 2.03 * x + 17.3, 2.03 * y + 5.1, weight / 2
        return total / (1 - 0.5**octaves)

    def meet(self, origins: np.ndarray, directions: np.ndarray, only_whether: bool = False):
        """Return distance, normal, material and brightness of what each ray meets first."""
        count = len(origins)
        distance = np.full(count, np.inf, np.float32)
        normal = np.zeros((count, 3), np.float32)
        material = np.zeros(count, np.int64)
        brightness = np.zeros(count, np.float32)
        for number, (_, (normals, offsets, centre, radius)) in enumerate(self.bodies, start=2):
            rays = _near_to(origins, directions, centre, radius)
            speed = directions[rays] @ normals.T
            speed[np.abs(speed) < 1e-9] = 1e-9
            crossing = (offsets - origins[rays] @ normals.T) / speed
            entering = np.where(speed < 0, crossing, -np.inf)
            face = entering.argmax(1)
            near = entering.max(1)
            far = np.where(speed > 0, crossing, np.inf).min(1)
            first = (near < far) & (near > _NEAR) & (near < distance[rays])
            hit = rays[first]
            distance[hit], normal[hit] = near[first], normals[face[first]]
            material[hit] = number
        crown = self.balls[:, :3].mean(0)
        reach = (np.linalg.norm(self.balls[:, :3] - crown, axis=1) + self.balls[:, 3]).max()
        candidates = _near_to(origins, directions, crown, reach)
        starts, ways = origins[candidates], directions[candidates]
        for ball in self.balls:
            rays = _near_to(starts, ways, ball[:3], ball[3])
            to_centre = ball[:3] - starts[rays]
            along = np.einsum("nk,nk->n", to_centre, ways[rays])
            missed = np.einsum("nk,nk->n", to_centre, to_centre) - along**2
            near = along - np.sqrt(np.maximum(ball[3] ** 2 - missed, 0))
            hit = candidates[rays]
            first = (near > _NEAR) & (near < distance[hit])
            hit, near = hit[first], near[first]
            point = origins[hit] + near[:, None] * directions[hit]
            # Leaves: little cubes of space, some of them empty.
            leaf = np.floor(point / _LEAF).astype(np.int64) @ (7, 13, 29)
            own = self.lattice[leaf % 64, leaf // 64 % 64]
            grown = own > 0.38
            hit, near, point, own = hit[grown], near[grown], point[grown], own[grown]
            distance[hit], material[hit] = near, 1
            brightness[hit] = ball[4] * (0.4 + own)
            normal[hit] = (point - ball[:3]) / ball[3]
        if only_whether:
            return np.isfinite(distance)
        return distance, normal, material, brightness

    def albedo(self, name: str, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Return the brightness of a material at points of its surface."""
        x, y, z = point.T
        if name == "paint":
            return 0.8 + 0.1 * self.noise(3 * x, 9 * y, 2)
        if name == "bark":
            return 0.1 + 0.2 * self.noise(20 * (x + z), 3 * y, 3)
        corner, sideways, forward = self.house
        across, along = (point - corner) @ sideways, (point - corner) @ forward
        if name == "tiles":
            up = y * 3.6
            shift = 0.5 * (np.floor(up) % 2)
            row, column = np.floor(up), np.floor(along * 3 + shift)
            own = self.lattice[row.astype(np.int64) % 64, column.astype(np.int64) % 64]
            edge = np.where(up - row < 0.22, 0.55, 1) * np.where(
                along * 3 + shift - column < 0.08, 0.7, 1
            )
            return (0.2 + 0.12 * own) * edge
        is_front = np.abs(normal @ forward) > 0.5
        place = np.where(is_front, across, along)
        course = np.floor(y / 0.17)
        shift = 0.5 * (course % 2)
        brick = np.floor(place / 0.42 + shift)
        own = self.lattice[course.astype(np.int64) % 64, brick.astype(np.int64) % 64]
        is_mortar = (y / 0.17 - course < 0.2) | (place / 0.42 + shift - brick < 0.1)
        value = np.where(is_mortar, 0.6, 0.26 + 0.14 * own)
        value = value * (0.85 + 0.3 * self.noise(2 * place, 2 * y, 3))
        # A door and windows: (on the front?, left, right, bottom, top, panes across, panes up).
        for front, left, right, bottom, top, panes_across, panes_up in (
            (True, 1.75, 2.6, 0.0, 1.62, 2, 3),
            (True, 0.45, 1.25, 0.7, 1.6, 2, 2),
            (True, 1.2, 1.9, 2.15, 2.75, 2, 2),
            (False, 0.7, 1.5, 0.7, 1.6, 2, 2),
            (False, 2.7, 3.5, 0.7, 1.6, 2, 2),
        ):
            u = (place - left) / (right - left)
            v = (y - bottom) / (top - bottom)
            near = (is_front == front) & (np.abs(u - 0.5) < 0.58) & (np.abs(v - 0.5) < 0.56)
            value = np.where(near & (y < 3), 0.85, value)
            inside = (is_front == front) & (np.abs(u - 0.5) < 0.5) & (np.abs(v - 0.5) < 0.5)
            frame = (np.abs((u * panes_across) % 1 - 0.5) > 0.42) | (
                np.abs((v * panes_up) % 1 - 0.5) > 0.43
            )
            glass = 0.3 if bottom == 0 else 0.07 + 0.12 * v
            value = np.where(inside, np.where(frame, 0.8 if bottom else 0.18, glass), value)
        return value

    def ground(self, point: np.ndarray) -> np.ndarray:
        """Return the brightness of grass, and of the path to the door."""
        x, z = point[:, 0], point[:, 2]
        blades = self.noise(22 * x, 7 * z, 2)
        grass = 0.17 + 0.16 * self.noise(1.3 * x, 1.3 * z, 3) + 0.2 * (blades - 0.5)
        middle = 0.45 + 0.33 * (z + 9) / 8 + 0.25 * np.sin(0.7 * z)
        edge = np.abs(x - middle - 0.25 * (self.noise(2 * x, 2 * z, 2) - 0.5))
        stones = 0.3 + 0.3 * self.noise(6 * x, 4 * z, 2)
        return np.where((edge < 0.42) & (z < -0.9), stones, grass)

    def sky(self, directions: np.ndarray) -> np.ndarray:
        """Return the brightness of clouds and of distant hills."""
        x, y, z = directions.T
        height = np.maximum(y / z, 0.01)
        clouds = self.noise(0.9 * x / (y + 0.15) + 3, 0.9 * z / (y + 0.15), 5)
        cover = np.clip((clouds - 0.42) * 3.2, 0, 1)
        blue = 0.8 - 0.62 * np.clip(height, 0, 1) ** 0.6
        brightness = blue + (1.05 - blue) * cover
        hills = 0.035 + 0.09 * self.noise(2.2 * x / z + 9, 0 * z, 3)
        woods = 0.42 + 0.1 * self.noise(40 * x / z, 90 * y / z, 2)
        return np.where(y / z < hills, woods, brightness)


def _trace(scene: _Scene, directions: np.ndarray) -> np.ndarray:
    """Return the light that comes from each direction to the eye."""
    origins = np.broadcast_to(_EYE, directions.shape)
    distance, normal, material, brightness = scene.meet(origins, directions)
    to_ground = np.where(directions[:, 1] < 0, -_EYE[1] / directions[:, 1], np.inf)
    on_ground = (to_ground < distance) & (to_ground < 60)
    distance = np.where(on_ground, to_ground, distance)
    normal[on_ground] = 0, 1, 0
    material[on_ground] = 0
    seen = np.isfinite(distance) & (distance < 60)
    light = scene.sky(directions)
    point = origins[seen] + distance[seen, None].astype(np.float32) * directions[seen]
    kind, normal = material[seen], normal[seen]
    colour = brightness[seen].copy()
    below = on_ground[seen]
    colour[below] = scene.ground(point[below])
    for number, (name, _) in enumerate(scene.bodies, start=2):
        here = (kind == number) & ~below
        if here.any():
            colour[here] = scene.albedo(name, point[here], normal[here])
    facing = np.clip(normal @ _SUN, 0, 1)
    lit = facing > 0
    start = point[lit] + 2e-3 * normal[lit]
    facing[lit] *= ~scene.meet(start, np.broadcast_to(_SUN, start.shape), only_whether=True)
    ambient = 0.3 + 0.16 * normal[:, 1]
    haze = np.exp(-distance[seen] / 45)
    light[seen] = haze * colour * (ambient + 1.5 * facing) + (1 - haze) * 0.6
    return light


@cache
def _photograph(height: int, width: int, seed: int) -> np.ndarray:
    scene = _Scene(seed)
    rows, columns = height * _RAYS_PER_PIXEL, width * _RAYS_PER_PIXEL
    up = 1 - (np.arange(rows, dtype=np.float32) + 0.5) / rows - _HORIZON
    right = ((np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5) * (width / height)
    directions = np.empty((rows, columns, 3), np.float32)
    directions[..., 0], directions[..., 1] = right, up[:, None]
    directions[..., 2] = _FOCAL_LENGTH
    directions = directions.reshape(-1, 3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    light = _trace(scene, directions)
    shape = height, _RAYS_PER_PIXEL, width, _RAYS_PER_PIXEL
    light = light.reshape(shape).mean((1, 3))
    image = (np.clip(light, 0, 1.15) ** 0.56 / 1.1 - 0.19) / 0.81
    image += 0.35 * image * (1 - image) * (2 * image - 1)  # a film's curve: more contrast
    noise = np.random.default_rng(seed).normal(scale=0.008, size=image.shape)
    return np.round(255 * np.clip(image + noise, 0, 1)).astype(np.uint8)


def photograph(height: int = 200, width: int = 300, seed: int = 3) -> np.ndarray:
    """Return a grey photograph of a house, a tree and a fence.

    Parameters
    ----------
    height, width : int, default 200 and 300
        Size in pixels.
    seed : int, default 3
        For the leaves, the clouds, the textures and the noise.

    Returns
    -------
    numpy.ndarray of float32, shape (height, width)
        From 0, black, to 1, white, in steps of 1/255, as from a file of eight bits for a pixel.
    """
    return _photograph(height, width, seed).astype(np.float32) / 255
