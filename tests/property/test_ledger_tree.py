"""Laws of the tree and the store, over random sizes, indexes, batches, restarts and failures."""

from __future__ import annotations

import errno
import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty_files import failing_at
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ledgers import filler, snapshot

from crypto import merkle
from crypto.errors import BadProof
from crypto.note import CosignatureSigner, add_signatures
from crypto.signing import SigningKey
from node.ledger_store import LedgerStore, LedgerUnavailable
from protocol import tiles
from protocol.audit.reader import MemoryReader
from protocol.audit.verify import verify_ledger
from protocol.checkpoint import TreeHead

LEAVES = [merkle.leaf_hash(b"%d" % n) for n in range(600)]
WITNESS = CosignatureSigner("witness.example", SigningKey.from_seed(bytes(32)), 1_750_000_000)
READER = merkle.list_reader(LEAVES)
ROOTS = [merkle.root(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def _slow_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 as it is written."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + _slow_root(leaves[:split]) + _slow_root(leaves[split:])).digest()


@given(st.integers(0, 600))
def test_the_compact_range_is_the_tree_of_the_rfc(size: int) -> None:
    assert ROOTS[size] == _slow_root(LEAVES[:size]) == merkle.range_root(0, size, READER)


@given(st.integers(1, 600).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_inclusion_holds_for_this_leaf_place_size_and_root_only(case: tuple[int, int]) -> None:
    size, index = case
    path = merkle.inclusion_proof(size, index, READER)
    merkle.verify_inclusion(LEAVES[index], index, size, path, ROOTS[size])
    wrong = [
        (LEAVES[index - 1] if index else LEAVES[-1], index, size, path, ROOTS[size]),
        (LEAVES[index], (index + 1) % size if size > 1 else 1, size, path, ROOTS[size]),
        (LEAVES[index], index, size, path, ROOTS[size - 1]),
        (LEAVES[index], index, size, [*path, bytes(32)], ROOTS[size]),
        (LEAVES[index], index, size, [item[:31] for item in path] or [b""], ROOTS[size]),
        (LEAVES[index], -1, size, path, ROOTS[size]),
        (LEAVES[index], size, size, path, ROOTS[size]),
    ]
    if path:
        wrong.append((LEAVES[index], index, size, path[1:], ROOTS[size]))
    for leaf, at, of, proof, root in wrong:
        with pytest.raises(BadProof):
            merkle.verify_inclusion(leaf, at, of, proof, root)


@given(st.integers(0, 600).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_consistency_holds_for_these_two_trees_only(case: tuple[int, int]) -> None:
    new, old = case
    path = merkle.consistency_proof(old, new, READER)
    merkle.verify_consistency(old, ROOTS[old], new, ROOTS[new], path)
    junk = hashlib.sha256(b"junk").digest()
    with pytest.raises(BadProof):
        merkle.verify_consistency(old, junk, new, ROOTS[new], path)
    if old:
        with pytest.raises(BadProof):
            merkle.verify_consistency(old, ROOTS[old], new, junk, path)
    with pytest.raises(BadProof):
        merkle.verify_consistency(old, ROOTS[old], new, ROOTS[new], [*path, junk])
    for position in range(len(path)):
        changed = [*path[:position], junk, *path[position + 1 :]]
        with pytest.raises(BadProof):
            merkle.verify_consistency(old, ROOTS[old], new, ROOTS[new], changed)
        shorter = path[:position] + path[position + 1 :]
        with pytest.raises(BadProof):
            merkle.verify_consistency(old, ROOTS[old], new, ROOTS[new], shorter)


@given(st.integers(0, 2**40), st.integers(0, 5))
def test_widths_add_up(size: int, level: int) -> None:
    hashes = size >> (8 * level)
    last = hashes // 256
    assert tiles.width_at(size, level, last) == hashes % 256
    assert tiles.width_at(size, level, last + 1) == 0
    if last:
        assert tiles.width_at(size, level, last - 1) == 256


class LedgerMachine(RuleBasedStateMachine):
    """Appends of any size, again and again, with restarts and disks that fail once: only ever appended to."""

    @initialize()
    def begin(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.directory = Path(self.place.name) / "ledger"
        self.next = 0
        self.fail_at = -1
        self.entries: list[bytes] = []
        self.heads: list[TreeHead] = []
        self.store = self._open()

    def _open(self) -> LedgerStore:
        files = failing_at(lambda number: number == self.fail_at, errno.EIO)
        self.files = files
        self.fail_at = -1
        return LedgerStore.open(self.directory, "us.example/ledger", bytes(32), files)

    @rule(count=st.sampled_from([1, 2, 3, 100, 255, 256, 257, 300]))
    def append(self, count: int) -> None:
        batch = [filler(n) for n in range(self.next, self.next + count)]
        self.next += count
        indexes = self.store.append_many(batch)
        assert indexes == list(range(len(self.entries), len(self.entries) + count))
        self.entries += batch

    @rule(data=st.data())
    def append_what_is_there(self, data: st.DataObject) -> None:
        if self.entries:
            index = data.draw(st.integers(0, len(self.entries) - 1))
            assert self.store.append(self.entries[index]) == index

    @rule(offset=st.integers(0, 14))
    def append_on_a_failing_disk(self, offset: int) -> None:
        self.fail_at = self.files.calls + offset
        entry = filler(self.next)
        self.next += 1
        try:
            self.store.append(entry)
        except LedgerUnavailable:
            assert self.store.append(entry) == len(self.entries)
        self.fail_at = -1
        self.entries.append(entry)

    @rule(count=st.sampled_from([1, 2, 255, 256]))
    def add_without_a_checkpoint(self, count: int) -> None:
        batch = [filler(n) for n in range(self.next, self.next + count)]
        self.next += count
        assert self.store.add_many(batch) == list(range(len(self.entries), len(self.entries) + count))
        self.entries += batch

    @rule(writers=st.integers(2, 5), publish=st.booleans())
    def write_from_several_threads(self, writers: int, publish: bool) -> None:
        batch = [filler(n) for n in range(self.next, self.next + writers)]
        self.next += writers
        with ThreadPoolExecutor(writers) as pool:
            indexes = list(pool.map(self.store.append if publish else self.store.add, batch))
        assert sorted(indexes) == list(range(len(self.entries), len(self.entries) + writers))
        self.entries += [entry for _, entry in sorted(zip(indexes, batch, strict=True))]

    @rule()
    def publish(self) -> None:
        assert self.store.publish().size == len(self.entries)

    @rule()
    def prune(self) -> None:
        self.store.prune()

    @rule(late=st.booleans())
    def take_a_cosignature(self, late: bool) -> None:
        note = add_signatures(self.store.checkpoint(), [WITNESS])
        if late:
            self.append(1)
        assert self.store.cosign(note) is not late
        if not late:
            assert self.store.checkpoint() == note

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self._open()

    @rule()
    def die_and_restart(self) -> None:
        self.store.abandon()
        self.store = self._open()

    @invariant()
    def only_appended_to(self) -> None:
        if not hasattr(self, "store"):
            return
        head = self.store.head
        assert self.store.size == len(self.entries)
        covered = self.entries[: head.size]
        assert head.root == merkle.root([merkle.leaf_hash(entry) for entry in covered])
        for old in self.heads[-3:]:
            path = self.store.consistency(old.size, head.size)
            merkle.verify_consistency(old.size, old.root, head.size, head.root, path)
        for index in {0, len(self.entries) // 2, len(self.entries) - 1} if self.entries else ():
            assert self.store.entry(index) == self.entries[index]
            assert self.store.find(self.entries[index]) == index
            if index >= head.size:
                continue
            path = self.store.inclusion(index, head.size)
            leaf = merkle.leaf_hash(self.store.entry(index))
            merkle.verify_inclusion(leaf, index, head.size, path, head.root)
        self.heads.append(head)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            files = snapshot(self.directory)
            report = verify_ledger(MemoryReader(files), files["policy"])
            assert report.ok, report.findings
            assert (report.size, report.root) == self.store.head
            self.place.cleanup()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=15, stateful_step_count=12)
