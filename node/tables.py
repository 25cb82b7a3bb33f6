"""The tables of ``state.sqlite``.

A table is only ever added: what an earlier version stored is read by every later one.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

exchanges = Table(
    "exchanges",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    Column("role", String(1), primary_key=True),
    Column("peer", String(2), nullable=False),
    Column("exchange_id", LargeBinary(16), nullable=False, index=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("is_open", Integer, nullable=False, index=True),
    Column("snapshot", LargeBinary, nullable=False),
)
"""Role ``q``: we ask, the key is the exchange id. Role ``r``: we answer, the key is the hash of the query."""

spent_quotas = Table(
    "spent_quotas",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    Column("role", String(1), primary_key=True),
    Column("agreement", LargeBinary(32), nullable=False),
    Column("grant", Integer, nullable=False),
    Column("day", Integer, nullable=False),
    Index("spent_on_a_day", "agreement", "grant", "day"),
)
"""The exchanges (key and role as there) that count against the quota of a grant, on days since 1970, UTC."""

search_seeds = Table(
    "search_seeds",
    metadata,
    Column("query_hash", LargeBinary(32), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("sealed_seed", LargeBinary, nullable=False),
)

peers = Table(
    "peers",
    metadata,
    Column("country", String(2), primary_key=True),
    Column("descriptor", LargeBinary, nullable=False),
    Column("accepted_ms", BigInteger, nullable=False),
    Column("seen_size", BigInteger, nullable=False),
    Column("seen_root", LargeBinary(32), nullable=False),
    Column("seen_checkpoint", LargeBinary, nullable=False),
)

agreements = Table(
    "agreements",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("peer", String(2), nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("accepted_ms", BigInteger, nullable=False),
)

registrations = Table(
    "registrations",
    metadata,
    Column("role", String(1), primary_key=True),
    Column("exchange_id", LargeBinary(16), primary_key=True),
    Column("peer", String(2), nullable=False, index=True),
    Column("plan", LargeBinary(32), nullable=False),
    Column("epoch_days", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("is_open", Integer, nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("record", LargeBinary, nullable=False),
)
"""Registrations of evaluation keys. Role ``q``: we offer. Role ``r``: a peer offers to us. The record is sealed."""

epoch_keys = Table(
    "epoch_keys",
    metadata,
    Column("role", String(1), primary_key=True),
    Column("hash", LargeBinary(32), primary_key=True),
    Column("peer", String(2), primary_key=True),
    Column("plan", LargeBinary(32), nullable=False),
    Column("epoch_days", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("sets", Integer, nullable=False),
    Column("registered_ms", BigInteger, nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("is_gone", Integer, nullable=False),
)
"""Registered evaluation keys: ours with their sealed secret (role ``q``), those of peers, whose bytes are a body
(role ``r``). Gone: the epoch is over, the secret or the bytes are deleted."""

claims = Table(
    "claims",
    metadata,
    Column("role", String(1), primary_key=True),
    Column("key", LargeBinary(32), primary_key=True),
    Column("block", Integer, primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("peer", String(2), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("is_open", Integer, nullable=False, index=True),
    Column("record", LargeBinary, nullable=False),
)
"""Claims of hits, role and key as of their exchange. Role ``q``: we claim. Role ``r``: a peer claims. The record is
sealed."""

doubted_claims = Table(
    "doubted_claims",
    metadata,
    Column("role", String(1), primary_key=True),
    Column("peer", String(2), primary_key=True),
    Column("number", Integer, nullable=False),
)
"""How many claims did not hold since a peer was last resumed; roles as above."""

kept_evidence = Table(
    "kept_evidence",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("peer", String(2), nullable=False),
    Column("code", String(64), nullable=False),
    Column("kept_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

profiles = Table(
    "profiles",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("file", LargeBinary, nullable=False),
)

peer_standing = Table(
    "peer_standing",
    metadata,
    Column("country", String(2), primary_key=True),
    Column("stored_ms", BigInteger, nullable=False),
    Column("suspended_ms", BigInteger, nullable=False),
    Column("suspended_for", String(64), nullable=False),
)
"""When the newest checkpoint of a peer was stored, and since when and why no exchange is had with it (0, empty)."""

conflicts = Table(
    "conflicts",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("peer", String(2), nullable=False),
    Column("found_ms", BigInteger, nullable=False),
    Column("is_settled", Integer, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
)
"""Conflict files; settled once the file lies beside the ledger and the suspension is an entry."""

own_witnesses = Table(
    "own_witnesses",
    metadata,
    Column("origin", String(255), primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("witness", String(255), primary_key=True),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("stored_ms", BigInteger, nullable=False),
)
"""Checkpoints of our own ledger that others cosigned."""

contradictions = Table(
    "contradictions",
    metadata,
    Column("size", BigInteger, primary_key=True),
    Column("origin", String(255), primary_key=True),
    Column("found_ms", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),
)
"""Checkpoints that our own log signed and our ledger does not have."""

ledgers = Table(
    "ledgers",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("origin", String(255), nullable=False),
    Column("began_ms", BigInteger, nullable=False),
)
"""The ledgers that this node has written, the one in use last; exchanges belong to the one they began under."""

successions = Table(
    "successions",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("peer", String(2), nullable=False),
    Column("accepted_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""Successions of peers that the operator accepted."""

unfinished = Table(
    "unfinished",
    metadata,
    Column("exchange_id", LargeBinary(16), primary_key=True),
    Column("kind", String(32), nullable=False),
)
"""Entries that began something which is not ended yet: erasures, times below the quorum."""

kept_queries = Table(
    "kept_queries",
    metadata,
    Column("query_hash", LargeBinary(32), primary_key=True),
    Column("exchange_id", LargeBinary(16), nullable=False),
    Column("ciphertext_hash", LargeBinary(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("kept_ms", BigInteger, nullable=False),
    Column("block_hashes", LargeBinary, nullable=False),
)
"""Answered queries whose encrypted probe, a body, is kept for audits, with the hashes of the answer's blocks."""

held_exchanges = Table("held_exchanges", metadata, Column("exchange", LargeBinary(32), primary_key=True))
"""Exchanges, as in leaves, of which nothing is dropped while a legal hold is in force."""
