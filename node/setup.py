"""Making a node: its directory, keys, certificate, configuration and first descriptor."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Any, Final

from crypto.sealing import public_key
from node.config import AuditorConfig, NodeConfig, NodePaths, split_endpoint
from node.errors import BadConfig, NodeExists, StorageFailed
from node.files import Files
from node.keys import NodeKeys, create_keys, read_unlock
from node.tls import new_tls_key, self_signed
from protocol.audit.keys import (
    format_certificate,
    format_private,
    format_public,
    format_tls,
    parse_public_file,
)
from protocol.descriptor import Auditor, Descriptor, DescriptorFields, sign_descriptor

MAX_AUDITOR_FILE: Final = 16 * 1024


def new_auditor() -> tuple[bytes, bytes]:
    """The private and the public file of a new auditor."""
    private = os.urandom(32)
    return format_private(private).encode(), format_public(public_key(private)).encode()


def new_auditor_tls(now_ms: int) -> tuple[bytes, bytes]:
    """A TLS key with its certificate, as a private file, and the line for the public file."""
    key = new_tls_key()
    certificate = self_signed(
        key, "XX", "auditor.invalid", now_ms, int.from_bytes(os.urandom(16), "big") >> 1
    )
    return format_tls(key, certificate).encode(), format_certificate(certificate).encode()


def read_auditor(path: Path) -> AuditorConfig:
    """Read a public auditor file; the auditor is called by the file's name. Raises ``BadConfig``."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_AUDITOR_FILE + 1)
        key, certificate = parse_public_file(data.decode())
    except OSError as error:
        raise BadConfig(f"auditor {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadConfig(f"auditor {path}: not a text file") from None
    shown = "" if certificate is None else base64.b64encode(certificate).decode()
    return AuditorConfig(name=path.stem, key=key.hex(), certificate=shown)


def create_node(
    directory: Path,
    *,
    country: str,
    authority: str,
    endpoint: str,
    listen: str,
    auditors: list[AuditorConfig],
    unlock_file: Path | None,
    workers: int,
    memory_mib: int,
    cadence_seconds: int | None = None,
    register_ahead: bool | None = None,
    files: Files | None = None,
) -> dict[str, Any]:
    """Make a node in a directory that does not exist or is empty, with its first ledger entry.

    Returns:
        ``directory, country, fingerprint, auditors`` (how many).

    Raises:
        NodeExists: The directory is not empty.
        BadConfig: A setting that does not hold.
        StorageFailed: The disk refused; remove the directory and try again.
    """
    os.umask(0o077)
    files = files or Files()
    host, port = split_endpoint(endpoint)
    split_endpoint(listen)
    settings: dict[str, Any] = {
        "country": country,
        "authority": authority,
        "endpoint": endpoint,
        "listen": listen,
        "origin": f"{host}:{port}/ledger",
        "auditors": [one.model_dump() for one in auditors],
        "workers": workers,
        "memory_mib": memory_mib,
    }
    if cadence_seconds is not None:
        settings["cadence_seconds"] = cadence_seconds
    if register_ahead is not None:
        settings["register_ahead"] = register_ahead
    if unlock_file is not None:
        settings["unlock_file"] = str(unlock_file.absolute())
    config = _checked(settings)
    if unlock_file is not None and not unlock_file.absolute().parent.is_dir():
        raise BadConfig(f"unlock file: there is no directory {unlock_file.absolute().parent}")
    if unlock_file is not None and unlock_file.exists():
        read_unlock(unlock_file)
    paths = NodePaths(directory)
    try:
        paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(paths.root.iterdir()):
            raise NodeExists(f"{paths.root} is not empty")
        paths.root.chmod(0o700)
        paths.keys.mkdir(mode=0o700)
        keys = create_keys(paths.keys, paths.root / config.unlock_file, files)
        now_ms = int(time.time() * 1000)
        certificate = self_signed(
            keys.tls_key, config.country, host, now_ms, int.from_bytes(os.urandom(16), "big") >> 1
        )
        descriptor = make_descriptor(config, keys, certificate, 1, now_ms)
        files.write_atomic(paths.descriptor, descriptor.note)
        # The configuration comes last: a directory with a node.toml is a node.
        files.write_atomic(paths.config, config.to_toml())
    except OSError as error:
        raise StorageFailed(f"{error.filename or paths.root}: {error.strerror}") from None
    from node.core import NodeCore

    with NodeCore.open(directory, files=files):
        pass
    return {
        "directory": str(paths.root),
        "country": config.country,
        "fingerprint": descriptor.fingerprint,
        "auditors": len(config.auditors),
    }


def _checked(settings: dict[str, Any]) -> NodeConfig:
    """Through the text form, so that what is written is what will be read."""
    import tomli_w

    from node.config import parse_config

    return parse_config(tomli_w.dumps({"format": "concordat-node-v1", **settings}).encode())


def make_descriptor(
    config: NodeConfig, keys: NodeKeys, certificate: bytes, serial: int, now_ms: int
) -> Descriptor:
    """Sign a descriptor that says what the configuration says."""
    from crypto.note import log_signers

    first, second = log_signers(config.origin, keys.ledger.seed)
    fields = DescriptorFields(
        country=config.country,
        authority=config.authority,
        endpoint=config.endpoint,
        serial=serial,
        issued_ms=now_ms // 1000 * 1000,
        identity_key=keys.identity.verify_key.public,
        ledger_vkey=first.verifier.vkey,
        ledger_mldsa=second.verifier.vkey,
        tls_certificate=certificate,
        auditors=[Auditor(name=one.name, key=bytes.fromhex(one.key)) for one in config.auditors],
    )
    return sign_descriptor(fields, keys.identity)
