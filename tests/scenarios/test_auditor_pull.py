"""An auditor fetches a ledger from a served node over mutual TLS, in a role of their own, and it is logged."""

from __future__ import annotations

import inspect
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ledgers import REQUESTED, intent, result

from crypto.note import CosignatureSigner, add_signatures
from crypto.sealing import public_key
from crypto.signing import SigningKey
from node.audit_files import DirectoryReader
from node.audit_pull import LedgerWentBack, pull
from node.auditor_routes import split_payloads
from node.core import NodeCore
from node.driver import CoreThread
from node.errors import PeerMisbehaved, PeerUnavailable, UnknownCertificate
from node.peer import Address, PeerClient
from node.server import PeerServer
from node.setup import create_node, new_auditor, new_auditor_tls, read_auditor
from node.tls import trust
from protocol.audit.keys import BadAuditorKey, parse_private, parse_public_file, parse_tls
from protocol.audit.report import AuditReport, Rule
from protocol.audit.verify import verify_ledger
from protocol.errors import BadMessage
from protocol.log_policy import parse_policy
from protocol.messages import ErrorReply
from protocol.statement_parts import NoPrivatePart

PURPOSE = "lawfulness-check"


@dataclass
class Served:
    """A served node and its auditor's keys."""

    core: NodeCore
    server: PeerServer
    auditor: bytes
    tls: tuple[bytes, bytes]
    copy: Path

    async def pull(self, purpose: str = PURPOSE) -> dict[str, object]:
        return await pull(self.core.descriptor, *self.tls, self.copy, purpose)

    def audit(self) -> AuditReport:
        policy = (self.core.paths.ledger / "policy").read_bytes()
        return verify_ledger(DirectoryReader(self.copy), policy, self.auditor)

    async def get(self, path: str, tls: tuple[bytes, bytes] | None = None) -> tuple[int, bytes]:
        client = PeerClient(*(tls or self.tls), 10)
        fields = self.core.descriptor.fields
        try:
            reply = await client.send(Address("US", fields.endpoint, fields.tls_certificate), "GET", path)
        finally:
            await client.close()
        return reply.status, reply.body


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    private, public = new_auditor()
    tls, certificate = new_auditor_tls(time.time_ns() // 1_000_000)
    public_file = tmp_path / "inspector.pub"
    public_file.write_bytes(public + certificate)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"https://127.0.0.1:{probe.getsockname()[1]}"
    create_node(
        tmp_path / "node",
        country="US",
        authority="Border Protection",
        endpoint=endpoint,
        listen=endpoint,
        auditors=[read_auditor(public_file)],
        unlock_file=None,
        workers=1,
        memory_mib=64,
    )
    with NodeCore.open(tmp_path / "node") as core:
        for number in (1, 2):
            core.record(intent(number), REQUESTED)
            core.record(result(number), NoPrivatePart())
        thread = CoreThread()
        server = _server(core, thread)
        await server.start("127.0.0.1", int(endpoint.rpartition(":")[2]))
        yield Served(
            core, server, parse_private(private.decode()), parse_tls(tls.decode()), tmp_path / "copy"
        )
        await server.close()
        thread.close()


def _server(core: NodeCore, thread: CoreThread) -> PeerServer:
    """Only the auditors' routes are asked; nothing of a search is needed."""

    class Nothing:
        def __getattr__(self, name: str) -> None:
            return None

    rest = len(inspect.signature(PeerServer).parameters) - 2
    return PeerServer(core, thread, *[Nothing()] * rest)  # type: ignore[arg-type]


async def test_a_pulled_ledger_holds_and_the_reading_is_on_it(served: Served) -> None:
    told = await served.pull()
    report = served.audit()
    assert report.ok, report.findings
    assert report.size == told["size"] == 6
    assert report.statements["ledger.read"] == 1
    read = served.core.journal.open(5)
    assert read is not None
    assert read.private.model_dump() == {
        "reader": "inspector",
        "key": public_key(served.auditor),
        "purpose": PURPOSE,
    }


async def test_a_copy_is_brought_up_to_date(served: Served) -> None:
    await served.pull()
    for number in range(3, 140):
        served.core.record(intent(number), REQUESTED)
        served.core.record(result(number), NoPrivatePart())
    told = await served.pull("security")
    assert served.audit().ok
    assert served.audit().size == told["size"] == 6 + 2 * 137 + 1
    assert (served.copy / "tile" / "0" / "000").exists()


async def test_evidence_against_peers_is_fetched_too(served: Served) -> None:
    name = f"conflicts/CL-{bytes(32).hex()}"
    kept = served.core.journal.ledger.directory / name
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(b"evidence")
    (kept.parent / "notes.txt").write_bytes(b"not evidence")
    await served.pull()
    assert (served.copy / name).read_bytes() == b"evidence"
    assert [one.name for one in (served.copy / "conflicts").iterdir()] == [kept.name]
    assert (await served.get("/v1/audit/files/conflicts/notes.txt"))[0] == 400


async def test_a_copy_has_what_shows_that_the_quorum_was_met(served: Served) -> None:
    """Without the witnessed checkpoint beside the tree, a pulled copy would fail where the node's own passes."""
    witness = CosignatureSigner("w.example", SigningKey.from_seed(bytes(32)), 1)
    policy_file = served.core.paths.ledger / "policy"
    line = f"witness w.example {witness.verifier.vkey}\nquorum w.example\n".encode()
    policy_file.write_bytes(policy_file.read_bytes().replace(b"quorum none\n", line))
    _, note = served.core.journal.ledger.published()
    served.core.witnessing.take_cosigned(
        parse_policy(policy_file.read_bytes()), add_signatures(note, [witness])
    )
    accepted = served.copy / "successions" / f"CL-{bytes(32).hex()}"
    for name in ("previous-checkpoint", accepted.relative_to(served.copy)):
        target = served.core.paths.ledger / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(note)
    await served.pull()
    assert (served.copy / "cosigned").is_file()
    assert (served.copy / "previous-checkpoint").read_bytes() == note
    assert accepted.read_bytes() == note
    rules = {finding.rule for finding in served.audit().findings}
    assert Rule.CHECKPOINT_QUORUM not in rules
    (served.copy / "cosigned").unlink()
    assert Rule.CHECKPOINT_QUORUM in {finding.rule for finding in served.audit().findings}


async def test_nothing_is_served_before_the_reading_is_logged(served: Served) -> None:
    for path in ("/v1/audit/files/tile/0/000.p/5", "/v1/audit/payloads/0"):
        status, body = await served.get(path)
        assert (status, ErrorReply.from_bytes(body).code) == (403, "reading-not-announced")
    status, body = await served.get("/v1/audit/ledger?purpose=curiosity")
    assert (status, ErrorReply.from_bytes(body).code) == (400, "bad-message")
    assert served.core.journal.ledger.size == 5
    with pytest.raises(PeerMisbehaved):
        await served.pull("curiosity")


async def test_roles_are_apart(served: Served) -> None:
    status, body = await served.get("/v1/status")
    assert (status, ErrorReply.from_bytes(body).code) == (403, "unknown-certificate")
    stranger = parse_tls(new_auditor_tls(time.time_ns() // 1_000_000)[0].decode())
    with pytest.raises((PeerUnavailable, UnknownCertificate), match="our certificate"):
        await served.get("/v1/audit/ledger?purpose=security", stranger)
    assert served.server.tls is not None
    trust(served.server.tls, stranger[1])  # as that of a peer is
    status, body = await served.get("/v1/audit/ledger?purpose=security", stranger)
    assert (status, ErrorReply.from_bytes(body).code) == (403, "unknown-certificate")
    assert served.core.journal.ledger.size == 5


async def test_only_files_of_the_tree_are_served(served: Served) -> None:
    await served.get(f"/v1/audit/ledger?purpose={PURPOSE}")
    for path in ("policy", "lock", "tile/../../node.toml", "tile/0/0", "..%2f..%2fkeys/unlock", "tile/8/000"):
        assert (await served.get(f"/v1/audit/files/{path}"))[0] in (400, 404), path
    for path in ("files/tile/0/000", "files/tile/0/999", "payloads/9"):
        assert (await served.get(f"/v1/audit/{path}"))[0] == 404, path
    for name in ("-1", "01", "x", "1" * 40):
        assert (await served.get(f"/v1/audit/payloads/{name}"))[0] == 400, name


async def test_another_history_is_refused_and_the_copy_stays(served: Served) -> None:
    await served.pull()
    checkpoint = served.copy / "checkpoint"
    before = checkpoint.read_bytes()
    from crypto.note import log_signers, sign_note
    from protocol.checkpoint import Checkpoint

    signers = log_signers(served.core.config.origin, served.core.keys.ledger.seed)
    for size in (3, 100):
        held = sign_note(Checkpoint(served.core.config.origin, size, bytes(32)).to_text(), signers)
        checkpoint.write_bytes(held)
        with pytest.raises(LedgerWentBack):
            await served.pull()
        assert checkpoint.read_bytes() == held
    checkpoint.write_bytes(before)
    await served.pull()
    assert served.audit().ok


async def test_what_the_node_erased_goes_from_the_copy_and_is_kept_apart(served: Served) -> None:
    await served.pull()
    leaf = served.core.journal.leaf(1)
    served.core.journal.erase(leaf.leaf_hash)
    await served.pull()
    assert (served.copy / "withdrawn" / leaf.leaf_hash.hex()).exists()
    (finding,) = served.audit().findings
    assert (finding.rule.value, finding.index) == ("payload-missing", 1)


def test_replies_with_payloads_have_one_form() -> None:
    good = (2).to_bytes(4, "big") + b"ab" + bytes(4)
    assert split_payloads(good, 2) == [b"ab", b""]
    for data, count in ((good, 1), (good, 3), (good[:-1], 2), (good + b"x", 2), (b"\xff" * 9, 1), (b"", 1)):
        with pytest.raises(BadMessage):
            split_payloads(data, count)


def test_public_files_with_and_without_a_certificate() -> None:
    _, public = new_auditor()
    _, certificate = new_auditor_tls(1)
    assert parse_public_file(public.decode())[1] is None
    assert parse_public_file((public + certificate).decode())[1] is not None
    for text in (public + b"x", certificate, public + certificate + certificate, public + b"\n", b""):
        with pytest.raises(BadAuditorKey):
            parse_public_file(text.decode())
