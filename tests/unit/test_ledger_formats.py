"""Notes, checkpoints, tiles, bundles, policies, proofs, seals, key files: one form each, all else refused."""

from __future__ import annotations

import pytest

from crypto.contexts import Context
from crypto.errors import BadEncoding, BadSignature, SealBroken
from crypto.note import (
    ContextSigner,
    CosignatureSigner,
    Ed25519Signer,
    add_signatures,
    log_signers,
    open_note,
    parse_context_vkey,
    parse_note,
    parse_vkey,
    sign_note,
)
from crypto.sealing import open_sealed, open_sealed_to, public_key, seal, seal_to
from crypto.signing import SigningKey
from crypto.textforms import decode_base64, decode_decimal
from protocol import tiles
from protocol.audit.keys import BadAuditorKey, format_private, format_public, parse_private, parse_public
from protocol.audit.proof import TlogProof, parse_proof
from protocol.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint_text
from protocol.log_policy import BadPolicy, parse_policy

KEY = SigningKey.from_seed(bytes(range(32)))
OTHER = SigningKey.from_seed(bytes(32))
LOG = Ed25519Signer("us.example/ledger", KEY)
TEXT = Checkpoint("us.example/ledger", 7, bytes(32)).to_text()
NOTE = sign_note(TEXT, [LOG])


def test_notes_round_trip_and_verify() -> None:
    signers = [LOG, CosignatureSigner("w.example", OTHER, 1_750_000_000)]
    data = sign_note(TEXT, signers)
    assert parse_note(data).to_bytes() == data
    note = open_note(data, [signer.verifier for signer in signers])
    assert len(note.verified) == 2
    assert len(open_note(data, [LOG.verifier]).verified) == 1


def test_the_boundary_is_the_last_blank_line() -> None:
    text = b"one\n\ntwo\n\n\nthree\n"
    note = open_note(sign_note(text, [LOG]), [LOG.verifier])
    assert note.text == text


def test_a_known_key_that_fails_rejects_the_note() -> None:
    forged = ContextSigner("us.example/ledger", KEY, Context.AGREEMENT)
    liar = Ed25519Signer("us.example/ledger", OTHER)
    assert liar.key_id != LOG.key_id
    bad = parse_note(NOTE).signatures[0]
    broken = NOTE + type(bad)(bad.name, bad.key_id, bytes(64)).line()
    with pytest.raises(BadSignature):
        open_note(broken, [LOG.verifier])
    with pytest.raises(BadSignature, match="no signature of a known key"):
        open_note(NOTE, [forged.verifier])
    assert open_note(add_signatures(NOTE, [liar]), [LOG.verifier]).verified


def test_context_signatures_do_not_pass_under_another_context() -> None:
    signer = ContextSigner("US", KEY, Context.DESCRIPTOR)
    data = sign_note(b"a descriptor\n", [signer])
    vkey = signer.verifier.vkey
    assert open_note(data, [parse_context_vkey(vkey, Context.DESCRIPTOR)]).verified
    with pytest.raises(BadSignature):
        open_note(data, [parse_context_vkey(vkey, Context.AGREEMENT)])
    with pytest.raises(BadEncoding):
        parse_vkey(vkey)
    with pytest.raises(BadEncoding):
        parse_context_vkey(LOG.verifier.vkey, Context.DESCRIPTOR)


def test_signing_again_replaces_the_line() -> None:
    first = add_signatures(NOTE, [CosignatureSigner("w.example", OTHER, 1)])
    second = add_signatures(first, [CosignatureSigner("w.example", OTHER, 2)])
    assert len(parse_note(second).signatures) == 2
    assert second != first


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"text\n",
        b"text\n\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + b"junk\n",
        NOTE.replace(b"\n7\n", b"\n7\r\n"),
        NOTE.replace("—".encode(), b"-"),
        NOTE.replace("— ".encode(), "—  ".encode()),
        NOTE.replace(b"us.example/ledger ", b"us.example+ledger "),
        NOTE.replace(b"us.example/ledger ", "us.example\u00a0ledger ".encode()),
        b"\xff" + NOTE,
        NOTE[:-2] + b"\n",
        b"text\n\n" + "— name AAAA\n".encode(),
        b"text\n\n" + "— name AAAAAA==\n".encode(),
        b"x" * (1 << 20) + b"\n\n" + NOTE.partition(b"\n\n")[2],
        TEXT + b"\n" + NOTE.partition(b"\n\n")[2] * 101,
    ],
)
def test_malformed_notes(data: bytes) -> None:
    with pytest.raises(BadEncoding):
        parse_note(data)


def test_sixteen_signatures_are_accepted() -> None:
    signers = [CosignatureSigner(f"w{n}.example", OTHER, n) for n in range(16)]
    assert len(open_note(add_signatures(NOTE, signers), [LOG.verifier]).signatures) == 17


def test_cosignatures_with_impossible_times() -> None:
    signer = CosignatureSigner("w.example", OTHER, 5)
    note = parse_note(add_signatures(NOTE, [signer]))
    line = note.signatures[1]
    for payload in (b"\xff" * 8 + line.payload[8:], line.payload[:-1], line.payload[:4]):
        with pytest.raises(BadSignature):
            signer.verifier.check(TEXT, payload)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a+b",
        LOG.verifier.vkey + "=",
        LOG.verifier.vkey.replace("us.", "cl."),
        LOG.verifier.vkey.replace(LOG.key_id.hex(), LOG.key_id.hex().upper()),
        LOG.verifier.vkey.replace(LOG.key_id.hex(), "00000000"),
        " " + LOG.verifier.vkey,
    ],
)
def test_malformed_verifier_keys(vkey: str) -> None:
    assert parse_vkey(LOG.verifier.vkey) == LOG.verifier
    with pytest.raises(BadEncoding):
        parse_vkey(vkey)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"o\n1\n",
        TEXT + b"extension\n",
        TEXT[:-1],
        TEXT.replace(b"\n7\n", b"\n07\n"),
        TEXT.replace(b"\n7\n", b"\n+7\n"),
        TEXT.replace(b"\n7\n", b"\n-7\n"),
        TEXT.replace(b"\n7\n", b"\n7_0\n"),
        TEXT.replace(b"\n7\n", "\n٧\n".encode()),
        TEXT.replace(b"\n7\n", b"\n\n"),
        TEXT.replace(b"\n7\n", b"\n9223372036854775808\n"),
        TEXT.replace(b"AAA=", b"AAB="),
        TEXT.replace(b"AAA=", b"AAA"),
        TEXT.replace(b"AAAA", b"AA", 1),
        b"\n7\n" + TEXT.split(b"\n")[2] + b"\n",
    ],
)
def test_malformed_checkpoints(text: bytes) -> None:
    assert parse_checkpoint_text(TEXT).to_text() == TEXT
    with pytest.raises(BadEncoding):
        parse_checkpoint_text(text)


def test_a_checkpoint_must_be_of_its_log() -> None:
    assert open_checkpoint(NOTE, LOG.verifier).checkpoint.size == 7
    witness = CosignatureSigner("w.example", OTHER, 1)
    with pytest.raises(BadSignature):
        open_checkpoint(sign_note(TEXT, [witness]), LOG.verifier, (witness.verifier,))
    with pytest.raises(BadSignature, match="origin"):
        open_checkpoint(sign_note(TEXT.replace(b"us.", b"cl."), [LOG]), LOG.verifier)


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        (tiles.TileRef(0, 0), "tile/0/000"),
        (tiles.TileRef(1, 1234067), "tile/1/x001/x234/067"),
        (tiles.TileRef(None, 1000, 7), "tile/entries/x001/000.p/7"),
        (tiles.TileRef(2, 999, 255), "tile/2/999.p/255"),
    ],
)
def test_tile_paths(ref: tiles.TileRef, path: str) -> None:
    assert ref.path == path
    assert tiles.parse_path(path) == ref


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/8/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/x002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/999",
        "tile/0/000/",
        "tile/0/000\n",
        "/tile/0/000",
        "tile/entries/",
        "tile/0/" + "x001/" * 30 + "001",
        "tile/0/٠٠٠",
    ],
)
def test_malformed_tile_paths(path: str) -> None:
    with pytest.raises(BadEncoding):
        tiles.parse_path(path)


def test_the_tiles_of_the_specifications_example() -> None:
    assert [len(list(tiles.tiles_of(70_000, level))) for level in tiles.levels_of(70_000)] == [274, 2, 1]
    widths = [list(tiles.tiles_of(70_000, level))[-1].width for level in tiles.levels_of(70_000)]
    assert widths == [112, 17, 1]
    assert [ref.path for ref in tiles.tiles_of(256, 1)] == ["tile/1/000.p/1"]
    assert list(tiles.levels_of(0)) == []


def test_bundles() -> None:
    entries = [b"a", b"", b"x" * 65535]
    data = tiles.encode_bundle(entries)
    assert tiles.parse_bundle(data, 3) == entries
    for bad, width in ((data[:-1], 3), (data + b"\0", 3), (data, 2), (data, 4), (b"\0", 1)):
        with pytest.raises(BadEncoding):
            tiles.parse_bundle(bad, width)
    with pytest.raises(ValueError):
        tiles.encode_bundle([b"x" * 65536])
    with pytest.raises(BadEncoding):
        tiles.parse_tile(bytes(33), 1)


WITNESS = [CosignatureSigner(f"w{n}.example", SigningKey.from_seed(bytes([n]) * 32), 1) for n in range(4)]
LINES = [f"log {LOG.verifier.vkey}"] + [f"witness W{n} {w.verifier.vkey}" for n, w in enumerate(WITNESS)]
NESTED = [*LINES, "group two 2 W0 W1 W2", "group all all two W3", "quorum all"]


def _policy(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("signers", "met"),
    [((0, 1, 3), True), ((0, 1, 2, 3), True), ((0, 1, 2), False), ((0, 3), False), ((), False)],
)
def test_quorums(signers: tuple[int, ...], met: bool) -> None:
    policy = parse_policy(_policy(*NESTED))
    note = open_note(add_signatures(NOTE, [WITNESS[n] for n in signers]), policy.verifiers)
    assert (policy.missing(note) is None) == met


def test_comments_blanks_and_urls_are_allowed() -> None:
    text = _policy("# comment", "", f" \tlog\t{LOG.verifier.vkey} https://us.example ", "quorum none")
    assert parse_policy(text).quorum is None
    assert parse_policy("# caf\u00e9\n".encode("latin-1") + b"quorum none\n").logs == ()


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("quorum none", "quorum none"),
        ("quorum W0",),
        ("log x", "quorum none"),
        (LINES[0], LINES[0], "quorum none"),
        (LINES[1], LINES[1].replace("W0", "W9"), "quorum none"),
        (LINES[1], LINES[2].replace("W1", "W0"), "quorum none"),
        (LINES[1].replace("W0", "none"), "quorum none"),
        (LINES[1].replace("witness W0", "log"), "quorum none"),
        (LINES[0].replace("log", "witness W0"), "quorum none"),
        (*LINES, "group g 0 W0", "quorum g"),
        (*LINES, "group g 2 W0", "quorum g"),
        (*LINES, "group g 01 W0", "quorum g"),
        (*LINES, "group g any", "quorum g"),
        (*LINES, "group g any g", "quorum g"),
        (*LINES, "group g any W0 W0", "quorum g"),
        (*LINES, "group g any W0", "group h any W0", "quorum g"),
        (*LINES, "group g any none", "quorum g"),
        ("surprise", "quorum none"),
        ("quorum none\x00",),
        ("quorum none\r",),
    ],
)
def test_malformed_policies(lines: tuple[str, ...]) -> None:
    with pytest.raises(BadPolicy):
        parse_policy(_policy(*lines))


def test_a_key_counts_once_whatever_it_is_called() -> None:
    for kind, signers in (
        ("log", [Ed25519Signer(f"n{n}.example", KEY) for n in range(2)]),
        ("log", [log_signers(f"n{n}.example", bytes(32))[1] for n in range(2)]),
        ("witness W{n}", [CosignatureSigner(f"n{n}.example", KEY, 1) for n in range(2)]),
        ("witness W{n}", [log_signers(f"n{n}.example", bytes(32))[1] for n in range(2)]),
    ):
        lines = [f"{kind.format(n=n)} {signer.verifier.vkey}" for n, signer in enumerate(signers)]
        assert parse_policy(_policy(lines[0], "quorum none"))
        with pytest.raises(BadPolicy, match="second time"):
            parse_policy(_policy(*lines, "quorum none"))


def test_a_policy_ends_in_a_newline_and_has_a_limit() -> None:
    for data in (b"quorum none", b"#" * 600_000 + b"\nquorum none\n"):
        with pytest.raises(BadPolicy):
            parse_policy(data)


def test_proof_files_have_one_form() -> None:
    proof = TlogProof(3, (bytes(32), b"\1" * 32), NOTE, b"extra")
    data = proof.to_bytes()
    assert parse_proof(data) == proof
    assert parse_proof(TlogProof(0, (), NOTE).to_bytes()) == TlogProof(0, (), NOTE)
    for bad in (
        b"",
        data.replace(b"@v1", b"@v2"),
        data.replace(b"index 3", b"index 03"),
        data.replace(b"index 3\n", b""),
        data.replace(b"AAA=\n", b"AAB=\n", 1),
        data.replace(b"AAAA", b"", 1),
        data.partition(b"\n\n")[0],
    ):
        with pytest.raises(BadEncoding):
            parse_proof(bad)


def test_seals_open_only_with_the_same_key_context_and_place() -> None:
    key, nonce = bytes(32), bytes(12)
    sealed = seal(key, Context.PAYLOAD, b"place", b"secret", nonce)
    assert open_sealed(key, Context.PAYLOAD, b"place", sealed) == b"secret"
    for args in (
        (b"\1" * 32, Context.PAYLOAD, b"place", sealed),
        (key, Context.STORAGE, b"place", sealed),
        (key, Context.PAYLOAD, b"other", sealed),
        (key, Context.PAYLOAD, b"place", sealed[:-1]),
        (key, Context.PAYLOAD, b"place", sealed[:10]),
        (key, Context.PAYLOAD, b"place", bytes([sealed[0] ^ 1]) + sealed[1:]),
    ):
        with pytest.raises(SealBroken):
            open_sealed(*args)
    private, stranger = bytes(range(32)), bytes(range(1, 33))
    boxed = seal_to(public_key(private), Context.PAYLOAD_KEY, b"place", b"secret", b"\5" * 32)
    assert open_sealed_to(private, Context.PAYLOAD_KEY, b"place", boxed) == b"secret"
    for sealed_args in (
        (stranger, Context.PAYLOAD_KEY, b"place", boxed),
        (private, Context.PAYLOAD, b"place", boxed),
        (private, Context.PAYLOAD_KEY, b"other", boxed),
        (private, Context.PAYLOAD_KEY, b"place", boxed[:40]),
        (private, Context.PAYLOAD_KEY, b"place", bytes(32) + boxed[32:]),
        (private, Context.PAYLOAD_KEY, b"place", boxed[:-1] + b"?"),
    ):
        with pytest.raises(SealBroken):
            open_sealed_to(*sealed_args)
    with pytest.raises(BadEncoding, match="low order"):
        seal_to(bytes(32), Context.PAYLOAD_KEY, b"", b"", b"\5" * 32)


def test_auditor_key_files() -> None:
    private = bytes(range(32))
    assert parse_private(format_private(private)) == private
    assert parse_public(format_public(public_key(private))) == public_key(private)
    for bad in ("", format_public(private), format_private(private) + "\n", format_private(private[:31])):
        with pytest.raises(BadAuditorKey):
            parse_private(bad)


def test_text_forms_have_one_spelling() -> None:
    assert decode_decimal("0", "n") == 0
    for bad in ("", "00", "01", "+1", "-1", "1_0", " 1", "1 ", "٣", "9" * 21, str(2**63)):
        with pytest.raises(BadEncoding):
            decode_decimal(bad, "n")
    assert decode_base64("AAE=", "b") == b"\0\1"
    for bad in ("AAE", "AAF=", "AA E=", "AAE=\n", "AA!!AAE=", "AA-_", "é"):
        with pytest.raises(BadEncoding):
            decode_base64(bad, "b")
