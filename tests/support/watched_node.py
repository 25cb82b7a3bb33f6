"""A served node with the plain twin in a process of its own, which logs all that it ever logs to standard error.

Usage: ``python watched_node.py DIR``.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from nodes import PLAIN

from node.daemon import open_daemon
from node.logging import configure


async def main(directory: Path) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    daemon = await open_daemon(directory, scheme=PLAIN)
    await stopped.wait()
    await daemon.stop()


if __name__ == "__main__":
    configure("debug")
    asyncio.run(main(Path(sys.argv[1])))
