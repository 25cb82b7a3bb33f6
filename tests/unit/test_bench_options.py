"""What ``concordat bench search`` takes for the two sizes of a slope."""

from __future__ import annotations

import pytest

from node.cli.bench import _two_sizes
from node.errors import BadConfig


def test_a_slope_has_two_sizes() -> None:
    assert _two_sizes("65536:262144") == (65536, 262144)


@pytest.mark.parametrize(
    "text", ["", "1", "a:b", "65536:65536", "65536:65000", "0:16384", "1:9999999", "-1:3"]
)
def test_no_other_slope_is_taken(text: str) -> None:
    with pytest.raises(BadConfig):
        _two_sizes(text)
