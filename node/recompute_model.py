"""What a recomputation starts from, and what it says.

Source: specs/ledger.md, section "Recomputing an answer".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from numpy.typing import NDArray

from crypto.errors import ConcordatError
from crypto.profiles import Profile
from node.gallery_commitment import HeldState
from protocol.payload import OpenedPayload
from protocol.statement_parts import SharedPart

S = TypeVar("S", bound=SharedPart)
Progress = Callable[[str, int, int], None]


class Verdict(StrEnum):
    """What became of one step."""

    HOLDS = "holds"
    DIFFERS = "differs"
    MISSING = "missing"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Step:
    """One step of a recomputation.

    Attributes:
        name: One of ``STEPS``, which are taken in that order.
        verdict: Whether it holds.
        what: In words; never a seed, a key or a template.
        blame: The country whose word it is that does not hold, where that is certain.
    """

    name: str
    verdict: Verdict
    what: str
    blame: str | None = None

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        shown = {"step": self.name, "verdict": self.verdict.value, "what": self.what}
        return shown | ({"blame": self.blame} if self.blame else {})


@dataclass(frozen=True)
class Side:
    """What one ledger says of the exchange, opened by an auditor of that node.

    Attributes:
        country: Whose ledger.
        opened: Payloads of the exchange and of the registration of its keys, each checked against its leaf.
        closed: How many entries are erased, or sealed to others.
        foreign: Indexes at which the ledger has other entries than the node gave.
    """

    country: str
    opened: Sequence[OpenedPayload] = field(repr=False)
    closed: int = 0
    foreign: Sequence[int] = ()

    def said(self, kind: type[S]) -> S | None:
        """The statement of this type."""
        return next((one.shared for one in self.opened if isinstance(one.shared, kind)), None)


@dataclass(frozen=True)
class Gallery:
    """The gallery that the responder holds now.

    Attributes:
        state: What its commitment is made of.
        indices: Of the blocks that a query searches, in the order of the gallery.
        load: The templates of one of them by its place in ``indices``, int8 of shape ``(block_size, n)``.
    """

    state: HeldState
    indices: Sequence[int]
    load: Callable[[int], NDArray[Any]]


@dataclass(frozen=True)
class Inputs:
    """All that a recomputation starts from; None is what nobody has, or was not asked for.

    Attributes:
        query: The signed query message.
        ciphertext: The encrypted probe.
        evaluation_keys: As the responder holds them.
        block_hashes: Of the answer's blocks, as the responder kept them.
        answer: The blocks of an answer that was computed again elsewhere; then the responder is not needed.
    """

    exchange_id: bytes
    responder: Side | None
    requester: Side | None
    profile: Profile | None = None
    query: bytes | None = None
    ciphertext: bytes | None = field(default=None, repr=False)
    evaluation_keys: bytes | None = field(default=None, repr=False)
    block_hashes: Sequence[bytes] | None = None
    gallery: Gallery | None = None
    answer: Callable[[int], Iterator[bytes]] | None = None


@dataclass(frozen=True)
class Recomputed:
    """The verdict."""

    exchange_id: bytes
    steps: tuple[Step, ...]
    blocks: int

    @property
    def differs(self) -> Step | None:
        """The first step that does not hold."""
        return next((one for one in self.steps if one.verdict is Verdict.DIFFERS), None)

    @property
    def verdict(self) -> str:
        """``differs``, ``reproduced`` (the answer is the logged one to the byte), or ``incomplete`` (not known)."""
        if self.differs is not None:
            return "differs"
        answer = next((one for one in self.steps if one.name == "answer"), None)
        return "reproduced" if answer is not None and answer.verdict is Verdict.HOLDS else "incomplete"

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        first = self.differs
        return {
            "ok": self.verdict == "reproduced",
            "verdict": self.verdict,
            "exchange": self.exchange_id.hex(),
            "first_difference": None if first is None else first.to_json(),
            "steps": [one.to_json() for one in self.steps],
            "missing": [one.what for one in self.steps if one.verdict is Verdict.MISSING],
            "blocks": self.blocks,
        }


class Stop(ConcordatError):
    """A step that cannot hold."""

    def __init__(self, verdict: Verdict, what: str, blame: str | None = None) -> None:
        super().__init__(what)
        self.verdict, self.blame = verdict, blame


def differs(what: str, blame: str | None = None) -> Stop:
    """What does not hold."""
    return Stop(Verdict.DIFFERS, what, blame)


def missing(what: str) -> Stop:
    """What cannot be checked for want of something."""
    return Stop(Verdict.MISSING, what)


def unchecked(what: str) -> Stop:
    """What was not checked, for another reason."""
    return Stop(Verdict.UNCHECKED, what)
