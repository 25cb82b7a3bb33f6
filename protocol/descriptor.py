"""The descriptor of a node: who it is, where it is, and which keys are its own.

A descriptor is a signed note. Its text is TOML in one byte form (read, written again, compared); the
signature is of its own identity key, so it proves possession and nothing more. Trust comes from the operator,
who confirms the fingerprint over another channel.

Source: specs/agreements.md, section "Descriptors".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from crypto.contexts import Context, hash_fields
from crypto.errors import BadEncoding, BadSignature
from crypto.note import (
    ContextSigner,
    ContextVerifier,
    Ed25519Verifier,
    MlDsaVerifier,
    open_note,
    parse_note,
    parse_vkey,
    sign_note,
)
from crypto.signing import SigningKey, VerifyKey
from crypto.textforms import decode_base64, encode_base64
from protocol import limits
from protocol.checkpoint import LogKeys
from protocol.errors import BadDescriptor
from protocol.model import Country, Hash, Millis, Model, Text, describe
from protocol.tomltext import quote, read_time, read_toml, time_text

FORMAT: Final = "concordat-descriptor-v1"
MAX_CERTIFICATE: Final = 8 * 1024


def _endpoint(value: str) -> str:
    """One spelling: ``https://host[:port]``, nothing after it."""
    parts = urlsplit(value)
    port = f":{parts.port}" if parts.port is not None else ""
    host = parts.hostname or ""
    literal = f"[{host}]" if ":" in host else host
    if parts.scheme != "https" or not host or value != f"https://{literal}{port}" or not value.isascii():
        raise ValueError("an endpoint is https://host or https://host:port, in lower case")
    return value


def _vkey(value: str) -> str:
    try:
        verifier = parse_vkey(value)
    except BadEncoding as error:
        raise ValueError(str(error)) from None
    if not isinstance(verifier, Ed25519Verifier) or verifier.vkey != value:
        raise ValueError("a ledger key is an Ed25519 verifier key")
    return value


def _mldsa(value: str) -> str:
    try:
        verifier = parse_vkey(value)
    except BadEncoding as error:
        raise ValueError(str(error)) from None
    if not isinstance(verifier, MlDsaVerifier) or verifier.vkey != value:
        raise ValueError("a post-quantum ledger key is an ML-DSA-44 verifier key")
    return value


def _certificate(value: bytes) -> bytes:
    """A DER sequence of exactly this length; what is in it is compared byte for byte, never interpreted."""
    width = {b"\x30\x81": 1, b"\x30\x82": 2}.get(value[:2])
    if width is None or int.from_bytes(value[2 : 2 + width], "big") != len(value) - 2 - width:
        raise ValueError("not a DER certificate")
    return value


class Auditor(Model):
    """Who may open the payloads of a ledger: an X25519 public key."""

    name: Text
    key: Hash


class DescriptorFields(Model):
    """What a descriptor says. ``serial`` grows with every new edition."""

    format: Literal["concordat-descriptor-v1"] = FORMAT
    country: Country
    authority: Text
    endpoint: Annotated[str, Field(max_length=limits.MAX_TEXT), AfterValidator(_endpoint)]
    serial: Annotated[int, Field(ge=1, lt=2**31)]
    issued_ms: Millis
    identity_key: Hash
    ledger_vkey: Annotated[str, Field(max_length=400), AfterValidator(_vkey)]
    ledger_mldsa: Annotated[str, Field(max_length=2200), AfterValidator(_mldsa)] | None = None
    tls_certificate: Annotated[bytes, Field(max_length=MAX_CERTIFICATE), AfterValidator(_certificate)]
    auditors: Annotated[list[Auditor], Field(max_length=limits.MAX_AUDITORS)]

    @model_validator(mode="after")
    def _one_ledger(self) -> Self:
        second = self.ledger_mldsa or self.ledger_vkey
        if second.split("+", 1)[0] != self.ledger_vkey.split("+", 1)[0]:
            raise ValueError("both ledger keys bear the name of the ledger")
        return self

    def to_text(self) -> str:
        """The TOML text in its one form."""
        lines = [
            f"format = {quote(self.format)}",
            f"country = {quote(self.country)}",
            f"authority = {quote(self.authority)}",
            f"endpoint = {quote(self.endpoint)}",
            f"serial = {self.serial}",
            f"issued = {time_text(self.issued_ms)}",
            f"identity_key = {quote(encode_base64(self.identity_key))}",
            f"ledger_vkey = {quote(self.ledger_vkey)}",
            *([] if self.ledger_mldsa is None else [f"ledger_mldsa = {quote(self.ledger_mldsa)}"]),
            f"tls_certificate = {quote(encode_base64(self.tls_certificate))}",
        ]
        for auditor in self.auditors:
            lines += ["", "[[auditors]]", f"name = {quote(auditor.name)}"]
            lines += [f"key = {quote(encode_base64(auditor.key))}"]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Descriptor:
    """A descriptor whose own signature has been verified.

    Attributes:
        fields: What it says.
        note: The exact signed bytes, to be kept and handed on.
    """

    fields: DescriptorFields
    note: bytes

    @property
    def country(self) -> str:
        """ISO 3166-1 alpha-2."""
        return self.fields.country

    @property
    def identity(self) -> VerifyKey:
        """The key that signs messages, agreements and this descriptor."""
        return VerifyKey(self.fields.identity_key)

    @property
    def ledger(self) -> LogKeys:
        """The keys that sign the checkpoints of the node's ledger, each of them every one."""
        verifier = parse_vkey(self.fields.ledger_vkey)
        if not isinstance(verifier, Ed25519Verifier):  # the model allows no other
            raise BadDescriptor("the ledger key is not an Ed25519 key")
        if self.fields.ledger_mldsa is None:
            return LogKeys(verifier)
        second = parse_vkey(self.fields.ledger_mldsa)
        if not isinstance(second, MlDsaVerifier):
            raise BadDescriptor("the post-quantum ledger key is not an ML-DSA-44 key")
        return LogKeys(verifier, second)

    @property
    def digest(self) -> bytes:
        """32 bytes over the signed text."""
        return hash_fields(Context.DESCRIPTOR, parse_note(self.note).text)

    @property
    def fingerprint(self) -> str:
        """The digest in groups of four hexadecimal digits, to be read aloud and compared."""
        text = self.digest.hex()
        return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def sign_descriptor(fields: DescriptorFields, identity: SigningKey) -> Descriptor:
    """Sign a descriptor with the identity key that it names.

    Raises:
        BadDescriptor: The key is another than ``fields.identity_key``.
    """
    if identity.verify_key.public != fields.identity_key:
        raise BadDescriptor("a descriptor is signed by the identity key that it names")
    signer = ContextSigner(fields.country, identity, Context.DESCRIPTOR)
    return Descriptor(fields, sign_note(fields.to_text().encode(), [signer]))


def read_descriptor(data: bytes) -> Descriptor:
    """Read and verify a descriptor.

    Raises:
        BadDescriptor: Too long, not a signed note, not the one text form, an impossible field, or not signed
            by the identity key inside, or by any other key as well.
    """
    if len(data) > limits.MAX_DESCRIPTOR:
        raise BadDescriptor(f"a descriptor of {len(data)} bytes is over the limit of {limits.MAX_DESCRIPTOR}")
    try:
        note = parse_note(data)
        fields = _fields(read_toml(note.text, BadDescriptor))
        if fields.to_text().encode() != note.text:
            raise BadDescriptor("the descriptor is not in its one text form")
        verifier = ContextVerifier(fields.country, VerifyKey(fields.identity_key), Context.DESCRIPTOR)
        verified = open_note(data, [verifier]).verified
    except (BadEncoding, BadSignature) as error:
        raise BadDescriptor(str(error)) from None
    except ValidationError as error:
        raise BadDescriptor(f"the descriptor says what it cannot: {describe(error)}") from None
    if len(verified) != 1 or len(note.signatures) != 1:
        raise BadDescriptor("a descriptor has exactly one signature, of its own identity key")
    return Descriptor(fields, data)


def _fields(document: dict[str, Any]) -> DescriptorFields:
    """The model's fields from the TOML document; other wrong types are left for the model to refuse."""
    values = dict(document)
    values.setdefault("auditors", [])
    values["issued_ms"] = read_time(values.pop("issued", None), "issued", BadDescriptor)
    for name in ("identity_key", "tls_certificate"):
        values[name] = _binary(values.get(name), name)
    if isinstance(values["auditors"], list):
        values["auditors"] = [
            {**item, "key": _binary(item.get("key"), "auditors.key")} if isinstance(item, dict) else item
            for item in values["auditors"]
        ]
    return DescriptorFields.model_validate(values)


def _binary(value: object, name: str) -> bytes:
    if not isinstance(value, str):
        raise BadDescriptor(f"{name}: base64 text is missing")
    return decode_base64(value, name)
