"""The succession of a ledger: a signed statement that a new log goes on where a lost one was last witnessed.

A signed note under the node's identity key. It holds the last witnessed checkpoint of the ledger before, the evidence
of the new ledger's first entry, which names that checkpoint, and the node's next descriptor. It undoes nothing: what
was lost stays lost, and both ledgers, the holder's and each peer's, say so for ever.

Source: specs/ledger.md, section "Succession".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from crypto.contexts import Context, hash_fields
from crypto.errors import BadEncoding, ConcordatError, InputError
from crypto.note import (
    MAX_NOTE_BYTES,
    ContextSigner,
    ContextVerifier,
    open_note,
    parse_note,
    sign_note,
)
from crypto.signing import SigningKey, VerifyKey
from crypto.textforms import decode_base64, encode_base64
from protocol.checkpoint import LogKeys, TreeHead, open_checkpoint
from protocol.descriptor import Descriptor, read_descriptor
from protocol.evidence import LogEvidence, VerifiedEntry, verify_evidence
from protocol.statements_witness import LedgerSucceeded

HEADER: Final = "concordat/succession/v1"
MAX_SUCCESSION_BYTES: Final = 256 * 1024
_FIELDS: Final = ("witnessed", "evidence", "descriptor")


class BadSuccession(InputError):
    """A succession that is malformed, does not hold, or does not continue what this node has witnessed."""

    code = "bad-succession"


@dataclass(frozen=True)
class Succession:
    """What a succession says; from ``read_succession`` its signature and all that is inside have been verified.

    Attributes:
        previous: Key of the ledger before.
        last: Size and root of its last witnessed checkpoint.
        witnessed: That checkpoint, signed by the ledger before, with whatever cosignatures there are.
        descriptor: The node's next descriptor; it names the new ledger.
        first: The new ledger's first entry, verified.
        note: The exact signed bytes.
    """

    previous: LogKeys
    last: TreeHead
    witnessed: bytes
    descriptor: Descriptor
    first: VerifiedEntry[LedgerSucceeded]
    note: bytes

    @property
    def digest(self) -> bytes:
        """32 bytes over the signed text."""
        return hash_fields(Context.SUCCESSION, parse_note(self.note).text)


def sign_succession(witnessed: bytes, evidence: bytes, descriptor: Descriptor, identity: SigningKey) -> bytes:
    """The signed note of a succession."""
    values = (witnessed, evidence, descriptor.note)
    lines = [HEADER, *(f"{name} {encode_base64(value)}" for name, value in zip(_FIELDS, values, strict=True))]
    signer = ContextSigner(descriptor.country, identity, Context.SUCCESSION)
    return sign_note(("\n".join(lines) + "\n").encode(), [signer])


def read_succession(data: bytes, held: Descriptor) -> Succession:
    """Read and verify a succession of the node that ``held`` describes.

    Args:
        data: The file.
        held: The descriptor of that node which is accepted here; it names the ledger before.

    Raises:
        BadSuccession: Malformed, not signed by the identity key held, or its parts do not fit each other.
    """
    if len(data) > min(MAX_SUCCESSION_BYTES, MAX_NOTE_BYTES):
        raise BadSuccession(f"a succession of more than {MAX_SUCCESSION_BYTES} bytes")
    key = ContextVerifier(held.country, VerifyKey(held.fields.identity_key), Context.SUCCESSION)
    try:
        witnessed, evidence, note = _parts(open_note(data, [key]).text)
        descriptor = read_descriptor(note)
        last = open_checkpoint(witnessed, held.ledger).checkpoint.head
        first = verify_evidence(LogEvidence.from_bytes(evidence), descriptor.ledger, None, LedgerSucceeded)
    except BadSuccession:
        raise
    except ConcordatError as error:
        raise BadSuccession(str(error)) from None
    said = first.shared
    before, now = held.ledger, descriptor.ledger
    facts = (
        ("country", descriptor.country == held.country == said.country),
        ("identity key", descriptor.fields.identity_key == held.fields.identity_key == said.identity_key),
        ("ledger before", (said.previous_origin, said.previous_key) == (before.name, before.key.public)),
        ("last witnessed checkpoint", (said.previous_size, said.previous_root) == last),
        ("new ledger", said.origin == now.name != before.name),
        ("first entry", first.index == 0),
    )
    for name, holds in facts:
        if not holds:
            raise BadSuccession(f"the {name} is not the same in all parts, or not the one held here")
    return Succession(before, last, witnessed, descriptor, first, data)


def check_continues(succession: Succession, seen: TreeHead | None) -> None:
    """A successor has to begin at or after what this node has witnessed, and on the same history.

    Raises:
        BadSuccession: It names less than this node holds, or another root of the same size. The peer has to make it
            again from the checkpoint held here.
    """
    if seen is None:
        return
    if succession.last.size < seen.size:
        raise BadSuccession(
            f"it goes on from {succession.last.size} entries, this node has witnessed {seen.size}: "
            "the peer has to name the checkpoint held here"
        )
    if succession.last.size == seen.size and succession.last.root != seen.root:
        raise BadSuccession("it goes on from another history than the one witnessed here")


def _parts(text: bytes) -> tuple[bytes, bytes, bytes]:
    lines = text.decode().split("\n")
    if len(lines) != 2 + len(_FIELDS) or lines[0] != HEADER or lines[-1]:
        raise BadSuccession("not a succession")
    values = []
    for name, line in zip(_FIELDS, lines[1:-1], strict=True):
        word, space, value = line.partition(" ")
        if word != name or not space:
            raise BadEncoding(f"succession: {name} is missing")
        values.append(decode_base64(value, name))
    witnessed, evidence, descriptor = values
    return witnessed, evidence, descriptor
