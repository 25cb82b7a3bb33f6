"""The documents: what they show can be run, what they cite exists, and nothing names one machine."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from crypto.contexts import Context
from node.cli.main import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HASH_LINE = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?")
NAME_LINE = re.compile(r"([a-z0-9-]+)==[0-9][0-9a-z.]* \\")
PART = r"(?:\"[^\"]+\"|\d+\b)(?:\s\([^)]*\))?"
PARTS = rf"{PART}(?:(?:,\s|\sand\s|\sto\s){PART})*"
CITATION = re.compile(rf"(specs/[\w/.-]+\.md)(?:,\s(?:sections?\s)?({PARTS}))?")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:wor[k]|roo[t]|hom[e]/[a-z]+|tmp/[w])/")


def tracked_files() -> list[Path]:
    """Every file that git knows; in a plain copy of the tree, every file outside caches."""
    git = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if git.returncode == 0:
        return [ROOT / name for name in git.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    folders = ("crypto", "protocol", "node", "specs", "tests", "examples", ".ci")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]


def texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    for path in tracked_files():
        if not suffixes or path.suffix in suffixes:
            try:
                yield str(path.relative_to(ROOT)), path.read_text()
            except UnicodeDecodeError:
                continue


def shell_lines(markdown: str) -> list[str]:
    """Command lines of all ``sh`` blocks, continued lines joined, comments dropped."""
    blocks = [body for language, body in FENCE.findall(markdown) if language == "sh"]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def concordat_commands() -> list[str]:
    documents = [README] + [path.read_text() for path in sorted((ROOT / "examples").rglob("README.md"))]
    return [line for text in documents for line in shell_lines(text) if line.startswith("concordat ")]


def headings(markdown: str) -> set[str]:
    found = re.findall(r"^#+ +(.*?) *$", markdown, re.MULTILINE)
    return {heading.replace("`", "") for heading in found}


def test_the_readme_shows_commands() -> None:
    assert len(concordat_commands()) >= 10


@pytest.mark.parametrize("line", concordat_commands())
def test_a_command_in_the_documents_exists_with_its_options(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        assert words, f"{line}: names a group, not a command"
        assert words[0] in command.commands, f"{line}: there is no {words[0]}"
        command = command.commands[words.pop(0)]
    options = {name: p for p in command.params if p.param_type_name == "option" for name in p.opts}
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    given: set[str] = set()
    positional = 0
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            assert word in options, f"{line}: no option {word}"
            given.add(str(options[word].name))
            if not options[word].is_flag:
                assert words, f"{line}: {word} wants a value"
                words.pop(0)
        else:
            positional += 1
    missing = [p.name for p in options.values() if p.required and p.name not in given]
    assert not missing, f"{line}: leaves out {missing}"
    assert positional >= sum(p.required for p in arguments), f"{line}: too few arguments"
    most = 99 if any(p.nargs == -1 for p in arguments) else len(arguments)
    assert positional <= most, f"{line}: too many arguments"


def test_the_shell_blocks_are_shell() -> None:
    for name, text in texts(".md"):
        script = "\n".join(shell_lines(text))
        run = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{name}: {run.stderr}"


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {match for line in shell_lines(README) for match in re.findall(r"^make ([a-z]+)", line)}
    assert {"demo", "test"} <= named
    assert named <= targets


def test_the_readme_shows_what_the_demo_prints() -> None:
    blocks = [body for language, body in FENCE.findall(README) if language == "text"]
    assert any("make demo" in body and len(body.splitlines()) > 10 for body in blocks)


def test_links_between_documents_lead_somewhere() -> None:
    for name, text in texts(".md"):
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in target:
                assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}"


def test_the_map_of_the_specifications_names_every_vector_file() -> None:
    map_text = (ROOT / "specs/README.md").read_text()
    named = set(re.findall(r"`(\w+\.json)`", map_text))
    assert named == {path.name for path in (ROOT / "specs/vectors").glob("*.json")}


def test_cited_sections_exist() -> None:
    checked, wrong = 0, set()
    for name, text in texts(".py"):
        if name == "tests/unit/test_documents.py":
            continue
        for document, parts in CITATION.findall(re.sub(r"\s*\n\s*", " ", text)):
            checked += 1
            if not (ROOT / document).is_file():
                wrong.add(f"{name}: there is no {document}")
                continue
            known = headings((ROOT / document).read_text())
            bare = {re.sub(r"^\d+(\.\d+)*\.? ", "", heading) for heading in known}
            numbers = {heading.split()[0].rstrip(".") for heading in known}
            for title, number in re.findall(r"\"([^\"]+)\"|(\d+)", re.sub(r"\([^)]*\)", "", parts)):
                if title.replace("`", "") not in bare and number not in numbers:
                    wrong.add(f"{name}: {document} has no section {title or number}")
    assert not wrong
    assert checked > 20


def test_nothing_names_a_path_of_one_machine() -> None:
    found = [f"{name}: {m.group()}" for name, text in texts() for m in MACHINE_PATHS.finditer(text)]
    assert not found


def test_the_lock_holds_names_versions_and_hashes_only() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    strange = [line for line in lines if not NAME_LINE.fullmatch(line) and not HASH_LINE.fullmatch(line)]
    assert not strange


def test_the_lock_covers_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += [name for extra in project["project"]["optional-dependencies"].values() for name in extra]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {re.split(r"[>=<\[]", one)[0] for one in wanted} <= locked


def test_every_purpose_has_a_name_of_its_own() -> None:
    names = [member.value for member in Context.__members__.values()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"concordat/v[1-9][0-9]*/[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
