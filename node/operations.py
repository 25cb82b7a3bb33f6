"""What an operator can have a node do, by name: one table, for a served node and for one that is not.

Every operation takes the open node, a JSON object of arguments and a progress report; it gives a JSON object.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from crypto.errors import ConcordatError
from crypto.profiles import MAX_PROFILE_BYTES, Profile, load_profile
from node import succession, trust
from node.acceptance import accept_agreement, accept_peer
from node.admin import Report
from node.core import NodeCore
from node.errors import BadConfig, StorageFailed
from node.gallery_version import Staged
from node.journal import Recorded
from node.key_state import describe_keys
from node.ledger_store import POLICY, SCRATCH
from node.profiles import DIGESTS, builtin
from node.record_operations import RECORD_OPERATIONS
from node.sessions import describe_exchanges
from node.status import gallery_list, status
from protocol import statements
from protocol.agreement import read_agreement, sign_agreement
from protocol.descriptor import Descriptor, read_descriptor
from protocol.errors import BadAgreement, BadDescriptor
from protocol.log_policy import MAX_POLICY_BYTES, parse_policy
from protocol.succession import read_succession
from protocol.witnessing import witness_verifier

Operation = Callable[[NodeCore, dict[str, Any], Report], dict[str, Any]]


def text(arguments: dict[str, Any], name: str, default: str | None = None) -> str:
    """A text argument; raises ``BadConfig`` when it is missing or not text."""
    value = arguments.get(name, default)
    if not isinstance(value, str):
        raise BadConfig(f"{name}: a text is expected")
    return value


def _bytes(arguments: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(text(arguments, name), validate=True)
    except binascii.Error:
        raise BadConfig(f"{name}: base64 is expected") from None


def find_profile(core: NodeCore, name: str) -> Profile:
    """A profile by built-in name, by the name of a stored one, or by the path of a file (``.json``)."""
    if name.endswith(".json"):
        try:
            with Path(name).open("rb") as file:
                data = file.read(MAX_PROFILE_BYTES + 1)
        except OSError as error:
            raise BadConfig(f"profile {name}: {error.strerror}") from None
        profile = load_profile(data)
        core.profiles.add(profile)
        return profile
    stored = core.state.profile_named(name) if name not in DIGESTS else None
    return load_profile(stored) if stored is not None else builtin(name)


def _status(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    return {**status(core), "served": False}


def _exchanges(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    return {"exchanges": describe_exchanges(core)}


def _peer_export(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    return {
        "country": core.country,
        "descriptor": base64.b64encode(core.descriptor.note).decode(),
        "fingerprint": core.descriptor.fingerprint,
    }


def _shown_peer(descriptor: Descriptor) -> dict[str, Any]:
    fields = descriptor.fields
    return {
        "country": fields.country,
        "authority": fields.authority,
        "endpoint": fields.endpoint,
        "serial": fields.serial,
        "fingerprint": descriptor.fingerprint,
    }


def _peer_add(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    descriptor = read_descriptor(_bytes(arguments, "descriptor"))
    confirmed = text(arguments, "fingerprint", "").replace(" ", "").lower()
    if not confirmed:
        return {"accepted": False, "peer": _shown_peer(descriptor)}
    if confirmed != descriptor.fingerprint.replace(" ", ""):
        raise BadDescriptor("the descriptor has another fingerprint than the confirmed one")
    recorded = accept_peer(core, descriptor, text(arguments, "operator", "operator"))
    return {"accepted": True, "peer": _shown_peer(descriptor), "entry": recorded.index}


def _peer_show(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    wanted = text(arguments, "country", "")
    countries = [wanted] if wanted else sorted(core.roster.peers)
    shown = []
    for country in countries:
        seen = core.seen(country) if country in core.roster.peers else None
        standing = {"seen_size": seen.size if seen else 0, "suspended_for": core.suspension(country) or None}
        standing["cosigned_size"] = core.witnessing.told(country) if country in core.roster.peers else 0
        keys = [one for one in describe_keys(core.state) if one["peer"] == country]
        shown.append({**_shown_peer(core.roster.peer(country)), **standing, "keys": keys})
    return {"peers": shown}


def _peer_suspend(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    return _decided(trust.suspend, core, arguments)


def _peer_resume(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    return _decided(trust.resume, core, arguments)


def _decided(
    decide: Callable[[NodeCore, str, str, str], Recorded], core: NodeCore, arguments: dict[str, Any]
) -> dict[str, Any]:
    country = text(arguments, "country")
    recorded = decide(core, country, text(arguments, "operator", "operator"), text(arguments, "reason"))
    return {"country": country, "suspended_for": core.suspension(country) or None, "entry": recorded.index}


def _peer_witnessed(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    country = text(arguments, "country")
    core.roster.peer(country)
    size, note = core.witnessing.held(country)
    if note is None:
        raise BadConfig(f"no checkpoint of the ledger of {country} has been seen here")
    return {"country": country, "size": size, "checkpoint": note.decode()}


def _peer_succeed(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Accept a peer's successor ledger, once the fingerprint of its new descriptor is confirmed."""
    held = core.roster.peer(text(arguments, "country"))
    given = read_succession(_bytes(arguments, "succession"), held)
    shown = {
        **_shown_peer(given.descriptor),
        "previous": given.previous.name,
        "previous_size": given.last.size,
        "ledger": given.descriptor.ledger.name,
    }
    confirmed = text(arguments, "fingerprint", "").replace(" ", "").lower()
    if not confirmed:
        return {"accepted": False, "peer": shown}
    if confirmed != given.descriptor.fingerprint.replace(" ", ""):
        raise BadDescriptor("the new descriptor has another fingerprint than the confirmed one")
    recorded = succession.accept(core, given, text(arguments, "operator", "operator"))
    return {"accepted": True, "peer": shown, "entry": recorded.index}


def _ledger_witnesses(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write the ledger's policy: all peers as witnesses, third parties as given, and how many must cosign."""
    root = core.paths.ledger
    now = core.files.read(root / POLICY, MAX_POLICY_BYTES) or b""
    wanted = arguments.get("quorum")
    if wanted is not None:
        lines = [line for line in now.decode().split("\n") if line.startswith("log ")]
        for country in sorted(core.roster.peers):
            key = witness_verifier(country, core.roster.peer(country).identity)
            lines.append(f"witness {key.name} {key.vkey}")
        lines += [f"witness {one}" for one in arguments.get("third", [])]
        names = [line.split(" ")[1] for line in lines if line.startswith("witness ")]
        if wanted == "none" or not names:
            lines.append("quorum none")
        else:
            lines += [f"group witnesses {wanted} {' '.join(names)}", "quorum witnesses"]
        now = ("\n".join(lines) + "\n").encode()
        parse_policy(now)
        try:
            core.files.write_atomic(root / POLICY, now, root / SCRATCH)
        except OSError as error:
            raise StorageFailed(f"the policy could not be written: {error.strerror}") from None
    policy = parse_policy(now)
    below = core.config.below_quorum
    return {
        "quorum": policy.quorum,
        "witnesses": sorted(policy.witnesses),
        "below": below,
        "policy": now.decode(),
    }


def _ledger_succession(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    data = succession.export(core)
    return {"succession": base64.b64encode(data).decode(), "fingerprint": core.descriptor.fingerprint}


def _agreement_sign(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Add our signature if it is missing; put the agreement in force here once both have signed."""
    data = _bytes(arguments, "agreement")
    try:
        signed = core.country in read_agreement(data).signed_by
    except BadAgreement:
        signed = False
    note = data if signed else sign_agreement(data, core.country, core.keys.identity)
    agreement = read_agreement(note)
    entry = None
    if agreement.in_force:
        entry = accept_agreement(core, agreement, note, text(arguments, "operator", "operator")).index
    return {
        "agreement": base64.b64encode(note).decode(),
        "digest": agreement.digest.hex(),
        "signed_by": sorted(agreement.signed_by),
        "in_force": agreement.in_force,
        "entry": entry,
    }


def stage_gallery(core: NodeCore, arguments: dict[str, Any], profile: Profile) -> Staged:
    """The long half of an import: reads the file and writes sealed blocks; nothing counts yet."""
    return core.galleries.stage(
        Path(text(arguments, "file")), profile, text(arguments, "modality"), os.urandom
    )


def finish_gallery(core: NodeCore, arguments: dict[str, Any], staged: Staged) -> dict[str, Any]:
    """The short half: log it, then let it count. What is logged will count, at the latest after the next start."""
    made = staged.report
    core.galleries.announce(staged)
    recorded = core.record(
        statements.GalleryImported(
            exchange_id=staged.version, country=core.country, gallery_commitment=made.digest
        ),
        statements.ImportedGallery(
            modality=staged.modality,
            profile=staged.profile_digest,
            records=made.records,
            blocks=made.blocks,
            operator=text(arguments, "operator", "operator"),
        ),
    )
    core.galleries.switch(staged)
    return {
        "records": made.records,
        "blocks": made.blocks,
        "commitment": made.digest.hex(),
        "profile_digest": staged.profile_digest.hex(),
        "entry": recorded.index,
    }


def _gallery_import(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    report({"step": "sealing templates"})
    profile = find_profile(core, text(arguments, "profile"))
    return finish_gallery(core, arguments, stage_gallery(core, arguments, profile))


def reshuffle_gallery(core: NodeCore, arguments: dict[str, Any], profile: Profile) -> Staged:
    """The long half of a reshuffle."""
    return core.galleries.reshuffle(text(arguments, "modality"), profile.digest, os.urandom)


def _gallery_reshuffle(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    report({"step": "sealing templates"})
    profile = find_profile(core, text(arguments, "profile"))
    return finish_gallery(core, arguments, reshuffle_gallery(core, arguments, profile))


def _gallery_list(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    return {"galleries": gallery_list(core)}


def _profile_show(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    return show_profile(find_profile(core, text(arguments, "name")))


def show_profile(profile: Profile) -> dict[str, Any]:
    """What people want to know of a profile: everything but the arrays."""
    search = profile.search
    return {
        "name": profile.name,
        "version": profile.version,
        "modality": profile.modality,
        "fitted_on": profile.fitted_on,
        "digest": profile.digest.hex(),
        "d": profile.d,
        "n": search.n,
        "bound": search.bound,
        "norm": search.norm,
        "threshold": search.threshold,
        "gallery_norm": search.gallery_norm,
        "roots": search.roots,
        "probes": len(profile.code.steps) if profile.code else 1,
    }


OPERATIONS: Final[dict[str, Operation]] = {
    "status": _status,
    "exchanges": _exchanges,
    "peer.export": _peer_export,
    "peer.add": _peer_add,
    "peer.show": _peer_show,
    "peer.suspend": _peer_suspend,
    "peer.resume": _peer_resume,
    "peer.witnessed": _peer_witnessed,
    "peer.succeed": _peer_succeed,
    "ledger.succession": _ledger_succession,
    "ledger.witnesses": _ledger_witnesses,
    "agreement.sign": _agreement_sign,
    "gallery.import": _gallery_import,
    "gallery.reshuffle": _gallery_reshuffle,
    "gallery.list": _gallery_list,
    "profile.show": _profile_show,
    **RECORD_OPERATIONS,
}


def run_offline(directory: Path, operation: str, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Open the node in this process, perform one operation and close it.

    Raises:
        NodeBusy: It is open elsewhere, yet not served.
        ConcordatError: Whatever the operation raises.
    """
    if operation not in OPERATIONS:
        raise ConcordatError(f"no operation {operation!r}")
    with NodeCore.open(directory) as core:
        return OPERATIONS[operation](core, arguments, report)
