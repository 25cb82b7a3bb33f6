"""The text of a checkpoint: who, how many, which root.

Source: C2SP tlog-checkpoint; specs/ledger.md, section "Checkpoints".
"""

from __future__ import annotations

from typing import NamedTuple

from crypto.errors import BadEncoding
from crypto.merkle import HASH_BYTES
from crypto.note_format import check_name
from crypto.textforms import decode_base64, decode_decimal


class CheckpointLines(NamedTuple):
    """The values of a checkpoint text.

    Attributes:
        origin: The log's name; 1 to 255 bytes.
        size: Number of entries.
        root: 32 bytes.
        extensions: Further lines, opaque; no log of Concordat has any.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def split_checkpoint(text: bytes) -> CheckpointLines:
    """Read a checkpoint text of any C2SP log; ``BadEncoding`` on anything else."""
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError:
        raise BadEncoding("checkpoint: not UTF-8") from None
    if len(lines) < 4 or lines.pop():
        raise BadEncoding("checkpoint: not three lines")
    if "" in lines:
        raise BadEncoding("checkpoint: an empty line")
    origin, size, root_text, *extensions = lines
    check_name(origin)
    root = decode_base64(root_text, "checkpoint root")
    if len(root) != HASH_BYTES:
        raise BadEncoding(f"checkpoint: a root of {len(root)} bytes")
    return CheckpointLines(origin, decode_decimal(size, "checkpoint size"), root, tuple(extensions))
