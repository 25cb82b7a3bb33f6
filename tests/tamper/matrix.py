"""What a case of the tampering matrix is, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ledgers import AUDITOR

from protocol.agreement import Agreement
from protocol.audit.reader import MemoryReader
from protocol.audit.reconcile import reconcile
from protocol.audit.report import Finding, Rule
from protocol.audit.verify import LedgerInput, Seen, verify_ledger

Key = tuple[str, str | None, int | None, str | None]


@dataclass(frozen=True)
class Named:
    """The finding that a case must give: all four must be right."""

    rule: Rule
    file: str | None = None
    index: int | None = None
    blame: str | None = None

    @property
    def key(self) -> Key:
        """For comparison."""
        return (self.rule.value, self.file, self.index, self.blame)


@dataclass(frozen=True)
class Case:
    """One ledger, or several, that somebody tampered with.

    Attributes:
        name: Which damage, where.
        inputs: What the audit is given beside the bytes of the ledger.
        findings: Does the audit.
        expected: Exactly the findings that must come of it; empty for a control, which is no tampering.
    """

    name: str
    inputs: str
    findings: Callable[[], Sequence[Finding]]
    expected: tuple[Named, ...]

    def judge(self) -> tuple[bool, bool, list[Key]]:
        """Whether anything was found, whether exactly what was expected, and what it was."""
        found = [(one.rule.value, one.file, one.index, one.blame) for one in self.findings()]
        named = sorted(found, key=str) == sorted((one.key for one in self.expected), key=str)
        return bool(found), named, found


def single(
    name: str,
    files: dict[str, bytes],
    policy: bytes,
    *expected: Named,
    key: bool = False,
    seen: Sequence[Seen] = (),
) -> Case:
    """A case of one ledger."""
    inputs = ["bytes", "policy"] + ["auditor's key"] * key + ["older checkpoint"] * bool(seen)

    def findings() -> Sequence[Finding]:
        return verify_ledger(MemoryReader(files), policy, AUDITOR if key else None, seen).findings

    return Case(name, ", ".join(inputs), findings, expected)


def together(
    name: str,
    ledgers: dict[str, tuple[dict[str, bytes], bytes]],
    *expected: Named,
    agreements: Sequence[Agreement] = (),
) -> Case:
    """A case of several ledgers; findings within one of them count as well."""

    def findings() -> Sequence[Finding]:
        given = {
            code: LedgerInput(MemoryReader(files), policy, AUDITOR)
            for code, (files, policy) in ledgers.items()
        }
        report = reconcile(given, agreements=agreements)
        return [*report.findings, *(f for one in report.ledgers.values() for f in one.findings)]

    inputs = "bytes, policy, auditor's key, peer's ledger" + ", agreement" * bool(agreements)
    return Case(name, inputs, findings, expected)


Cases = Iterator[Case]
