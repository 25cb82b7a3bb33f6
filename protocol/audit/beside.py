"""The files beside a tree that an audit reads, and that a copy of a ledger must therefore have.

Source: specs/ledger.md, section "Auditors".
"""

from __future__ import annotations

import re
from typing import Final

from protocol.audit.head import COSIGNED
from protocol.audit.trust import PREVIOUS, SUCCESSIONS
from protocol.audit.witnesses import DIRECTORY as CONFLICTS

DIRECTORIES: Final = (CONFLICTS, SUCCESSIONS)
FILES: Final = (COSIGNED, PREVIOUS)
BESIDE_NAME: Final = re.compile(
    rf"(?:(?:{'|'.join(DIRECTORIES)})/[A-Z]{{2}}-[0-9a-f]{{64}}|{'|'.join(FILES)})\Z"
)
"""Evidence against peers and accepted successions are named by their digests; the two notes may be replaced."""
