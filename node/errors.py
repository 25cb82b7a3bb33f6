"""Errors of the running node. Codes are documented in specs/wire.md; none of them ever holds a secret."""

from __future__ import annotations

from crypto.errors import InputError, LocalFault, PeerFault


class BadConfig(InputError):
    """A configuration file or option that does not hold together."""

    code = "bad-config"


class NodeExists(InputError):
    """The directory already holds a node, or something else."""

    code = "node-exists"


class NoSuchNode(InputError):
    """The directory holds no node."""

    code = "no-such-node"


class NodeBusy(InputError):
    """Another process holds the node's lock."""

    code = "node-busy"


class NodeNotServed(InputError):
    """The command needs a running node: start it with ``concordat node serve DIR``."""

    code = "node-not-served"


class NoAgreement(InputError):
    """No agreement with that country covers the question."""

    code = "no-agreement"


class CalledOff(InputError):
    """The officer called a question off before an exchange was opened for it: nobody was asked, nothing is logged."""

    code = "cancelled"


class BadUpload(PeerFault):
    """A body of another length or hash than announced, or cut off half-way."""

    code = "bad-upload"


class BodyMismatch(BadUpload):
    """A whole body, but not the announced one."""

    code = "body-mismatch"


class UnknownCertificate(PeerFault):
    """The other side of a connection shows a certificate that is not pinned."""

    code = "unknown-certificate"


class PeerSuspended(PeerFault):
    """Exchanges with this peer are stopped, by evidence against its ledger or by the operator."""

    code = "peer-suspended"


class KeysNotRegistered(PeerFault):
    """No query can be asked: the peer has not registered this node's evaluation keys."""

    code = "keys-not-registered"


class PeerUnavailable(PeerFault):
    """The peer is down, stopped half-way or answered too late."""

    code = "peer-unavailable"


class PeerMisbehaved(PeerFault):
    """The peer's reply is not in a form that the protocol allows."""

    code = "peer-misbehaved"


class PeerRefused(PeerFault):
    """The peer refused with a typed error of its own."""

    code = "peer-refused"


class BelowQuorum(LocalFault):
    """Fewer witnesses than the policy asks for cosign now, and this node is configured to send nothing then."""

    code = "below-quorum"


class TooBusy(LocalFault):
    """The queue of accepted work is full; the peer may try again later."""

    code = "too-busy"


class WorkerLost(LocalFault):
    """A worker process died twice at the same piece of work."""

    code = "worker-lost"


class StorageFailed(LocalFault):
    """The disk refused a write; nothing was accepted."""

    code = "storage-failed"


class StateDamaged(LocalFault):
    """Stored state that does not restore: the node stops rather than guess."""

    code = "state-damaged"


class BadFeatureFile(InputError):
    """A feature file (npz) that is malformed, oversized or not of the expected shape."""

    code = "bad-feature-file"


class NoSuchGallery(InputError):
    """No gallery was imported for that modality and profile."""

    code = "no-such-gallery"
