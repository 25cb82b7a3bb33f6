"""One process at a time in a node's directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from node.config import NodePaths
from node.errors import NodeBusy, StorageFailed
from node.files import AlreadyLocked, Files


@contextlib.contextmanager
def locked_home(paths: NodePaths, files: Files) -> Iterator[None]:
    """Keep every other process out.

    Raises:
        NodeBusy: Another process has the node open.
        StorageFailed: The disk refused.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.lock(paths.lock))
        except AlreadyLocked:
            raise NodeBusy(f"another process has the node {paths.root} open") from None
        except OSError as error:
            raise StorageFailed(f"{paths.lock}: {error.strerror}") from None
        yield
