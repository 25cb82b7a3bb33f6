"""A bilateral agreement: a TOML text that both countries signed, byte for byte, and that both nodes enforce.

The text may be laid out by people, with comments; what is signed is what is read. Both descriptors are inside
in full, so the agreement itself says which keys its parties have.

Source: specs/agreements.md, section "Agreements".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from crypto.contexts import Context, hash_fields
from crypto.errors import BadEncoding, BadSignature, ConcordatError
from crypto.note import ContextSigner, ContextVerifier, add_signatures, open_note, parse_note, sign_note
from crypto.signing import SigningKey
from protocol import limits
from protocol.descriptor import Descriptor, read_descriptor
from protocol.errors import BadAgreement, BadDescriptor
from protocol.log_policy import LogPolicy
from protocol.messages import Modality
from protocol.model import Country, Hash, Millis, Model, Term, Text, describe
from protocol.seen_by import MAX_DEMAND_BYTES, BadDemand, read_demand, require_outside
from protocol.tomltext import quote, quote_list, read_time, read_toml, time_text
from protocol.witnessing import witness_name

FORMAT: Final = "concordat-agreement-v1"


def _demand(value: str) -> str:
    try:
        read_demand(value)
    except ConcordatError as error:
        raise ValueError(str(error)) from None
    if "'''" in value:
        raise ValueError("witnesses: three quotes in a row")
    return value


Terms = Annotated[list[Term], Field(min_length=1, max_length=limits.MAX_TERMS)]


class Grant(Model):
    """What ``requester`` may ask ``responder``. Every list is a closed list: nothing is implied.

    ``queries_per_day`` is the greatest number of accepted queries of one day (UTC); None is without limit.
    """

    requester: Country
    responder: Country
    modality: Modality
    profile: Term
    profile_digest: Hash
    purposes: Terms
    offences: Terms
    person_categories: Terms
    legal_bases: Terms
    queries_per_day: Annotated[int, Field(ge=1, lt=2**31)] | None = None

    @property
    def gallery(self) -> str:
        """The name of the reference database that a query under this grant searches."""
        return f"{self.modality}/{self.profile}"


class AgreementFields(Model):
    """What an agreement says, without its parties' descriptors.

    ``witnesses`` is a tlog-policy without logs: whose cosignatures a checkpoint needs before evidence under it counts.
    ``key_sets`` is how many sets of evaluation keys a requester offers, all but one of which it must open;
    ``key_epoch_days`` is how long the one that is kept is used.
    """

    format: Literal["concordat-agreement-v1"] = FORMAT
    name: Text
    serial: Annotated[int, Field(ge=1, lt=2**31)]
    not_before_ms: Millis
    not_after_ms: Millis
    grants: Annotated[list[Grant], Field(min_length=1, max_length=limits.MAX_GRANTS)]
    key_sets: Annotated[int, Field(ge=limits.MIN_KEY_SETS, le=limits.MAX_KEY_SETS)] = limits.KEY_SETS
    key_epoch_days: Annotated[int, Field(ge=1, le=limits.MAX_KEY_EPOCH_DAYS)] = limits.KEY_EPOCH_DAYS
    witnesses: (
        Annotated[str, Field(min_length=1, max_length=MAX_DEMAND_BYTES), AfterValidator(_demand)] | None
    ) = None

    @model_validator(mode="after")
    def _valid_for_a_while(self) -> Self:
        if not 0 < self.not_after_ms - self.not_before_ms <= limits.MAX_AGREEMENT_TERM:
            raise ValueError("not_after must follow not_before by at most twenty years")
        return self


@dataclass(frozen=True)
class Agreement:
    """An agreement that has been read; ``signed_by`` says whose signatures were verified.

    Attributes:
        fields: Validity and grants.
        parties: Both descriptors, in the order of their country codes.
        text: The exact TOML bytes.
        signed_by: Countries whose signature verified; both, or the agreement is a draft.
        demand: The witnesses outside the pair that it asks for; None if it asks for none.
    """

    fields: AgreementFields
    parties: tuple[Descriptor, Descriptor]
    text: bytes
    signed_by: frozenset[str]
    demand: LogPolicy | None = None

    @property
    def digest(self) -> bytes:
        """The name of the agreement on the wire and in ledgers: 32 bytes over its text."""
        return hash_fields(Context.AGREEMENT, self.text)

    @property
    def countries(self) -> tuple[str, str]:
        """Both country codes, sorted."""
        return self.parties[0].country, self.parties[1].country

    @property
    def in_force(self) -> bool:
        """Whether both parties have signed. The time of validity is the policy's to check."""
        return self.signed_by == set(self.countries)

    def replaces(self, other: Agreement) -> bool:
        """Whether this is a later edition of the other one: same parties, same name, higher serial."""
        same = (self.countries, self.fields.name) == (other.countries, other.fields.name)
        return same and self.fields.serial > other.fields.serial

    def party(self, country: str) -> Descriptor:
        """The descriptor of one party inside the agreement. Raises ``BadAgreement`` for any other country."""
        for descriptor in self.parties:
            if descriptor.country == country:
                return descriptor
        raise BadAgreement(f"{country} is no party to the agreement")

    def require_parties(self, own: Descriptor, peer: Descriptor) -> None:
        """Check that this agreement binds exactly these two nodes under their accepted identity keys.

        Endpoint, certificate and ledger key may have moved on in a later edition of a descriptor.

        Raises:
            BadAgreement: Not signed by both, between others, or under another identity key.
        """
        if not self.in_force:
            raise BadAgreement("the agreement is not signed by both parties")
        for descriptor in (own, peer):
            if self.party(descriptor.country).fields.identity_key != descriptor.fields.identity_key:
                raise BadAgreement(f"the agreement names another identity key of {descriptor.country}")


def draft_agreement(fields: AgreementFields, first: Descriptor, second: Descriptor) -> bytes:
    """The TOML text of an agreement, ready to be signed."""
    lines = [
        f"format = {quote(fields.format)}",
        f"name = {quote(fields.name)}",
        f"serial = {fields.serial}",
        f"not_before = {time_text(fields.not_before_ms)}",
        f"not_after = {time_text(fields.not_after_ms)}",
    ]
    if fields.key_sets != limits.KEY_SETS:
        lines += [f"key_sets = {fields.key_sets}"]
    if fields.key_epoch_days != limits.KEY_EPOCH_DAYS:
        lines += [f"key_epoch_days = {fields.key_epoch_days}"]
    if fields.witnesses is not None:
        lines += ["witnesses = '''", fields.witnesses + "'''"]
    for descriptor in sorted((first, second), key=lambda item: item.country):
        lines += ["", "[[parties]]", f"country = {quote(descriptor.country)}", "descriptor = '''"]
        lines += [descriptor.note.decode() + "'''"]
    for grant in fields.grants:
        lines += ["", "[[grants]]"]
        lines += [f"{name} = {quote(getattr(grant, name))}" for name in ("requester", "responder")]
        lines += [f"modality = {quote(grant.modality)}", f"profile = {quote(grant.profile)}"]
        lines += [f"profile_digest = {quote(grant.profile_digest.hex())}"]
        for name in ("purposes", "offences", "person_categories", "legal_bases"):
            lines += [f"{name} = {quote_list(getattr(grant, name))}"]
        if grant.queries_per_day is not None:
            lines += [f"queries_per_day = {grant.queries_per_day}"]
    text = ("\n".join(lines) + "\n").encode()
    read_text(text)
    return text


def sign_agreement(data: bytes, country: str, identity: SigningKey) -> bytes:
    """Sign a draft (its text), or add our signature to what the other party signed.

    Raises:
        BadAgreement: Not an agreement, or one that names another identity key for ``country``.
    """
    signer = ContextSigner(country, identity, Context.AGREEMENT)
    signed = _is_note(data)
    agreement = read_agreement(data) if signed else read_text(data)
    if agreement.party(country).fields.identity_key != identity.verify_key.public:
        raise BadAgreement(f"the agreement names another identity key of {country}")
    note = add_signatures(data, [signer]) if signed else sign_note(data, [signer])
    read_agreement(note)
    return note


def read_agreement(data: bytes) -> Agreement:
    """Read a signed agreement; every signature on it must be one of its parties'.

    Raises:
        BadAgreement: Too long, not a signed note, an impossible field, a bad descriptor inside, or a
            signature that does not verify or is not of a party.
    """
    _check_length(data)
    try:
        note = parse_note(data)
        draft = read_text(note.text)
        verifiers = [
            ContextVerifier(party.country, party.identity, Context.AGREEMENT) for party in draft.parties
        ]
        opened = open_note(data, verifiers)
    except (BadEncoding, BadSignature) as error:
        raise BadAgreement(str(error)) from None
    names = [signature.name for signature in opened.verified]
    if len(names) != len(note.signatures) or len(set(names)) != len(names):
        raise BadAgreement("an agreement carries one signature of each party and no others")
    return replace(draft, signed_by=frozenset(names))


def read_text(text: bytes) -> Agreement:
    """Read the text of an agreement that nobody has signed yet; errors as ``read_agreement``."""
    _check_length(text)
    try:
        document = read_toml(text, BadAgreement)
        parties = _parties(document.pop("parties", None))
        fields = _fields(document)
    except ValidationError as error:
        raise BadAgreement(f"the agreement says what it cannot: {describe(error)}") from None
    except BadDescriptor as error:
        raise BadAgreement(f"a descriptor inside the agreement: {error}") from None
    countries = {party.country for party in parties}
    for grant in fields.grants:
        if {grant.requester, grant.responder} != countries:
            raise BadAgreement("a grant is between others than the two parties")
    return Agreement(fields, parties, text, frozenset(), _third_parties(fields, parties))


def _third_parties(fields: AgreementFields, parties: tuple[Descriptor, Descriptor]) -> LogPolicy | None:
    """The demand of an agreement; neither party can be its own outsider."""
    if fields.witnesses is None:
        return None
    demand = read_demand(fields.witnesses)
    names = {name for party in parties for name in (witness_name(party.country), party.ledger.name)}
    keys = {key for party in parties for key in (party.fields.identity_key, party.ledger.key.public)}
    try:
        require_outside(demand, names, keys)
    except BadDemand as error:
        raise BadAgreement(str(error)) from None
    return demand


def _check_length(data: bytes) -> None:
    if len(data) > limits.MAX_AGREEMENT:
        raise BadAgreement(f"an agreement of {len(data)} bytes is over the limit of {limits.MAX_AGREEMENT}")


def _is_note(data: bytes) -> bool:
    """Whether signature lines follow the text; the descriptors inside a draft have such lines too."""
    try:
        parse_note(data)
    except BadEncoding:
        return False
    return True


def _parties(value: object) -> tuple[Descriptor, Descriptor]:
    if not isinstance(value, list) or len(value) != 2:
        raise BadAgreement("an agreement has exactly two parties")
    descriptors = []
    for item in value:
        if not isinstance(item, dict) or set(item) != {"country", "descriptor"}:
            raise BadAgreement("a party has a country and a descriptor")
        if not isinstance(item["descriptor"], str):
            raise BadAgreement("a party's descriptor is a text")
        descriptor = read_descriptor(item["descriptor"].encode())
        if descriptor.country != item["country"]:
            raise BadAgreement("a party's descriptor is of another country")
        descriptors.append(descriptor)
    first, second = descriptors
    if first.country >= second.country:
        raise BadAgreement("the parties are two countries in alphabetical order")
    return first, second


def _fields(document: dict[str, Any]) -> AgreementFields:
    values = dict(document)
    for name in ("not_before", "not_after"):
        values[f"{name}_ms"] = read_time(values.pop(name, None), name, BadAgreement)
    grants: Sequence[Any] = values.get("grants", [])
    if isinstance(grants, list):
        values["grants"] = [_grant(item) for item in grants]
    return AgreementFields.model_validate(values)


def _grant(item: object) -> object:
    if not isinstance(item, dict):
        return item
    digest = item.get("profile_digest")
    if not isinstance(digest, str) or len(digest) != 64 or digest.strip("0123456789abcdef"):
        raise BadAgreement("grants.profile_digest: 64 lower-case hexadecimal digits are expected")
    return {**item, "profile_digest": bytes.fromhex(digest)}
