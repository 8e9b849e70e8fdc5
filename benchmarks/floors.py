"""The committed limits, and which of them a measurement breaks."""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from benchmarks.settings import PEERS

FLOORS = Path(__file__).resolve().parent / "floors.toml"


def load(path: Path = FLOORS) -> dict[str, dict[str, float]]:
    """Return the limits: figures that must be ``at_least`` and ``at_most`` so large."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def verdicts(
    floors: Mapping[str, Mapping[str, float]],
    figures: Mapping[str, float],
    wanted: Mapping[str, str | None],
    peers: Collection[str],
) -> list[tuple[str, str]]:
    """Compare figures with limits.

    Parameters
    ----------
    floors : dict of dicts
        As `load` returns them.
    figures : dict
        What was measured.
    wanted : dict
        The figures that this run was to measure, each with the peer that it needs or None. Floors
        of other figures are left out.
    peers : collection of str
        The peers that took part.

    Returns
    -------
    list of (str, str)
        'holds', 'BROKEN' or 'skipped', and a sentence.
    """
    result = []
    for side, limits in floors.items():
        for name, limit in limits.items():
            if name not in wanted:
                continue
            if name in figures:
                value = figures[name]
                is_broken = value < limit if side == "at_least" else value > limit
                sentence = f"{name} is {value:.3f}; {side.replace('_', ' ')} {limit:g}"
                result.append(("BROKEN" if is_broken else "holds", sentence))
            else:
                peer = wanted[name]
                is_absent = peer is not None and peer not in peers
                why = f"{PEERS[peer]} is not installed" if is_absent else "not measured here"
                result.append(("skipped", f"{name}: {why}"))
    return result
