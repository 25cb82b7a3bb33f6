"""The witness and its client: races, failing disks, clocks, hostile replies, and both over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from crypto import merkle
from crypto.note import (
    CosignatureSigner,
    Ed25519Signer,
    MlDsaSigner,
    Note,
    add_signatures,
    log_signers,
    open_note,
    parse_note,
    sign_note,
    witness_signers,
)
from crypto.signing import SigningKey
from node.errors import BadConfig, NodeExists, StateDamaged
from node.files import AlreadyLocked, Files
from node.witness_client import (
    Witness,
    WitnessAhead,
    WitnessClient,
    WitnessMisbehaved,
    WitnessRefused,
    WitnessUnavailable,
    ask_for_ledger,
    read_cosignatures,
    read_size,
    witnesses_of,
)
from node.witness_server import WitnessServer
from node.witness_store import KEY, WitnessDirectory, create_witness, origin_hash
from protocol import tiles
from protocol.checkpoint import Checkpoint
from protocol.log_policy import parse_policy
from protocol.witness import AddCheckpoint, MovedOn, process

ORIGIN, NAME, SEED, NOW = "us.example/ledger", "w.example", bytes(range(32)), 1_750_000_000
LOG = log_signers(ORIGIN, bytes(32))
LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(40)]
READER = merkle.list_reader(LEAVES)


def _prove(old: int, new: int) -> list[bytes]:
    return merkle.consistency_proof(old, new, READER)


def _note(size: int, root: bytes | None = None) -> bytes:
    return sign_note(Checkpoint(ORIGIN, size, root or merkle.root(LEAVES[:size])).to_text(), LOG)


def _ask(old: int, size: int) -> bytes:
    return AddCheckpoint(old, tuple(_prove(old, size)), _note(size)).to_bytes()


def _made(directory: Path, files: Files | None = None) -> WitnessDirectory:
    create_witness(directory, NAME, SEED)
    witness = WitnessDirectory.open(directory, files)
    witness.add_logs([signer.verifier for signer in LOG])
    return witness


def _at(witness: WitnessDirectory, size: int, old: int = 0, time_s: int = NOW) -> int:
    return process(witness, _ask(old, size), witness.signers(time_s)).status


def test_a_witness_remembers(tmp_path: Path) -> None:
    with _made(tmp_path / "w") as witness:
        assert _at(witness, 5) == 200
        record = witness.latest(ORIGIN)
    with WitnessDirectory.open(tmp_path / "w") as witness:
        assert witness.latest(ORIGIN) == record == witness.by_hash(origin_hash(ORIGIN))
        assert record is not None
        known = [*(signer.verifier for signer in LOG), *witness.verifiers]
        assert len(open_note(record, known).verified) == 4
        assert [_at(witness, 9), _at(witness, 9, 5), _at(witness, 5, 5)] == [409, 200, 409]


def test_one_process_and_one_form_of_its_files(tmp_path: Path) -> None:
    with _made(tmp_path / "w"), pytest.raises(AlreadyLocked):
        WitnessDirectory.open(tmp_path / "w")
    with pytest.raises(NodeExists):
        create_witness(tmp_path / "w", NAME, SEED)
    with pytest.raises(BadConfig):
        create_witness(tmp_path / "v", "two words", SEED)
    with pytest.raises(BadConfig):
        WitnessDirectory.open(tmp_path)
    key = tmp_path / "w" / KEY
    good = key.read_bytes()
    assert SEED.hex() not in repr(WitnessDirectory)
    for bad in (b"", good[:-8], good.replace(b"-v1", b"-v2"), b"\xff" + good, good.replace(b" w", b"  w")):
        key.write_bytes(bad)
        with pytest.raises(StateDamaged):
            WitnessDirectory.open(tmp_path / "w")
    key.write_bytes(good)
    key.chmod(0o644)
    with pytest.raises(BadConfig, match="600"):
        WitnessDirectory.open(tmp_path / "w")


def test_the_same_log_key_is_not_added_twice(tmp_path: Path) -> None:
    with _made(tmp_path / "w") as witness, pytest.raises(BadConfig):
        witness.add_logs([LOG[0].verifier])


def test_a_slow_request_does_not_roll_a_fast_one_back(tmp_path: Path) -> None:
    """The race of the specification: checked against 3, put on record after somebody else put 9 there."""
    with _made(tmp_path / "w") as witness:
        assert _at(witness, 3) == 200

        class Slow:
            def __getattr__(self, name: str) -> Any:
                return getattr(witness, name)

            def replace(self, origin: str, expected: bytes | None, note: bytes) -> None:
                assert _at(witness, 9, 3) == 200
                witness.replace(origin, expected, note)

        reply = process(Slow(), _ask(3, 5), witness.signers(NOW))
        assert (reply.status, reply.body) == (409, b"9\n")
        assert _at(witness, 5, 3) == 409


def test_threads_that_race_leave_one_winner(tmp_path: Path) -> None:
    with _made(tmp_path / "w") as witness:
        assert _at(witness, 3) == 200
        record, results = witness.latest(ORIGIN), []
        barrier = threading.Barrier(8)

        def attempt(size: int) -> None:
            barrier.wait()
            try:
                witness.replace(ORIGIN, record, _note(size))
                results.append(size)
            except MovedOn:
                pass

        threads = [threading.Thread(target=attempt, args=(size,)) for size in range(10, 18)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 1
        assert witness.latest(ORIGIN) == _note_of(results[0], witness)


def _note_of(size: int, witness: WitnessDirectory) -> bytes | None:
    latest = witness.latest(ORIGIN)
    assert latest is not None
    assert parse_note(latest).text.split(b"\n")[1] == b"%d" % size
    return latest


class BrokenFiles(Files):
    """Fails at the n-th primitive that writes."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 1 << 30
        self.calls: list[str] = []

    def _step(self, name: str) -> None:
        self.calls.append(name)
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device")

    def create(self, path: Path, data: bytes) -> None:
        self._step("create")
        super().create(path, data)

    def sync(self, path: Path) -> None:
        self._step("sync")
        super().sync(path)

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename")
        super().rename(source, target)


@pytest.mark.parametrize("step", range(4))
def test_nothing_is_cosigned_that_is_not_on_the_disk(tmp_path: Path, step: int) -> None:
    files = BrokenFiles()
    with _made(tmp_path / "w", files) as witness:
        assert _at(witness, 3) == 200
        files.left, files.calls = step, []
        with pytest.raises(OSError):
            process(witness, _ask(3, 5), witness.signers(NOW))
        files.left = 1 << 30
        assert files.calls == ["create", "sync", "rename", "sync"][: step + 1]
        stored = 5 if step == 3 else 3
        assert process(witness, _ask(1, 5), witness.signers(NOW)).body == b"%d\n" % stored
        assert _at(witness, 5, stored) == 200


def test_a_clock_that_goes_back_signs_nothing(tmp_path: Path) -> None:
    with _made(tmp_path / "w") as witness:
        assert _at(witness, 3) == 200
        assert _at(witness, 5, 3, NOW - 1) == 503
        assert _at(witness, 5, 3, NOW) == 200


def test_a_record_stays_a_note_however_often_its_log_signed(tmp_path: Path) -> None:
    with _made(tmp_path / "w") as witness:
        note = parse_note(_note(3))
        many = Note(note.text, (note.signatures[0],) * 100).to_bytes()
        assert process(witness, AddCheckpoint(0, (), many).to_bytes(), witness.signers(NOW)).status == 200
        record = witness.latest(ORIGIN)
        assert record is not None
        assert len(parse_note(record).signatures) == 3


def test_strangers_lines_are_not_put_on_record(tmp_path: Path) -> None:
    stranger = CosignatureSigner("x.example", SigningKey.from_seed(bytes(32)), 1)
    with _made(tmp_path / "w") as witness:
        body = AddCheckpoint(0, (), add_signatures(_note(3), [stranger])).to_bytes()
        assert process(witness, body, witness.signers(NOW)).status == 200
        assert b"x.example" not in (witness.latest(ORIGIN) or b"")


def test_the_fork_that_is_kept_is_the_first(tmp_path: Path) -> None:
    with _made(tmp_path / "w") as witness:
        assert _at(witness, 3) == 200
        for root in (bytes(32), b"\1" * 32):
            body = AddCheckpoint(3, (), _note(3, root)).to_bytes()
            assert process(witness, body, witness.signers(NOW)).status == 422
        assert witness.forks() == [origin_hash(ORIGIN)]
        shown = (tmp_path / "w" / "forks" / f"{origin_hash(ORIGIN)}.shown").read_bytes()
        seen = (tmp_path / "w" / "forks" / f"{origin_hash(ORIGIN)}.seen").read_bytes()
        verifiers = [signer.verifier for signer in LOG]
        heads = [open_note(data, verifiers).text.split(b"\n")[:2] for data in (seen, shown)]
        assert heads[0] == heads[1]
        assert parse_note(shown).text == parse_note(_note(3, bytes(32))).text


TEXT = parse_note(_note(3)).text
KEYS = [signer.verifier for signer in witness_signers(NAME, SEED, 0)]


def _lines(*signers: Any) -> bytes:
    return b"".join(line.line() for line in parse_note(sign_note(TEXT, signers)).signatures)


def test_a_reply_counts_by_its_known_keys() -> None:
    ours = witness_signers(NAME, SEED, NOW)
    stranger = CosignatureSigner("x.example", SigningKey.from_seed(bytes(32)), NOW)
    assert len(read_cosignatures(TEXT, _lines(*ours, stranger), KEYS)) == 2
    other = MlDsaSigner(NAME, log_signers(ORIGIN, SEED)[1].key, NOW)
    for bad in (
        b"",
        b"\n",
        _lines(*ours)[:-1],
        _lines(*ours) + b"\n",
        _lines(stranger),
        _lines(other),
        _lines(*witness_signers(NAME, SEED, 0)),
        b"text\n\n" + _lines(*ours),
        _lines(*ours).replace(b"AAA", b"AAB", 1),
        _note(3),
    ):
        with pytest.raises(WitnessMisbehaved):
            read_cosignatures(TEXT, bad, KEYS)


@pytest.mark.parametrize(
    "body", [b"", b"7", b"07\n", b"7\n\n", b"-1\n", b"7 \n", b"\xff\n", b"9" * 30 + b"\n"]
)
def test_a_size_has_one_form(body: bytes) -> None:
    assert read_size(b"7\n") == 7
    with pytest.raises(WitnessMisbehaved):
        read_size(body)


Talk = Callable[[str, WitnessClient], Coroutine[Any, Any, None]]


def _served(witness: WitnessDirectory, talk: Talk, clock: float = NOW) -> None:
    async def run() -> None:
        server = WitnessServer(witness, lambda: clock)
        port = await server.start("127.0.0.1", 0)
        client = WitnessClient()
        try:
            await talk(f"http://127.0.0.1:{port}", client)
        finally:
            await client.close()
            await server.close()

    asyncio.run(run())


def test_over_http(tmp_path: Path) -> None:
    async def talk(url: str, client: WitnessClient) -> None:
        one = Witness(url, tuple(KEYS))
        assert len(await client.cosign(one, _note(3), _prove)) == 2
        # The size on record is not known here: the conflict tells it.
        assert len(await client.cosign(one, _note(9), _prove)) == 2
        with pytest.raises(WitnessAhead) as ahead:
            await client.cosign(one, _note(5), _prove)
        assert ahead.value.seen_size == 9
        with pytest.raises(WitnessRefused) as refused:
            await client.cosign(one, _note(12, bytes(32)), _prove, 9)
        assert refused.value.status == 422
        stranger = sign_note(
            Checkpoint("x.example", 3, bytes(32)).to_text(), [Ed25519Signer("x.example", LOG[0].key)]
        )
        with pytest.raises(WitnessRefused) as refused:
            await client.cosign(one, stranger, _prove)
        assert refused.value.status == 404
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/{origin_hash(ORIGIN)}/checkpoint") as response:
                assert (response.status, await response.read()) == (200, witness.latest(ORIGIN))
            for path in (
                f"/{'0' * 64}/checkpoint",
                "/..%2fwitness.key/checkpoint",
                f"/{'A' * 64}/checkpoint",
            ):
                async with session.get(url + path) as response:
                    assert response.status == 404
            async with session.post(f"{url}/add-checkpoint", data=b"x" * (1 << 20)) as response:
                assert response.status == 413
            async with session.post(f"{url}/add-checkpoint", data=_ask(0, 5)) as response:
                assert (response.status, response.headers["Content-Type"]) == (409, "text/x.tlog.size")

    with _made(tmp_path / "w") as witness:
        _served(witness, talk)


def test_a_full_disk_is_no_cosignature_over_http(tmp_path: Path) -> None:
    files = BrokenFiles()

    async def talk(url: str, client: WitnessClient) -> None:
        files.left = 0
        with pytest.raises(WitnessUnavailable):
            await client.cosign(Witness(url, tuple(KEYS)), _note(3), _prove)
        files.left = 1 << 30
        assert await client.cosign(Witness(url, tuple(KEYS)), _note(3), _prove)

    with _made(tmp_path / "w", files) as witness:
        _served(witness, talk)


def test_a_witness_that_lies_or_is_gone(tmp_path: Path) -> None:
    replies: list[web.Response] = []

    async def handler(_: web.Request) -> web.Response:
        return replies.pop(0)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/add-checkpoint", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        client = WitnessClient(5)
        one = Witness(f"http://127.0.0.1:{runner.addresses[0][1]}/", tuple(KEYS))
        size = {"content_type": "text/x.tlog.size"}
        cases: list[tuple[list[web.Response], type[Exception]]] = [
            ([web.Response(body=b"x" * (1 << 21))], WitnessMisbehaved),
            ([web.Response(body=_note(3))], WitnessMisbehaved),
            ([web.Response(status=409, body=b"1\n")], WitnessMisbehaved),
            ([web.Response(status=409, body=b"1\n", **size) for _ in range(3)], WitnessUnavailable),
            ([web.Response(status=302, headers={"Location": "http://x.example/"})], WitnessUnavailable),
            ([web.Response(status=500)], WitnessUnavailable),
        ]
        for given, error in cases:
            replies[:] = given
            with pytest.raises(error):
                await client.cosign(one, _note(3), _prove)
        await runner.cleanup()
        with pytest.raises(WitnessUnavailable):
            await client.cosign(one, _note(3), _prove)
        with pytest.raises(WitnessUnavailable):
            await client.cosign(Witness("no url", tuple(KEYS)), _note(3), _prove)
        await client.close()

    asyncio.run(run())


def _ledger(directory: Path, size: int) -> None:
    hashes: Sequence[bytes] = LEAVES[:size]
    tile = directory / tiles.tile_at(size, 0, 0).path
    tile.parent.mkdir(parents=True)
    tile.write_bytes(b"".join(hashes))
    (directory / "checkpoint").write_bytes(_note(size))


def test_a_ledger_asks_the_witnesses_of_its_policy(tmp_path: Path) -> None:
    _ledger(tmp_path / "ledger", 7)

    async def talk(url: str, client: WitnessClient) -> None:
        del client
        lines = "".join(f"log {signer.verifier.vkey}\n" for signer in LOG)
        for number, key in enumerate(KEYS):
            lines += f"witness W{number} {key.vkey} {url}\n"
        gone = CosignatureSigner("gone.example", SigningKey.from_seed(b"\7" * 32), 0).verifier
        lines += f"witness gone {gone.vkey} http://127.0.0.1:1\n"
        policy = (lines + "group both all W0 W1\nquorum both\n").encode()
        assert [len(one.keys) for one in witnesses_of(parse_policy(policy))] == [2, 1]
        asked = await ask_for_ledger(tmp_path / "ledger", policy)
        assert asked["ok"]
        assert asked["errors"] == {"http://127.0.0.1:1": "witness-unavailable"}
        assert parse_policy(policy).shortfall(asked["checkpoint"].encode()) is None
        strict = (lines + "group three all W0 W1 gone\nquorum three\n").encode()
        asked = await ask_for_ledger(tmp_path / "ledger", strict)
        assert not asked["ok"]
        assert "quorum" in asked["missing"]

    with _made(tmp_path / "w") as witness:
        assert _at(witness, 3) == 200
        _served(witness, talk)
