"""What an answer was computed from, in the audit of one ledger: is it what the other side was told?

Source: specs/ledger.md, section "Recomputing an answer".
"""

from __future__ import annotations

from collections.abc import Sequence

from crypto.contexts import Context, hash_fields
from protocol.audit.entries import Entry
from protocol.audit.report import Findings, Rule
from protocol.statements import Computation, QueryAnswered


def check_answers(entries: Sequence[Entry], findings: Findings) -> None:
    """The seed in escrow is the one that was committed to, and only blocks of the answer were retried."""
    for entry in entries:
        said, how = entry.shared, entry.private
        if not isinstance(said, QueryAnswered) or not isinstance(how, Computation):
            continue
        if hash_fields(Context.SEED_COMMITMENT, how.seed) != said.seed_commitment:
            what = "the seed in escrow is not the one that was committed to"
            findings.add(Rule.SEED, what, index=entry.index, blame=said.responder)
        if how.retried != sorted({index for index in how.retried if index < said.blocks}):
            what = "names a retried block twice, out of order, or beyond the answer"
            findings.add(Rule.SEED, what, index=entry.index, blame=said.responder)
