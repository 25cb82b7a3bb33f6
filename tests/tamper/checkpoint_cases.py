"""Checkpoints: their one form, their signatures, their witnesses, and what others hold of the same log."""

from __future__ import annotations

import base64
from functools import cache

from matrix import Cases, Named, single
from scribe import (
    LIAR,
    WITNESS,
    Files,
    checkpoint,
    leaves,
    origin_of,
    policy_of,
    publish,
    signers_of,
    tree,
)

from crypto import merkle
from crypto.note import CosignatureSigner, Ed25519Signer, add_signatures
from protocol.audit.report import Rule
from protocol.audit.verify import Seen

SIZE = 300
POLICY, WITNESSED = policy_of("US"), policy_of("US", witnessed=True)
FORM = Named(Rule.CHECKPOINT_FORM, "checkpoint")
SIGNATURE = Named(Rule.CHECKPOINT_SIGNATURE, "checkpoint")
QUORUM = Named(Rule.CHECKPOINT_QUORUM, "checkpoint")
ROOT = Named(Rule.ROOT, "checkpoint")
ROLLBACK = Named(Rule.ROLLBACK, "checkpoint")
FORK = Named(Rule.FORK, "checkpoint")


@cache
def _files() -> Files:
    return publish("US", leaves(SIZE), (255, 256, 257, 290))


def cases() -> Cases:
    """Every family of this file."""
    yield from _bytes()
    yield from _forms()
    yield from _keys()
    yield from _witnesses()
    yield from _claims()
    yield from _held_by_others()
    yield from _policies()


def _put(name: str, note: bytes, *expected: Named, policy: bytes = POLICY) -> Cases:
    yield single(f"checkpoint: {name}", _files() | {"checkpoint": note}, policy, *expected)


def _bytes() -> Cases:
    note = _files()["checkpoint"]
    origin, _, root, _, ed25519, mldsa = note.decode().split("\n")[:6]
    gone = {k: v for k, v in _files().items() if k != "checkpoint"}
    yield single("checkpoint: not there", gone, POLICY, Named(Rule.MISSING_FILE, "checkpoint"))
    for line, was in (("origin", origin), ("root", root)):
        for at in (0, len(was) // 2, len(was) - 3):
            changed = was[:at] + ("A" if was[at] != "A" else "B") + was[at + 1 :]
            yield from _put(
                f"{line} changed at {at}", note.replace(was.encode(), changed.encode(), 1), SIGNATURE
            )
    for other in ("299", "290", "1", "0", "301", "3000"):
        yield from _put(
            f"size becomes {other}", note.replace(b"\n300\n", f"\n{other}\n".encode(), 1), SIGNATURE
        )
    for which, line in (("Ed25519", ed25519), ("ML-DSA-44", mldsa)):
        head, _, payload = line.rpartition(" ")
        raw = base64.b64decode(payload)
        for at in (4, 20, len(raw) - 1):
            bad = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
            changed = f"{head} {base64.b64encode(bad).decode()}"
            yield from _put(
                f"{which} signature changed at {at}", note.replace(line.encode(), changed.encode()), SIGNATURE
            )
        stranger = f"{head} {base64.b64encode(bytes([raw[0] ^ 1]) + raw[1:]).decode()}"
        yield from _put(f"{which} key id changed", note.replace(line.encode(), stranger.encode()), SIGNATURE)
        yield from _put(f"{which} line taken away", note.replace(f"{line}\n".encode(), b""), SIGNATURE)
        renamed = line.replace(origin, "us.example/other")
        yield from _put(
            f"{which} line under another name", note.replace(line.encode(), renamed.encode()), SIGNATURE
        )


def _forms() -> Cases:
    note = _files()["checkpoint"]
    text, _, signatures = note.partition(b"\n\n")
    root = text.split(b"\n")[2]
    for size in (
        "0300",
        "+300",
        "3_00",
        "300 ",
        " 300",
        "-300",
        "3e2",
        "0x12c",
        "٣٠٠",
        "300.0",
        "",
        "9" * 30,
    ):
        changed = note.replace(b"\n300\n", f"\n{size}\n".encode(), 1)
        yield from _put(f"size written as {size!r}", changed, FORM)
    loose = root[:-2] + bytes([root[-2] + 1]) + b"="
    for name, changed in (
        ("without padding", root[:-1]),
        ("with too much padding", root + b"="),
        ("with loose bits", loose),
        ("with a space", root[:4] + b" " + root[4:]),
        ("with noise inside", root[:4] + b"!!" + root[4:]),
        ("in the URL alphabet", root[:3] + b"-" + root[4:]),
        ("of 31 bytes", base64.b64encode(bytes(31))),
        ("of 33 bytes", base64.b64encode(bytes(33))),
        ("empty", b""),
    ):
        yield from _put(f"root {name}", note.replace(root, changed, 1), FORM)
    for name, changed in (
        ("an extension line", text + b"\nextension\n\n" + signatures),
        ("without its size line", note.replace(b"\n300\n", b"\n", 1)),
        ("with carriage returns", note.replace(b"\n", b"\r\n")),
        ("without the last newline", note[:-1]),
        ("without the blank line", text + b"\n" + signatures),
        ("with a second blank line", note + b"\n"),
        ("with a hyphen for the dash", note.replace("—".encode(), b"-")),
        ("with a tab after the dash", note.replace("— ".encode(), "—\t".encode(), 1)),
        ("without signatures", text + b"\n\n"),
        ("of nothing", b""),
        ("of noise", bytes(range(256))),
        ("cut in a signature", note[:-40]),
        ("with a byte order mark in a signature", note.replace("— ".encode(), "— \ufeff".encode(), 1)),
        ("with a null", note.replace(b"example", b"exa\0ple", 1)),
        ("not UTF-8", note.replace(b"example", b"exa\xffple", 1)),
    ):
        expected = SIGNATURE if name.startswith("with a byte order mark") else FORM
        yield from _put(name, changed, expected)


def _keys() -> Cases:
    entries, files = leaves(SIZE), _files()
    origin = origin_of("US")
    liar = Ed25519Signer(origin, LIAR)
    yield from _put(
        "signed by another key of this name", checkpoint("US", entries, signers=[liar]), SIGNATURE
    )
    yield from _put(
        "signed by the keys of Chile", checkpoint("US", entries, signers=signers_of("CL")), SIGNATURE
    )
    yield from _put(
        "of another origin, by the right keys",
        checkpoint("US", entries, origin="us.example/second"),
        SIGNATURE,
    )
    forged = checkpoint("US", leaves(SIZE - 1), signers=[liar])
    yield from _put("another tree by another key", forged, SIGNATURE)
    extra = add_signatures(files["checkpoint"], [CosignatureSigner("stranger.example", LIAR, 1), liar])
    yield from _put("extra signatures of strangers", extra)
    yield from _put("an unasked cosignature", add_signatures(files["checkpoint"], [WITNESS]))


def _witnesses() -> Cases:
    entries = leaves(SIZE)
    good = checkpoint("US", entries, WITNESS)
    yield from _put("cosigned as the policy asks", good, policy=WITNESSED)
    yield from _put("not cosigned", _files()["checkpoint"], QUORUM, policy=WITNESSED)
    other = CosignatureSigner("w.example", LIAR, 1)
    yield from _put("cosigned by another key", checkpoint("US", entries, other), QUORUM, policy=WITNESSED)
    line = good.rstrip(b"\n").rsplit(b"\n", 1)[1]
    raw = bytearray(base64.b64decode(line.rsplit(b" ", 1)[1]))
    for name, at in (("time", 11), ("signature", 20)):
        bad = bytes(raw[:at]) + bytes([raw[at] ^ 1]) + bytes(raw[at + 1 :])
        changed = good.replace(line.rsplit(b" ", 1)[1], base64.b64encode(bad))
        yield from _put(f"cosignature with another {name}", changed, SIGNATURE, QUORUM, policy=WITNESSED)
    moved = checkpoint("US", leaves(SIZE - 1), WITNESS).rstrip(b"\n").rsplit(b"\n", 1)[1]
    yield from _put(
        "cosignature of another checkpoint", _files()["checkpoint"] + moved + b"\n", SIGNATURE, QUORUM,
        policy=WITNESSED,
    )  # fmt: skip


def _claims() -> Cases:
    """The log's own keys sign what is not so."""
    entries = leaves(SIZE)
    other = [*entries[:7], leaves(SIZE + 1)[-1], *entries[8:]]
    yield from _put("forked: signed over another entry 7", checkpoint("US", other), ROOT)
    yield from _put("signed over a blank root", checkpoint("US", entries, root=bytes(32)), ROOT)
    yield from _put("signed over the empty root", checkpoint("US", entries, root=merkle.EMPTY_ROOT), ROOT)
    yield from _put("signed with the root of 299", checkpoint("US", entries[:-1], size=300), ROOT)
    yield from _put(
        "signed with size 299, of which there never was a tile", checkpoint("US", entries, size=299),
        Named(Rule.MISSING_FILE, "tile/entries/001.p/43"), Named(Rule.MISSING_FILE, "tile/0/001.p/43"),
    )  # fmt: skip
    yield from _put("signed with size 290 over the root of 300", checkpoint("US", entries, size=290), ROOT)
    for size, tile in ((301, "001.p/45"), (400, "001.p/144"), (2**62, "001")):
        yield from _put(
            f"signed with size {size} over 300", checkpoint("US", entries, size=size),
            Named(Rule.MISSING_FILE, f"tile/entries/{tile}"), Named(Rule.MISSING_FILE, f"tile/0/{tile}"),
        )  # fmt: skip
    for kept in (255, 256, 257, 290):
        yield from _put(f"an older one, of size {kept}", checkpoint("US", entries[:kept]))
    for changed in (0, 255, 256, 299):
        forged = tree([*entries[:changed], leaves(SIZE + 1)[-1], *entries[changed + 1 :]])
        note = _files()["checkpoint"]
        yield single(
            f"all tiles rewritten around entry {changed}", forged | {"checkpoint": note}, POLICY, ROOT
        )


def _held_by_others() -> Cases:
    """An older or another checkpoint in somebody's hands; the ledger by itself is sound."""
    entries = leaves(SIZE)
    for name, kept, held in (
        ("rolled back by one", entries[:-1], SIZE),
        ("rolled back to a full tile", entries[:256], SIZE),
        ("rolled back to one entry", entries[:1], SIZE),
        ("rolled back to nothing", [], SIZE),
        ("rolled back beyond an old one", entries[:200], 290),
    ):
        seen = [Seen("CL", checkpoint("US", entries[:held]))]
        yield single(f"{name}, signed again", publish("US", kept), POLICY, ROLLBACK, seen=seen)
    stranger = leaves(SIZE + 50)
    for name, rewritten, held in (
        ("last entry replaced", [*entries[:-1], stranger[-1]], SIZE),
        ("first entry replaced", [stranger[-1], *entries[1:]], SIZE),
        ("entry replaced below an old one", [*entries[:100], stranger[-1], *entries[101:]], 290),
        ("entry dropped, others moved up", [*entries[:50], *entries[51:], stranger[-1]], SIZE),
        ("a subset, filled with others", [*entries[:100], *stranger[SIZE : SIZE + 50], *entries[100:]], SIZE),
        ("two entries swapped", [entries[1], entries[0], *entries[2:]], SIZE),
        ("an entry put in between", [*entries[:10], stranger[-1], *entries[10:]], 290),
    ):
        seen = [Seen("CL", checkpoint("US", entries[:held]))]
        expected = [FORK]
        yield single(f"{name}, signed again", publish("US", rewritten), POLICY, *expected, seen=seen)
    seen = [Seen("CL", checkpoint("US", entries[:290])), Seen("CO", checkpoint("US", entries[:1]))]
    yield single("grown since others looked", publish("US", entries), POLICY, seen=seen)
    liar = checkpoint("US", leaves(SIZE + 9), signers=[Ed25519Signer(origin_of("US"), LIAR)])
    yield single(
        "a held checkpoint that nobody signed", publish("US", entries), POLICY, seen=[Seen("CL", liar)]
    )


def _policies() -> Cases:
    policy = Named(Rule.POLICY)
    for name, text in (
        ("no policy", b""),
        ("no quorum line", POLICY.replace(b"quorum none\n", b"")),
        ("an unknown word", POLICY + b"trust everybody\n"),
        ("a vkey that is none", b"log us.example/ledger+00000000+AAAA\nquorum none\n"),
        ("noise", bytes(range(256))),
        ("an unknown quorum", POLICY.replace(b"quorum none", b"quorum nobody")),
    ):
        yield single(f"policy: {name}", _files(), text, policy, SIGNATURE)
    yield single("policy: of another country", _files(), policy_of("CL"), SIGNATURE)
    yield single(
        "vkey: of another country", _files() | {"vkey": policy_of("CL")[4:]}, POLICY, Named(Rule.VKEY, "vkey")
    )
