"""Descriptors, agreements, the roster and the policy: signed texts in, a verdict out."""

from __future__ import annotations

from typing import Any

import pytest
from parties import (
    NOW,
    agreement,
    agreement_fields,
    certificate,
    descriptor,
    descriptor_fields,
    grant,
    ledger_signer,
    named_key,
    request,
)
from pydantic import ValidationError

from crypto.contexts import Context
from crypto.note import ContextSigner, parse_note, sign_note
from protocol import limits
from protocol.agreement import draft_agreement, read_agreement, read_text, sign_agreement
from protocol.descriptor import Auditor, read_descriptor, sign_descriptor
from protocol.errors import BadAgreement, BadDescriptor, RefusalReason, Refused, UnknownPeer
from protocol.policy import check
from protocol.roster import Roster

AGREEMENT = agreement()
RR = RefusalReason


def signed(text: bytes, *names: str, context: Context = Context.AGREEMENT) -> bytes:
    return sign_note(text, [ContextSigner(name, named_key(f"{name} identity"), context) for name in names])


# Descriptors


def test_a_descriptor_reads_as_it_was_written() -> None:
    made = descriptor("CL", authority='Policía "PDI" \\ Interpol', auditors=[])
    assert read_descriptor(made.note) == made
    assert len(made.fingerprint.split()) == 16
    assert made.ledger.vkey == made.fields.ledger_vkey


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("country", "cl"),
        ("endpoint", "http://cl.example"),
        ("endpoint", "https://cl.example/"),
        ("endpoint", "https://CL.example"),
        ("endpoint", "https://user@cl.example"),
        ("endpoint", "https://cl.example:08443"),
        ("endpoint", "https://"),
        ("serial", 0),
        ("identity_key", bytes(31)),
        ("ledger_vkey", "nonsense"),
        ("tls_certificate", b""),
        ("tls_certificate", b"\x30\x82\x00\x05abc"),
        ("tls_certificate", certificate("CL") + b"\x00"),
        ("auditors", [Auditor(name="a", key=bytes(32))] * (limits.MAX_AUDITORS + 1)),
        ("authority", "a\nb"),
    ],
)
def test_an_impossible_descriptor(name: str, value: Any) -> None:
    with pytest.raises((ValidationError, ValueError)):
        descriptor_fields("CL", **{name: value})


def test_a_descriptor_is_signed_by_its_own_key_and_no_other() -> None:
    with pytest.raises(BadDescriptor):
        sign_descriptor(descriptor_fields("CL"), named_key("US identity"))
    text = descriptor_fields("CL").to_text().encode()
    read_descriptor(signed(text, "CL", context=Context.DESCRIPTOR))
    for note in (
        signed(text, "US", context=Context.DESCRIPTOR),
        signed(text, "CL", context=Context.AGREEMENT),
        signed(text, "CL", "US", context=Context.DESCRIPTOR),
        text,
        b"x" * (limits.MAX_DESCRIPTOR + 1),
    ):
        with pytest.raises(BadDescriptor):
            read_descriptor(note)


@pytest.mark.parametrize(
    "change",
    [
        (b"serial = 1", b"serial  = 1"),
        (b"serial = 1", b"serial = 0x1"),
        (b"serial = 1", b'serial = "1"'),
        (b"serial = 1", b"serial = 1 # first"),
        (b"serial = 1\n", b""),
        (b"serial = 1", b"serial = 1\nextra = 1"),
        (b"issued = 2027", b"issued = 1969"),
        (b"Z\n", b"+01:00\n"),
        (b'identity_key = "', b'identity_key = " '),
    ],
)
def test_a_descriptor_has_one_text_form(change: tuple[bytes, bytes]) -> None:
    text = descriptor_fields("CL").to_text().encode()
    altered = text.replace(*change, 1)
    assert altered != text
    with pytest.raises(BadDescriptor):
        read_descriptor(signed(altered, "CL", context=Context.DESCRIPTOR))


# Roster


def test_the_roster_finds_peers_by_country_and_certificate() -> None:
    roster = Roster.of("US", [descriptor("CL"), descriptor("CO")])
    assert roster.peer("CL") == roster.by_certificate(certificate("CL"))
    for find in (lambda: roster.peer("US"), lambda: roster.by_certificate(certificate("US"))):
        with pytest.raises(UnknownPeer):
            find()


def test_what_may_replace_what_in_the_roster() -> None:
    roster = Roster.of("US", [descriptor("CL", serial=2), descriptor("CO")])
    assert roster.accept(descriptor("CL", serial=3)).peer("CL").fields.serial == 3
    assert roster.accept(descriptor("CL", serial=2)) == roster
    other_key = named_key("CL identity, second")
    fields = descriptor_fields("CL", serial=3, identity_key=other_key.verify_key.public)
    renewed = sign_descriptor(fields, other_key)
    assert roster.accept(renewed, new_identity=True).peer("CL") == renewed
    for refused in (
        renewed,
        descriptor("CL", serial=1),
        descriptor("CL", serial=2, authority="Another"),
        descriptor("US"),
        descriptor("AR", tls_certificate=certificate("CO")),
        descriptor("AR", ledger_vkey=ledger_signer("CO").verifier.vkey),
    ):
        with pytest.raises(BadDescriptor):
            roster.accept(refused)


# Agreements


def test_an_agreement_is_in_force_when_both_have_signed() -> None:
    assert AGREEMENT.in_force
    assert AGREEMENT.countries == ("CL", "US")
    draft = draft_agreement(agreement_fields(), descriptor("CL"), descriptor("US"))
    assert draft == AGREEMENT.text
    once = sign_agreement(draft, "CL", named_key("CL identity"))
    assert not read_agreement(once).in_force
    assert sign_agreement(once, "CL", named_key("CL identity")) == once
    twice = read_agreement(sign_agreement(once, "US", named_key("US identity")))
    assert (twice.in_force, twice.digest) == (True, AGREEMENT.digest)
    AGREEMENT.require_parties(descriptor("CL", serial=9), descriptor("US"))
    for own, peer in ((descriptor("CL"), descriptor("CO")),):
        with pytest.raises(BadAgreement):
            AGREEMENT.require_parties(own, peer)
    with pytest.raises(BadAgreement):
        read_agreement(once).require_parties(descriptor("CL"), descriptor("US"))


def test_people_may_lay_out_an_agreement() -> None:
    text = b"# A draft for both ministries\n\n" + AGREEMENT.text.replace(
        b"[[grants]]", b"# Grants\n\n[[grants]]"
    )
    assert read_text(text).fields == AGREEMENT.fields
    assert read_text(text).digest != AGREEMENT.digest
    once = sign_agreement(text, "US", named_key("US identity"))
    assert parse_note(once).text == text


def test_signatures_of_others_are_not_carried() -> None:
    both = signed(AGREEMENT.text, "CL", "US")
    assert read_agreement(both).in_force
    for note in (
        signed(AGREEMENT.text, "CL", "US", "CO"),
        signed(AGREEMENT.text, "CO"),
        signed(AGREEMENT.text, "CL", context=Context.DESCRIPTOR),
        signed(AGREEMENT.text, "CL", "CL"),
        both.replace(b"\xe2\x80\x94 US ", b"\xe2\x80\x94 CL "),
        AGREEMENT.text,
        b"x" * (limits.MAX_AGREEMENT + 1),
    ):
        with pytest.raises(BadAgreement):
            read_agreement(note)


def test_only_a_party_signs_and_with_its_own_key() -> None:
    for country, key in (("CO", "CO identity"), ("US", "CL identity")):
        with pytest.raises(BadAgreement):
            sign_agreement(AGREEMENT.text, country, named_key(key))


@pytest.mark.parametrize(
    "change",
    [
        (b'requester = "US"', b'requester = "CO"'),
        (b'requester = "US"', b'requester = "CL"'),
        (b'modality = "face"', b'modality = "voice"'),
        (b'profile_digest = "07', b'profile_digest = "0G'),
        (b'profile_digest = "07', b'profile_digest = " 7'),
        (b'purposes = ["migration-management", "organised-crime"]', b"purposes = []"),
        (b'purposes = ["migration-management", "organised-crime"]', b'purposes = "any"'),
        (b"not_before = 2027", b"not_before = 2028"),
        (b"not_after = 2027", b"not_after = 2099"),
        (b"not_after = 2027-02-14T08:00:00Z", b"not_after = 2027-02-14"),
        (b"serial = 1", b"serial = true"),
        (b'format = "concordat-agreement-v1"', b'format = "concordat-agreement-v2"'),
        (b"[[grants]]", b"[[favours]]"),
        (b'country = "CL"', b'country = "AR"'),
        (b"[[parties]]", b"[[parties]]\nnote = 1"),
        (b"CL", b"XX"),
    ],
)
def test_a_text_that_is_no_agreement(change: tuple[bytes, bytes]) -> None:
    altered = AGREEMENT.text.replace(*change, 1)
    assert altered != AGREEMENT.text
    with pytest.raises(BadAgreement):
        read_text(altered)


def test_the_parties_are_two_countries_in_order() -> None:
    with pytest.raises(BadAgreement):
        draft_agreement(agreement_fields(), descriptor("US"), descriptor("US"))


# Policy


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"requester": "CL", "responder": "US"}, RR.DIRECTION_NOT_COVERED),
        ({"modality": "iris"}, RR.MODALITY_NOT_COVERED),
        ({"profile": bytes(32)}, RR.PROFILE_MISMATCH),
        ({"purpose": "curiosity"}, RR.PURPOSE_NOT_COVERED),
        ({"purpose": "Organised-Crime"}, RR.PURPOSE_NOT_COVERED),
        ({"offence": "theft"}, RR.OFFENCE_NOT_COVERED),
        ({"person_category": "witness"}, RR.PERSON_CATEGORY_NOT_COVERED),
        ({"legal_basis": "none"}, RR.LEGAL_BASIS_NOT_COVERED),
        ({"modality": "iris", "legal_basis": "none"}, RR.MODALITY_NOT_COVERED),
    ],
)
def test_what_is_not_covered_is_refused_with_the_first_reason(
    changes: dict[str, Any], reason: RefusalReason
) -> None:
    with pytest.raises(Refused) as caught:
        check(AGREEMENT, request(AGREEMENT.digest, **changes), NOW)
    assert caught.value.reason is reason
    assert not any(str(value) in str(caught.value) for value in changes.values() if value != "none")


def test_what_is_covered_names_its_grant() -> None:
    assert check(AGREEMENT, request(AGREEMENT.digest), NOW).gallery == "face/embedding-128"


def test_terms_of_two_grants_do_not_add_up() -> None:
    both = agreement(
        grant(purposes=["one"], offences=["first"]), grant(purposes=["two"], offences=["second"])
    )
    assert check(both, request(both.digest, purpose="two", offence="second"), NOW)
    with pytest.raises(Refused) as caught:
        check(both, request(both.digest, purpose="one", offence="second"), NOW)
    assert caught.value.reason is RR.OFFENCE_NOT_COVERED


def test_validity_to_the_millisecond() -> None:
    fields, asked = AGREEMENT.fields, request(AGREEMENT.digest)
    for time in (fields.not_before_ms, fields.not_after_ms - 1):
        check(AGREEMENT, asked, time)
    for time in (fields.not_before_ms - 1, fields.not_after_ms):
        with pytest.raises(Refused) as caught:
            check(AGREEMENT, asked, time)
        assert caught.value.reason is RR.AGREEMENT_EXPIRED


def test_no_agreement_and_no_signature_is_no_agreement() -> None:
    for missing in (None, read_text(AGREEMENT.text)):
        with pytest.raises(Refused) as caught:
            check(missing, request(AGREEMENT.digest), NOW)
        assert caught.value.reason is RR.AGREEMENT_UNKNOWN
