"""Every limit of the protocol, with its reason. Lengths are in bytes, times in milliseconds.

A limit is checked before anything is allocated for what it limits.

Source: specs/wire.md, section "Limits".
"""

from __future__ import annotations

from typing import Final

SECOND: Final = 1000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

MAX_TIME_MS: Final = 253_402_300_800_000
"""Times are below the year 10000: they fit every integer type and every calendar that a peer or auditor may use."""

MAX_TERM: Final = 128
"""Characters of a purpose, offence, person category or legal basis: codes of an agreement, not prose."""

MAX_TEXT: Final = 200
"""Characters of the name of an authority, a person or a case."""

MAX_SIGNED_MESSAGE: Final = 16 * 1024
"""A signed message: the largest (a query) is about 2 KiB when every text has its greatest length."""

MAX_ENVELOPE: Final = MAX_SIGNED_MESSAGE + 256
"""A signed message with its key id and signature."""

MAX_EVIDENCE: Final = 32 * 1024
"""Evidence from a ledger: two proofs of at most 64 hashes, a checkpoint with 16 cosignatures, an opening."""

MAX_WITNESSED: Final = 16 * 1024
"""A checkpoint that comes back cosigned: two log signatures, two cosignatures, each also post-quantum."""

PAD_TO: Final = 4096
"""Reports and receipts have a multiple of this length, so that a hit and no hit look alike to the network."""

MAX_SUBMISSION: Final = MAX_ENVELOPE + MAX_EVIDENCE + MAX_WITNESSED + 2 * PAD_TO
"""One signed message with its evidence and a witnessed checkpoint."""

MAX_STATUS: Final = 2 * (MAX_ENVELOPE + MAX_EVIDENCE) + MAX_WITNESSED + 1024
"""The largest reply: a decision and an answer header, each with its evidence, and a witnessed checkpoint."""

MAX_ERROR_REPLY: Final = MAX_WITNESSED + 2 * 1024
"""An error reply: a code, a sentence, a size with its proof."""

MAX_ERROR_TEXT: Final = 300
"""Characters of the sentence in an error reply."""

MAX_QUERY_CIPHERTEXT: Final = 64 * 1024 * 1024
"""The encrypted probes of a query; 0.7 MB each in the first plan, 3 MB in one of twice the ring and primes."""

MAX_EVALUATION_KEYS: Final = 256 * 1024 * 1024
"""A set of evaluation keys; about 20 MB in the first plan."""

MIN_KEY_SETS: Final = 2
"""Sets of an offer of evaluation keys: below two nothing is opened."""

MAX_KEY_SETS: Final = 128
"""An opening with a secret for each must fit a signed message; each set costs both sides half a second."""

KEY_SETS: Final = 32
"""Sets of an offer where the agreement names no other number."""

KEY_EPOCH_DAYS: Final = 30
"""Days that evaluation keys are used where the agreement names no other number."""

MAX_KEY_EPOCH_DAYS: Final = 366
"""The longest epoch: a secret that is used for a year is worth stealing."""

MAX_KEY_OFFERS: Final = 3
"""Offers of a requester for one plan and epoch: a forged set passes with one chance in the number of sets at each."""

REGISTRATION_PERIOD: Final = 1 * DAY
"""How long a responder waits for the opening and the bytes of the set that it kept."""

MAX_BLOCK_BYTES: Final = 32 * 1024 * 1024
"""One block of an answer; 0.28 MB a probe in the first plan, of which there may be 32."""

MAX_RETRY_AFTER_S: Final = 3600
"""Seconds after which a responder without capacity may ask to be asked again."""

MAX_BLOCKS: Final = 65_535
"""Blocks of one answer: more than 10^9 candidates."""

SLOTS_PER_BLOCK: Final = 16_384
"""Candidates of one block."""

TOKENS: Final = 65_536
"""Values of a hit's token: a slot holds no more."""

MAX_HITS: Final = MAX_BLOCKS * SLOTS_PER_BLOCK
"""Hits of one answer: every slot."""

MAX_KEPT_HITS: Final = 4096
"""Hits of one answer that a requester can be configured to believe: each is kept with its session."""

CLAIM_PERIOD: Final = 30 * DAY
"""How long after its answer a hit may be claimed."""

CLAIM_REPLY_PERIOD: Final = 1 * DAY
"""How long a requester sends a claim before it counts as failed."""

CLOCK_SKEW: Final = 5 * MINUTE
"""How far a query's creation may lie from the responder's clock, before or after."""

QUERY_LIFE: Final = 5 * MINUTE
"""How long a requester of ours tries to deliver a query."""

MIN_QUERY_LIFE: Final = 10 * SECOND
"""A query that expires sooner cannot survive one retry."""

MAX_QUERY_LIFE: Final = 15 * MINUTE
"""How long after its creation a query may still be accepted; older ones need no memory."""

ANSWER_PERIOD: Final = 1 * HOUR
"""The time that a responder promises at most between acceptance and answer; restarts must fit."""

MAX_ANSWER_PERIOD: Final = 1 * DAY
"""The longest promise that a requester believes."""

FETCH_PERIOD: Final = 1 * DAY
"""How long a requester tries to fetch and open an announced answer."""

REPORT_PERIOD: Final = 1 * DAY
"""How long a requester retries its result report, and how long a responder waits for it."""

FIRST_RETRY: Final = 500
"""Wait before the first retry of a message; doubled at each retry."""

LAST_RETRY: Final = 30 * SECOND
"""The longest wait between two retries."""

POLL: Final = 250
"""Wait between two looks at an exchange that makes progress."""

MAX_STALE_RETRIES: Final = 16
"""Times that fresh evidence is made because the peer's view moved on; beyond it the query ends failed."""

MAX_SEARCH_ATTEMPTS: Final = 3
"""Times that one search is started in all: a query that kills workers must not do so for ever."""

MAX_RETRIED: Final = 64
"""Blocks of one answer that a lost worker cost a second attempt: each is named in the entry of the answer."""

MAX_DESCRIPTOR: Final = 32 * 1024
"""A node descriptor as a signed note: certificate, keys, auditors."""

MAX_AGREEMENT: Final = 256 * 1024
"""An agreement as a signed note: two descriptors and its grants."""

MAX_AUDITORS: Final = 16
"""Auditors of one node: each adds a wrapped key to every ledger payload."""

MAX_GRANTS: Final = 256
"""Grants of one agreement."""

MAX_TERMS: Final = 256
"""Entries of one list in a grant."""

MAX_AGREEMENT_TERM: Final = 20 * 366 * DAY
"""Longest validity of an agreement."""

MAX_SNAPSHOT: Final = 128 * 1024
"""A session at rest: its signed messages and its small fields."""

MAX_REGISTRATION: Final = 64 * 1024
"""A registration of keys at rest: its signed messages, and at the requester the secrets of the offered sets."""

MAX_KEY_EVIDENCE: Final = 2 * MAX_ENVELOPE + 1024
"""Evidence about a registration of keys: two signed messages and whose they are."""
