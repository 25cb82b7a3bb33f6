"""The tables that say which galleries count."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table

VERSION_BYTES: Final = 16
SALT_BYTES: Final = 32

metadata = MetaData()

partitions = Table(
    "gallery_partitions",
    metadata,
    Column("modality", String(16), primary_key=True),
    Column("profile_digest", LargeBinary(32), primary_key=True),
    Column("profile_name", String(48), nullable=False),
    Column("version", LargeBinary(VERSION_BYTES), nullable=False),
    Column("salt", LargeBinary(SALT_BYTES), nullable=False),
    Column("n", Integer, nullable=False),
    Column("records", Integer, nullable=False),
)

blocks = Table(
    "gallery_blocks",
    metadata,
    Column("version", LargeBinary(VERSION_BYTES), primary_key=True),
    Column("block_index", Integer, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False),
)

imports = Table(
    "gallery_imports",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("modality", String(16), nullable=False),
    Column("profile_name", String(48), nullable=False),
    Column("profile_digest", LargeBinary(32), nullable=False),
    Column("version", LargeBinary(VERSION_BYTES), nullable=False),
    Column("salt", LargeBinary(SALT_BYTES), nullable=False),
    Column("n", Integer, nullable=False),
    Column("records", Integer, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
)
"""Versions that are complete and about to be logged: whether they count, the ledger says."""
