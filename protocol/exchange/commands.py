"""What the node has to do: the outputs of both sessions, in the imperative.

A node handles a step like this, in this order:

1. in one transaction: store ``session.snapshot()``, every ``RememberCheckpoint``, ``KeepEvidence``,
   ``SuspendPeer``, ``SpendQuota`` and ``ReturnQuota``;
2. perform the other commands, and feed what comes of them back as events;
3. after a restart: restore every session that is not ``finished`` and feed it ``Restarted``, which repeats
   its outstanding commands. Any command may be performed twice, and each is made so that this does no harm.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.policy import Quota
from protocol.statements import Statement


@dataclass(frozen=True)
class AppendEntry:
    """Append the entry to our own ledger; report ``EntryAppended`` or ``AppendFailed``.

    A session makes one entry of each kind, so a repetition finds the entry by exchange and kind in the ledger
    instead of appending a second one.
    """

    kind: str
    statement: Statement
    exchange_id: bytes
    time_ms: int
    not_before_ms: int


@dataclass(frozen=True)
class RememberCheckpoint:
    """Store what we have now seen of the peer's ledger; compare-and-swap: never replace a greater size."""

    peer: str
    size: int
    root: bytes
    note: bytes = field(repr=False)


@dataclass(frozen=True)
class KeepEvidence:
    """Keep what a peer sent that broke a rule (a fork, a false proof), for the operator and auditors."""

    peer: str
    code: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class SuspendPeer:
    """The peer's log contradicts itself: no exchange with it until the operator has acted.

    ``conflict`` is the file that shows it. Store both in the same transaction as the step, then write the file and
    the entry ``peer.suspended``; both may be written again.
    """

    peer: str
    conflict: bytes = field(repr=False)


@dataclass(frozen=True)
class SpendQuota:
    """This query counts against a quota from now on."""

    quota: Quota


@dataclass(frozen=True)
class ReturnQuota:
    """The peer did not accept this query: if it counted against a quota, it does so no more."""


@dataclass(frozen=True)
class DiscardBodies:
    """The exchange is over: its ciphertext and answer files may be removed."""

    exchange_id: bytes


# Requester


@dataclass(frozen=True)
class EncryptProbe:
    """Encrypt the officer's probe; report ``ProbeEncrypted``, or ``ProbeFailed`` when the probe is gone."""

    exchange_id: bytes


@dataclass(frozen=True)
class SendQuery:
    """Register the evaluation keys with the peer if it lacks them, then ``POST /v1/queries``.

    The evidence is of our entry ``entry_index``, consistent from ``evidence_from``: the size that the peer
    says it has seen of our ledger, or None for the size that we last know it has seen. Report
    ``StatusReceived``, ``ErrorReceived`` or ``PeerUnreachable``.
    """

    peer: str
    exchange_id: bytes
    query: bytes = field(repr=False)
    ciphertext_hash: bytes
    evaluation_keys: bytes
    entry_index: int
    evidence_from: int | None
    not_before_ms: int


@dataclass(frozen=True)
class FetchStatus:
    """``GET /v1/queries/{id}?seen=SIZE`` with what we have seen by then; same reports as ``SendQuery``."""

    peer: str
    exchange_id: bytes
    not_before_ms: int


@dataclass(frozen=True)
class FetchAnswer:
    """``GET /v1/queries/{id}/answer``: exactly ``answer_bytes``. Report ``AnswerFetched`` or what failed."""

    peer: str
    exchange_id: bytes
    answer_hash: bytes
    answer_bytes: int
    not_before_ms: int


@dataclass(frozen=True)
class OpenAnswer:
    """Decrypt the stored answer; report ``AnswerOpened`` or ``AnswerUnusable``."""

    exchange_id: bytes
    answer_hash: bytes
    blocks: int


@dataclass(frozen=True)
class SendReport:
    """``POST /v1/queries/{id}/result``. Report ``ReceiptReceived`` or what failed."""

    peer: str
    exchange_id: bytes
    report: bytes = field(repr=False)
    entry_index: int
    evidence_from: int | None
    not_before_ms: int


# Responder


@dataclass(frozen=True)
class StartSearch:
    """Search the gallery under fresh randomness; whatever an earlier attempt left behind is thrown away.

    Report ``SearchProgressed``, then ``SearchFinished`` or ``SearchFailed`` with the same ``attempt``.
    """

    peer: str
    exchange_id: bytes
    query_hash: bytes
    modality: str
    profile: bytes
    plan: bytes
    evaluation_keys: bytes
    ciphertext_hash: bytes
    attempt: int


@dataclass(frozen=True)
class StopSearch:
    """Stop the search; its result is no longer wanted."""

    exchange_id: bytes


Stored = RememberCheckpoint | KeepEvidence | SuspendPeer | SpendQuota | ReturnQuota
"""What is done once it is stored."""

Command = (
    AppendEntry
    | Stored
    | DiscardBodies
    | EncryptProbe
    | SendQuery
    | FetchStatus
    | FetchAnswer
    | OpenAnswer
    | SendReport
    | StartSearch
    | StopSearch
)
