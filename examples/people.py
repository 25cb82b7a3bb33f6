"""Feature vectors of people who do not exist: a gallery, a probe of somebody in it, a probe of a stranger.

Usage: ``python examples/people.py DIRECTORY SEED COUNT`` writes ``gallery.npz``, ``known.npz`` and
``stranger.npz``, as 128-dimensional vectors for the profile ``embedding-128``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from node.synthetic import GOOD_IMAGES, images, people, write_features


def main(directory: Path, seed: int, count: int) -> None:
    """Write the three files."""
    directory.mkdir(parents=True, exist_ok=True)
    population = people(count + 1, seed)
    shots = images(population, each=2, seed=seed + 1, noise_range=GOOD_IMAGES)
    enrolled, again = shots[:count, 0], shots[:, 1]
    names = [f"record-{number:05d}" for number in range(count)]
    write_features(directory / "gallery.npz", enrolled, names)
    write_features(directory / "known.npz", again[:1])
    write_features(directory / "stranger.npz", again[count:])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
