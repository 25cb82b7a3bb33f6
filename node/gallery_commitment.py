"""What the 32 bytes fix by which the ledger names the state of a gallery.

Source: specs/matching.md, section 1, "Galleries".
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.contexts import Context, hash_fields


@dataclass(frozen=True, slots=True)
class HeldState:
    """A gallery as its commitment fixes it: ``hashes`` are those of its blocks, in order."""

    modality: str
    profile_digest: bytes
    salt: bytes
    records: int
    hashes: tuple[bytes, ...]

    @property
    def commitment(self) -> bytes:
        """The 32 bytes that the ledger carries."""
        return gallery_commitment(self.modality, self.profile_digest, self.salt, self.records, self.hashes)


def gallery_commitment(
    modality: str, profile_digest: bytes, salt: bytes, records: int, hashes: tuple[bytes, ...]
) -> bytes:
    """Every slot, and nothing of it for those who do not know the salt."""
    fixed = (modality.encode(), profile_digest, salt, records.to_bytes(8, "big"))
    return hash_fields(Context.GALLERY_STATE, *fixed, *hashes)
