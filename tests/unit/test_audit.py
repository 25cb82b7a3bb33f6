"""The audit of one ledger: every damage is found and named, nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import (
    AUDITOR,
    COMPUTED,
    REQUESTED,
    START_MS,
    Country,
    accepted,
    answered,
    claimed,
    exchange_id,
    filler,
    intent,
    open_country,
    result,
    whole_exchange,
)

from crypto.contexts import Context, hash_fields
from crypto.merkle import leaf_hash
from crypto.note import CosignatureSigner, Ed25519Signer, add_signatures, sign_note
from crypto.signing import SigningKey
from node.audit_files import DirectoryReader, NoSuchEntry, prove
from protocol import statements as s
from protocol.audit.proof import parse_proof, verify_proof
from protocol.audit.reader import MemoryReader, Unreadable
from protocol.audit.report import AuditReport, Rule
from protocol.audit.verify import Seen, verify_ledger
from protocol.checkpoint import parse_checkpoint_text
from protocol.leaf import Leaf
from protocol.opening import BadOpening, verify_opening
from protocol.payload import make_entry, payload_path


@pytest.fixture
def us(tmp_path: Path) -> Country:
    return open_country(tmp_path / "us", "US")


@pytest.fixture
def cl(tmp_path: Path) -> Country:
    return open_country(tmp_path / "cl", "CL")


def _audit(files: dict[str, bytes], policy: bytes, key: bytes | None = None) -> AuditReport:
    return verify_ledger(MemoryReader(files), policy, key)


def _rules(report: AuditReport) -> set[Rule]:
    return {finding.rule for finding in report.findings}


def _large(us: Country) -> tuple[dict[str, bytes], bytes]:
    """A ledger with full tiles, partials in use and superseded ones."""
    for number in range(3):
        us.record(intent(number + 1), REQUESTED)
    us.ledger.append_many([filler(n) for n in range(260)])
    us.ledger.append_many([filler(n) for n in range(260, 270)])
    return {k: v for k, v in us.files().items() if not k.startswith("payloads")}, us.files()["policy"]


def test_a_sound_ledger_has_no_finding(us: Country, cl: Country) -> None:
    whole_exchange(us, cl, 1)
    for country in (us, cl):
        report = _audit(country.files(), country.files()["policy"], AUDITOR)
        assert report.ok
        assert report.findings == ()
        assert (report.size, report.root) == country.ledger.head
        assert report.statements["node.initialised"] == 1
    assert report.to_json()["statements"] == {
        "node.initialised": 1,
        "query.accepted": 1,
        "query.answered": 1,
        "query.claimed": 1,
    }


def test_an_empty_log_is_sound(tmp_path: Path) -> None:
    signer = Ed25519Signer("x.example/log", SigningKey.from_seed(bytes(32)))
    text = b"x.example/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    files = {"checkpoint": sign_note(text, [signer])}
    policy = f"log {signer.verifier.vkey}\nquorum none\n".encode()
    assert _audit(files, policy).ok


def test_flipped_bytes_in_tiles_of_all_kinds_are_found_and_the_file_named(us: Country) -> None:
    files, policy = _large(us)
    assert _audit(files, policy).ok
    for path in ("checkpoint", *(name for name in files if name.startswith("tile/"))):
        data = files[path]
        for position in range(0, len(data), 1 + len(data) // 16):
            _flip(files, policy, path, position, 1 << position % 8)


def test_every_flipped_byte_of_a_small_ledger(us: Country) -> None:
    for number in range(3):
        us.record(intent(number + 1), REQUESTED)
    files, policy = us.files(), us.files()["policy"]
    for path in ("checkpoint", "vkey", *(name for name in files if name.startswith("tile/"))):
        for position in range(len(files[path])):
            _flip(files, policy, path, position, 1 << position % 8)


def _flip(files: dict[str, bytes], policy: bytes, path: str, position: int, mask: int) -> None:
    changed = bytearray(files[path])
    changed[position] ^= mask
    report = _audit(files | {path: bytes(changed)}, policy)
    assert not report.ok, (path, position)
    assert path in {finding.file for finding in report.findings}, (path, position, report.findings)


def test_one_wrong_file_is_one_finding(us: Country) -> None:
    """Whatever else disagrees with a changed file follows from it; only the file itself is named."""
    files, policy = _large(us)
    superseded = {"tile/0/001.p/8", "tile/entries/001.p/8"}
    for path in (name for name in files if name.startswith("tile/")):
        data = files[path]
        gone = {name: kept for name, kept in files.items() if name != path}
        whole = [bytes([data[0] ^ 1]) + data[1:], data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]]
        for changed in [gone] + [files | {path: one} for one in (*whole, data[:-1], data + b"x")]:
            found = [(finding.rule, finding.file) for finding in _audit(changed, policy).findings]
            if changed is gone and path in superseded:
                assert found == []
            else:
                assert [file for _, file in found] == [path], found


def test_files_changed_to_agree_with_each_other_are_both_named(us: Country) -> None:
    """The tile above knows better, and where superseded partials remember, so does the audit."""
    files, policy = _large(us)
    for number, entry, named in (("000", 100, [None, 0]), ("001.p/18", 2, [258, 258])):
        bundle, tile = f"tile/entries/{number}", f"tile/0/{number}"
        forged = files[bundle][: entry * 117 + 2] + filler(999) + files[bundle][(entry + 1) * 117 :]
        hashes = files[tile][: entry * 32] + leaf_hash(filler(999)) + files[tile][(entry + 1) * 32 :]
        report = _audit(files | {bundle: forged, tile: hashes}, policy)
        assert [(f.rule, f.file, f.index) for f in report.findings] == [
            (Rule.TILE_HASH, tile, named[0]),
            (Rule.ENTRY_HASH, bundle, named[1]),
        ]


def test_several_wrong_files_are_several_findings(us: Country) -> None:
    files, policy = _large(us)
    changed = dict(files)
    places = {"tile/entries/000": 40, "tile/0/000": 64, "tile/0/001.p/18": 5, "tile/entries/001.p/18": 150}
    for path, at in places.items():
        changed[path] = files[path][:at] + bytes([files[path][at] ^ 1]) + files[path][at + 1 :]
    report = _audit(changed, policy)
    assert sorted(f.file or "" for f in report.findings) == sorted(places)
    assert {f.index for f in report.findings} == {0, 2, 256, 257}


def test_a_changed_entry_and_a_changed_hash_are_told_apart(us: Country) -> None:
    files, policy = _large(us)
    for bundle, tile, entry, offset in (
        ("tile/entries/000", "tile/0/000", 7, 7),
        ("tile/entries/001.p/18", "tile/0/001.p/18", 260, 4),
    ):
        changed = bytearray(files[bundle])
        changed[offset * 117 + 40] ^= 1
        report = _audit(files | {bundle: bytes(changed)}, policy)
        (finding,) = report.findings
        assert finding.rule == Rule.ENTRY_HASH
        assert (finding.file, finding.index) == (bundle, entry)
        assert finding.where == f"{bundle}, {tile} hash {offset}, entry {entry}"
        changed = bytearray(files[tile])
        changed[offset * 32] ^= 1
        report = _audit(files | {tile: bytes(changed)}, policy)
        (finding,) = report.findings
        assert (finding.rule, finding.file, finding.index) == (Rule.TILE_HASH, tile, entry)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("checkpoint", Rule.MISSING_FILE),
        ("tile/entries/000", Rule.MISSING_FILE),
        ("tile/0/000", Rule.MISSING_FILE),
        ("tile/0/001.p/18", Rule.MISSING_FILE),
        ("tile/1/000.p/1", Rule.MISSING_FILE),
        ("tile/entries/001.p/18", Rule.MISSING_FILE),
    ],
)
def test_a_file_that_is_gone_is_named(us: Country, path: str, rule: Rule) -> None:
    files, policy = _large(us)
    del files[path]
    report = _audit(files, policy)
    assert (rule, path) in {(f.rule, f.file) for f in report.findings}


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("tile/entries/000", Rule.BUNDLE_FORM),
        ("tile/0/000", Rule.TILE_FORM),
        ("tile/1/000.p/1", Rule.TILE_FORM),
        ("checkpoint", Rule.CHECKPOINT_FORM),
    ],
)
def test_files_cut_short_or_made_longer(us: Country, path: str, rule: Rule) -> None:
    files, policy = _large(us)
    for data in (files[path][:-1], files[path] + b"\0", b"", files[path] * 2):
        report = _audit(files | {path: data}, policy)
        assert path in {f.file for f in report.findings}, data[-40:]
        assert _rules(report) & {rule, Rule.UNREADABLE_FILE}


def test_a_tile_larger_than_any_tile_is_not_read(us: Country) -> None:
    files, policy = _large(us)
    report = _audit(files | {"tile/0/000": bytes(9000)}, policy)
    assert (Rule.UNREADABLE_FILE, "tile/0/000") in {(f.rule, f.file) for f in report.findings}


def test_superseded_partials_may_stay_but_not_differ(us: Country) -> None:
    files, policy = _large(us)
    assert {"tile/0/001.p/8", "tile/0/001.p/18"} <= set(files)
    short = files["tile/0/001.p/18"][:96]
    assert _audit(files | {"tile/0/001.p/3": short}, policy).ok
    report = _audit(files | {"tile/0/001.p/3": short[:-1] + b"?"}, policy)
    assert [(f.rule, f.file) for f in report.findings] == [(Rule.SUPERSEDED_PARTIAL, "tile/0/001.p/3")]


def test_a_full_tile_stands_in_for_a_partial_one(us: Country) -> None:
    us.ledger.append_many([filler(n) for n in range(200)])
    old = us.files()["checkpoint"]
    us.ledger.append_many([filler(n) for n in range(200, 300)])
    files = us.files()
    assert "tile/0/000.p/201" not in files
    report = verify_ledger(MemoryReader(files | {"checkpoint": old}), files["policy"])
    assert report.ok
    assert report.size == 201


def test_files_beyond_the_checkpoint_are_no_finding_and_foreign_names_are(us: Country) -> None:
    files, policy = _large(us)
    assert _audit(files | {"tile/entries/001.p/19": b"junk", "tile/0/001.p/19": b"junk"}, policy).ok
    report = _audit(files | {"tile/0/001.p/018": b"", "tile/8/000": b""}, policy)
    assert [f.rule for f in report.findings] == [Rule.UNEXPECTED_FILE] * 2


def test_a_checkpoint_that_claims_a_vast_tree_ends_soon(us: Country) -> None:
    signer = us.ledger._signer
    text = b"us.example/ledger\n9223372036854775807\n" + b"A" * 43 + b"=\n"
    files = {"checkpoint": sign_note(text, [signer]), "tile/0/x999/x999/x999/x999/x999/999": b"x"}
    report = _audit(files, us.files()["policy"])
    assert Rule.MISSING_FILE in _rules(report)


def test_unknown_signatures_are_no_finding(us: Country) -> None:
    files = us.files()
    stranger = SigningKey.from_seed(b"\x09" * 32)
    note = add_signatures(
        files["checkpoint"],
        [
            CosignatureSigner("stranger.example", stranger, 1),
            Ed25519Signer("us.example/ledger", stranger),
        ],
    )
    assert _audit(files | {"checkpoint": note}, files["policy"]).ok


def test_witnesses_of_the_policy_must_have_cosigned_and_rightly(us: Country) -> None:
    files = us.files()
    witness = CosignatureSigner("w.example", SigningKey.from_seed(b"\x08" * 32), 1)
    policy = f"{files['vkey'].decode().strip()}"
    policy_bytes = f"log {policy}\nwitness w {witness.verifier.vkey}\nquorum w\n".encode()
    assert _rules(_audit(files, policy_bytes)) == {Rule.CHECKPOINT_QUORUM}
    note = add_signatures(files["checkpoint"], [witness])
    assert _audit(files | {"checkpoint": note}, policy_bytes).ok
    forged = note.replace(b"w.example ", b"w.example ", 1)
    lying = CosignatureSigner("w.example", SigningKey.from_seed(b"\x07" * 32), 1)
    line = note.rsplit(b" ", 1)[0] + b" "
    from crypto.textforms import encode_base64

    payload = encode_base64(witness.key_id + lying.sign(note.partition(b"\n\n")[0] + b"\n")).encode()
    forged = line + payload + b"\n"
    assert _rules(_audit(files | {"checkpoint": forged}, policy_bytes)) == {
        Rule.CHECKPOINT_SIGNATURE,
        Rule.CHECKPOINT_QUORUM,
    }


def test_another_log_than_the_policys_is_found(us: Country, cl: Country) -> None:
    report = _audit(us.files(), cl.files()["policy"])
    assert {Rule.CHECKPOINT_SIGNATURE, Rule.VKEY} <= _rules(report)
    assert Rule.POLICY in _rules(_audit(us.files(), b"no policy"))


def test_rollback_and_fork_show_against_what_others_saw(us: Country, tmp_path: Path) -> None:
    us.ledger.append(filler(1))
    seen = us.files()["checkpoint"]
    us.ledger.append(filler(2))
    files = us.files()
    assert verify_ledger(MemoryReader(files), files["policy"], seen=[Seen("CL", seen)]).ok
    other = open_country(tmp_path / "twin", "US")
    short = other.files()
    other.ledger.append(filler(3))
    other.ledger.append(filler(4))
    forked = other.files()
    report = verify_ledger(MemoryReader(forked), files["policy"], seen=[Seen("CL", seen)])
    assert _rules(report) == {Rule.FORK}
    assert "CL" in report.findings[0].what
    report = verify_ledger(MemoryReader(short), files["policy"], seen=[Seen("CL", seen)])
    assert _rules(report) == {Rule.ROLLBACK}


def test_entries_that_are_no_leaves_and_duplicates_are_named(us: Country) -> None:
    us.ledger.append(b"not a leaf")
    report = _audit(us.files(), us.files()["policy"])
    assert [(f.rule, f.index) for f in report.findings] == [(Rule.ENTRY_FORM, 1)]
    assert verify_ledger(MemoryReader(us.files()), us.files()["policy"], statements=False).ok


def test_a_clock_that_went_back_is_named(us: Country) -> None:
    us.now_ms = START_MS - 3_600_000
    us.record(intent(1), REQUESTED)
    report = _audit(us.files(), us.files()["policy"], AUDITOR)
    assert [(f.rule, f.index) for f in report.findings] == [(Rule.CLOCK_BACKWARD, 1)]


def test_payloads_missing_changed_and_moved(us: Country) -> None:
    one = us.record(intent(1), REQUESTED)
    two = us.record(intent(2), REQUESTED)
    files, policy = us.files(), us.files()["policy"]
    path, other = payload_path(one.leaf.leaf_hash), payload_path(two.leaf.leaf_hash)

    def only(changed: dict[str, bytes]) -> tuple[Rule, int | None, str | None]:
        (finding,) = _audit(changed, policy, AUDITOR).findings
        return finding.rule, finding.index, finding.file

    missing = dict(files)
    del missing[path]
    assert only(missing) == (Rule.PAYLOAD_MISSING, one.index, path)
    assert only(files | {path: files[other]}) == (Rule.PAYLOAD_SEAL, one.index, path)
    assert only(files | {path: files[path][:-1]}) == (Rule.PAYLOAD_FORM, one.index, path)
    assert _audit(missing, policy).ok, "without the key payloads are not looked at"
    rules = set()
    for position in range(len(files[path])):
        changed = bytearray(files[path])
        changed[position] ^= 1
        report = _audit(files | {path: bytes(changed)}, policy, AUDITOR)
        rules |= _rules(report)
        # The node's own copy of the key is nothing an auditor can check.
        node_key = files[path].index(b"node_key") + len(b"node_key") + 2
        if not node_key <= position < node_key + 60:
            assert not report.ok or "not sealed to this auditor" in " ".join(report.unchecked), position
    assert {Rule.PAYLOAD_SEAL, Rule.PAYLOAD_FORM} <= rules


def test_a_payload_that_does_not_match_its_commitment_is_named(us: Country) -> None:
    """A node that seals another text than it committed to."""
    statement = s.Statement(intent(1), REQUESTED)
    random = __import__("ledgers").counter_random("liar")
    leaf, _, opening = make_entry(statement, START_MS, bytes(32), [], random)
    lying = Leaf(exchange=leaf.exchange, time_ms=leaf.time_ms, commitment=hash_fields(Context.COMMITMENT))
    with pytest.raises(BadOpening):
        verify_opening(lying, opening)
    assert verify_opening(leaf, opening) == statement.shared


@pytest.mark.parametrize(
    ("build", "rule", "words"),
    [
        (lambda c: [c.record(answered(1), COMPUTED)], Rule.ORDER, "no query.accepted before it"),
        (
            lambda c: [c.record(answered(1), COMPUTED), c.record(accepted(1, bytes(32)))],
            Rule.ORDER,
            "no query.accepted before it",
        ),
        (lambda c: [c.record(claimed(1))], Rule.ORDER, "no query.accepted or query.refused"),
        (
            lambda c: [
                c.record(accepted(1, bytes(32))),
                c.record(answered(1, query_hash=bytes(32)), COMPUTED),
            ],
            Rule.QUERY_CHANGED,
            "another query_hash",
        ),
        (lambda c: [c.record(intent(1), REQUESTED)], Rule.FOREIGN_STATEMENT, "of US on the ledger of CL"),
    ],
)
def test_order_rules_of_the_answering_side(cl: Country, build: object, rule: Rule, words: str) -> None:
    build(cl)  # type: ignore[operator]
    report = _audit(cl.files(), cl.files()["policy"], AUDITOR)
    assert rule in _rules(report)
    assert any(words in finding.what and finding.blame == "CL" for finding in report.findings)


def test_a_result_needs_its_intent_before_it(us: Country) -> None:
    us.record(result(1))
    us.record(intent(1), REQUESTED)
    report = _audit(us.files(), us.files()["policy"], AUDITOR)
    assert [(f.rule, f.index) for f in report.findings] == [(Rule.ORDER, 1)]


def test_reports_say_what_was_not_checked(us: Country) -> None:
    words = " ".join(_audit(us.files(), us.files()["policy"]).unchecked)
    assert "no auditor's key" in words
    assert "no witness" in words
    other_key = bytes(range(32))
    assert "not sealed to this auditor" in " ".join(
        _audit(us.files(), us.files()["policy"], other_key).unchecked
    )


def test_reading_a_directory(us: Country, tmp_path: Path) -> None:
    us.record(intent(1), REQUESTED)
    reader = DirectoryReader(us.directory)
    assert verify_ledger(reader, us.files()["policy"], AUDITOR).ok
    tile = us.directory / "tile" / "0" / "000.p" / "2"
    tile.unlink()
    tile.symlink_to(tmp_path)
    report = verify_ledger(reader, us.files()["policy"])
    assert Rule.UNREADABLE_FILE in _rules(report)
    assert not verify_ledger(DirectoryReader(tmp_path / "nowhere"), us.files()["policy"]).ok


def test_an_unreadable_directory_is_a_finding(us: Country) -> None:
    class Unlistable(MemoryReader):
        def list(self, prefix: str) -> list[str]:
            raise Unreadable("cannot be listed")

    report = verify_ledger(Unlistable(us.files()), us.files()["policy"], AUDITOR)
    named = {finding.file for finding in report.findings if finding.rule == Rule.UNREADABLE_FILE}
    assert named == {"tile", "conflicts"}


def test_proof_files(us: Country) -> None:
    us.ledger.append_many([filler(n) for n in range(300)])
    reader = DirectoryReader(us.directory)
    for index in (0, 1, 255, 256, 300):
        proof = parse_proof(prove(reader, index).to_bytes())
        head = verify_proof(proof, us.ledger.entry(index), us.ledger.verifier).head
        assert head == us.ledger.head
    with pytest.raises(NoSuchEntry):
        prove(reader, 301)
    assert parse_checkpoint_text(us.files()["checkpoint"].partition(b"\n\n")[0] + b"\n").size == 301
    assert exchange_id(1) != exchange_id(2)
