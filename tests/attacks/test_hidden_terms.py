"""The other party drafts an agreement. What an operator is shown before signing must be all that it says."""

from __future__ import annotations

from pathlib import Path

from parties import DAY, NOW, agreement, grant
from typer.testing import CliRunner

from node.cli.main import app
from protocol.agreement import Grant
from protocol.tomltext import time_text


def shown(file: Path, text: bytes) -> str:
    file.write_bytes(text)
    ran = CliRunner().invoke(app, ["agreement", "show", str(file)])
    assert ran.exit_code == 0
    return ran.stdout


def test_every_field_of_a_grant_and_its_time_are_shown(tmp_path: Path) -> None:
    end = NOW + 20 * 365 * DAY - DAY
    given = agreement(grant(profile_digest=bytes([0xAB]) * 32, queries_per_day=4711), not_after_ms=end)
    text = shown(tmp_path / "agreement.toml", given.text)
    (one,) = given.fields.grants
    for name in Grant.model_fields:
        value = getattr(one, name)
        for item in value if isinstance(value, list) else [value]:
            assert (item.hex() if isinstance(item, bytes) else str(item)) in text, name
    assert time_text(given.fields.not_before_ms) in text
    assert time_text(end) in text


def test_no_limit_is_said(tmp_path: Path) -> None:
    assert "queries a day: without limit" in shown(tmp_path / "agreement.toml", agreement().text)
