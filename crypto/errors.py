"""Errors of the whole project, sorted by who has to act.

A message says what is wrong, where, and what to do. It never holds a template, a score, a key or a probe.
"""

from __future__ import annotations

from typing import ClassVar


class ConcordatError(Exception):
    """Base of every error that Concordat raises on purpose.

    Attributes:
        code: Stable, machine-readable name in kebab-case; documented in specs/wire.md.
    """

    code: ClassVar[str] = "error"


class InputError(ConcordatError):
    """What our own user gave is wrong: a file, an option, a template."""

    code = "bad-input"


class PeerFault(ConcordatError):
    """The other side broke a rule; the error may carry evidence."""

    code = "peer-fault"


class LocalFault(ConcordatError):
    """This machine could not do its part: a full disk, a lost worker, a damaged file."""

    code = "local-fault"


class BadEncoding(PeerFault):
    """Bytes that are not in the one form the specification allows."""

    code = "bad-encoding"


class BadSignature(PeerFault):
    """A signature that does not verify under the expected key and context."""

    code = "bad-signature"


class BadProof(PeerFault):
    """A Merkle proof that does not connect what it claims to connect."""

    code = "bad-proof"


class BadCiphertext(PeerFault):
    """An encrypted probe or answer of the wrong length, range or form."""

    code = "bad-ciphertext"


class BadKeys(PeerFault):
    """Evaluation keys of the wrong length, range, form or parameters."""

    code = "bad-keys"


class SealBroken(LocalFault):
    """Sealed bytes that do not open: wrong key, wrong place or damaged."""

    code = "seal-broken"


class BadFeatures(InputError):
    """A feature vector that cannot become a template: wrong dimension, NaN, infinite or zero."""

    code = "bad-features"


class BadTemplate(InputError):
    """A vector that is not a well-formed template of its profile."""

    code = "bad-template"


class BadProfile(InputError):
    """A profile file that is malformed or does not match its pinned digest."""

    code = "bad-profile"


class ImpossibleProfile(InputError):
    """A profile for which no parameters keep exactness, flooding and 128-bit security together."""

    code = "impossible-profile"
