"""A gallery and a question for the engine, with the plain twin in place of the encryption."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from crypto.contexts import Context, hash_fields
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.plain import PlainRequester, PlainResponder
from crypto.templates import make_template
from node.blocks import BlockRef
from node.engine import SearchJob
from node.engine_worker import Scheme
from node.gallery import GalleryStore
from node.profiles import builtin
from node.state import open_engine
from node.synthetic import images, people, write_features

PLAIN = Scheme(plan_for, PlainRequester, PlainResponder, MaskStream)
PROFILE = builtin("embedding-128")
PLAN = plan_for(PROFILE.search)
SEAL_KEY = bytes(range(32))


class Gallery:
    def __init__(self, directory: Path, count: int) -> None:
        self.vectors = images(people(count, 7), 1, 8)[:, 0]
        write_features(directory / "gallery.npz", self.vectors)
        engine = open_engine(directory / "gallery.sqlite")
        store = GalleryStore(engine, directory / "gallery", SEAL_KEY)
        store.import_file(directory / "gallery.npz", PROFILE, "face", os.urandom)
        self.blocks = tuple(store.blocks("face", PROFILE.digest))
        engine.dispose()


class Asked:
    def __init__(self, directory: Path, probe: Any) -> None:
        self.requester = PlainRequester.generate(PLAN)
        data = self.requester.evaluation_keys()
        self.keys_path = directory / "keys"
        self.keys_path.write_bytes(data)
        self.keys_hash = hash_fields(Context.EVALUATION_KEYS, data)
        self.query = self.requester.encrypt(make_template(probe, PROFILE))

    def job(self, blocks: tuple[BlockRef, ...], query: bytes | None = None) -> SearchJob:
        return SearchJob(
            PROFILE.search,
            self.keys_path,
            self.keys_hash,
            self.query if query is None else query,
            secrets.token_bytes(16),
            secrets.token_bytes(32),
            blocks,
        )


def nothing(_: int, __: int) -> None:
    return None
