"""The base of every model that crosses the wire or is kept: strict, frozen, one byte form.

Source: specs/wire.md, section "Canonical form".
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from protocol import limits, wire
from protocol.errors import BadMessage

_COUNTRY = re.compile(r"[A-Z]{2}\Z")


def _country(value: str) -> str:
    if not _COUNTRY.match(value):
        raise ValueError("a country is two capital letters (ISO 3166-1 alpha-2)")
    return value


def _printable(value: str) -> str:
    """One line that looks like what it is: nothing invisible, no space at either end."""
    if not value.isprintable() or value != value.strip():
        raise ValueError("text has control characters or spaces at its ends")
    return value


Country = Annotated[str, Field(min_length=2, max_length=2), AfterValidator(_country)]
Term = Annotated[str, Field(min_length=1, max_length=limits.MAX_TERM), AfterValidator(_printable)]
Text = Annotated[str, Field(min_length=1, max_length=limits.MAX_TEXT), AfterValidator(_printable)]
Hash = Annotated[bytes, Field(min_length=32, max_length=32)]
ExchangeId = Annotated[bytes, Field(min_length=16, max_length=16)]
Millis = Annotated[int, Field(ge=0, lt=limits.MAX_TIME_MS)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Model(BaseModel):
    """A strict, frozen record with exactly one byte form.

    Subclasses set ``LIMIT``, the greatest length that ``from_bytes`` looks at. An optional field is always
    present on the wire, as nil when it is not set.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)

    LIMIT: ClassVar[int] = limits.MAX_SIGNED_MESSAGE

    def to_bytes(self) -> bytes:
        """The canonical msgpack bytes."""
        return wire.encode(self.model_dump())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read exactly these bytes.

        Raises:
            BadEncoding: Not canonical msgpack, or longer than ``LIMIT``.
            BadMessage: Canonical, but not this message; names the field, never its value.
        """
        value = wire.decode(data, cls.LIMIT)
        if not isinstance(value, dict):
            raise BadMessage(f"{cls.__name__}: a map was expected")
        missing = sorted(set(cls.model_fields) - set(value))
        if missing:
            raise BadMessage(f"{cls.__name__}.{missing[0]}: the field is missing")
        try:
            message = cls.model_validate(value)
        except ValidationError as error:
            raise BadMessage(f"{cls.__name__}: {describe(error)}") from None
        if message.to_bytes() != data:
            # Python takes True for 1, so a literal field would have two spellings.
            raise BadMessage(f"{cls.__name__}: a field has another type than the message says")
        return message


class PaddedModel(Model):
    """A message whose length must not tell what it says: zeros bring it to a multiple of ``PAD_TO`` bytes.

    The padding follows from the other fields, so the message keeps one byte form.
    """

    padding: Annotated[bytes, Field(max_length=2 * limits.PAD_TO)] = b""

    def to_bytes(self) -> bytes:
        """The canonical msgpack bytes, with the shortest padding that fills the last unit."""
        fields = self.model_dump()
        wanted = -len(wire.encode({**fields, "padding": b""})) % limits.PAD_TO
        # the length prefix of the padding grows by a byte at 256
        for length in (wanted, wanted - 1, wanted - 1 + limits.PAD_TO):
            data = wire.encode({**fields, "padding": bytes(max(0, length))})
            if len(data) % limits.PAD_TO == 0:
                return data
        raise AssertionError("one of three lengths fills the unit")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """As for every model; the padding has done its work and is left out."""
        return super().from_bytes(data).model_copy(update={"padding": b""})


def describe(error: ValidationError) -> str:
    """The first problem of a validation error: where and what, never the offending value.

    A name that the model does not know is a value of the sender's choosing, so it is not repeated.
    """
    first: dict[str, Any] = dict(
        error.errors(include_input=False, include_context=False, include_url=False)[0]
    )
    if first["type"] == "extra_forbidden":
        return "a field that the message does not have"
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
