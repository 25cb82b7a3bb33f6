"""The node's directory and its ``node.toml``.

Layout of a node directory (0700; every file 0600)::

    node.toml        this configuration
    lock             held by the one process that has the node open
    keys/            sealed keys and what unlocks them
    descriptor       the node's own signed descriptor, made anew when the configuration changes
    state.sqlite     exchanges, peers, agreements
    gallery/         sealed blocks
    exchange/        evaluation keys and answers, by hash
    ledger/          C2SP tiles, ``checkpoint``, ``vkey``, ``policy``
    ledger-N/        a successor ledger; the configuration says which one is in use
    admin.sock       while the node is served
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from node.errors import BadConfig, NoSuchNode

FORMAT: Final = "concordat-node-v1"
MAX_CONFIG_BYTES: Final = 64 * 1024
_ENDPOINT = re.compile(
    r"https://(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]{2,45}\]):(?P<port>[0-9]{1,5})\Z"
)
_COUNTRY = re.compile(r"[A-Z]{2}\Z")


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of ``https://host:port``; raises ``BadConfig`` on anything else."""
    found = _ENDPOINT.match(endpoint)
    if found is None or not 0 < int(found["port"]) < 65536 or str(int(found["port"])) != found["port"]:
        raise BadConfig(f"an endpoint has the form https://host:port, not {endpoint[:80]!r}")
    return found["host"].strip("[]"), int(found["port"])


class AuditorConfig(BaseModel):
    """Who may open this node's ledger payloads, and with a TLS certificate also fetch the ledger.

    Attributes:
        name: Of the auditor, as the ledger names its readers.
        key: Hex of an X25519 public key.
        certificate: Base64 of a TLS client certificate (DER); empty for an auditor who cannot connect.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")]
    certificate: Annotated[str, Field(max_length=8192, pattern=r"^[A-Za-z0-9+/]*={0,2}\z")] = ""


class GalleryConfig(BaseModel):
    """How galleries are laid out.

    Attributes:
        padding: Of their number of blocks: up to the next size class, or none.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    padding: Literal["classes", "none"] = "classes"


class NodeConfig(BaseModel):
    """What the operator decides about one node. Unknown names are errors."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    format: Literal["concordat-node-v1"] = FORMAT
    country: str
    authority: Annotated[str, Field(min_length=1, max_length=200)]
    endpoint: str
    listen: str
    origin: Annotated[str, Field(pattern=r"^[!-*,-~]{1,200}\z")]
    ledger: Annotated[str, Field(pattern=r"^ledger(-[1-9][0-9]{0,5})?\z")] = "ledger"
    auditors: list[AuditorConfig] = []
    gallery: GalleryConfig = GalleryConfig()
    retention: dict[str, Annotated[int, Field(ge=1, le=36_525)]] = {}
    """Days that payloads are kept, by legal basis; what is not named here is kept for ever."""
    unlock_file: str = "keys/unlock"
    workers: Annotated[int, Field(ge=1, le=256)] = 2
    memory_mib: Annotated[int, Field(ge=64, le=4_194_304)] = 2048
    max_waiting_queries: Annotated[int, Field(ge=1, le=10_000)] = 16
    peer_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 30
    below_quorum: Literal["refuse", "degrade"] = "degrade"
    register_ahead: bool = True
    """Register evaluation keys with every peer that may be asked before anybody asks; else with the first query."""
    keep_queries_days: Annotated[int, Field(ge=0, le=3_650)] = 30
    """Days that the encrypted probe of an answered query is kept, so that its answer can be recomputed; 0 is none."""
    keep_queries_mib: Annotated[int, Field(ge=0, le=4_194_304)] = 1024
    """For all kept probes together, 0.73 MiB each; the oldest go first."""
    max_hits: Annotated[int, Field(ge=1, le=4096)] = 1024
    """Hits that an answer may have before it is not believed at all."""
    max_failed_claims: Annotated[int, Field(ge=1, le=1000)] = 3
    """Hits that a peer may leave unconfirmed, and answers that the guards reject, before it is asked no more."""
    max_refused_claims: Annotated[int, Field(ge=1, le=1000)] = 3
    """Claims of a peer that may be refused before it is answered no more."""
    answer_timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    gossip_seconds: Annotated[int, Field(ge=0, le=86_400)] = 600
    """How often peers are asked what they hold of others; 0 is never."""
    cadence_seconds: Annotated[int, Field(ge=0, le=86_400)] = 3600
    """At every multiple of so many seconds the ledger has a multiple of ``cadence_entries`` entries; 0 is off."""
    cadence_entries: Annotated[int, Field(ge=4, le=1024)] = 16

    @field_validator("country")
    @classmethod
    def _country(cls, value: str) -> str:
        if not _COUNTRY.match(value):
            raise ValueError("a country is two capital letters (ISO 3166-1)")
        return value

    @field_validator("authority")
    @classmethod
    def _authority(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("the authority's name holds characters that do not print")
        return value

    @field_validator("endpoint", "listen")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        try:
            split_endpoint(value)
        except BadConfig as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("auditors")
    @classmethod
    def _auditors(cls, value: list[AuditorConfig]) -> list[AuditorConfig]:
        if len(value) > 16 or len({one.key for one in value}) != len(value):
            raise ValueError("at most 16 auditors, each once")
        return value

    @property
    def auditor_keys(self) -> list[bytes]:
        """The auditors' public X25519 keys, 32 bytes each."""
        return [bytes.fromhex(one.key) for one in self.auditors]

    def to_toml(self) -> bytes:
        """The bytes of ``node.toml``."""
        return tomli_w.dumps(self.model_dump()).encode()


def parse_config(data: bytes) -> NodeConfig:
    """Read ``node.toml``; raises ``BadConfig`` with the name of the bad setting."""
    if len(data) > MAX_CONFIG_BYTES:
        raise BadConfig(f"node.toml is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        return NodeConfig.model_validate(tomllib.loads(data.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(f"node.toml is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadConfig(f"node.toml, {where}: {first['msg']}") from None


class NodePaths:
    """Where the parts of a node directory are."""

    def __init__(self, directory: Path) -> None:
        # Not resolve(): a path through a link stays what the operator typed.
        self.root = directory.absolute()
        self.config = self.root / "node.toml"
        self.lock = self.root / "lock"
        self.keys = self.root / "keys"
        self.descriptor = self.root / "descriptor"
        self.state = self.root / "state.sqlite"
        self.gallery = self.root / "gallery"
        self.exchange = self.root / "exchange"
        self.ledger = self.root / "ledger"
        self.payloads = self.root / "payloads"
        self.admin_socket = self.root / "admin.sock"

    def read_config(self) -> NodeConfig:
        """The configuration; raises ``NoSuchNode`` or ``BadConfig``."""
        try:
            with self.config.open("rb") as file:
                data = file.read(MAX_CONFIG_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise NoSuchNode(f"{self.root} holds no node; make one with: concordat node init") from None
        except OSError as error:
            raise NoSuchNode(f"{self.config}: {error.strerror}") from None
        config = parse_config(data)
        self.ledger = self.root / config.ledger
        return config


def default_workers() -> int:
    """One worker for each core this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def default_memory_mib() -> int:
    """Half of the memory of this machine, and 1 GiB at least."""
    return max(1024, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 21)
