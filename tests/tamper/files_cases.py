"""Tiles, bundles and partials of every kind, damaged in every way; the audit has nothing but bytes and a policy."""

from __future__ import annotations

from functools import cache

from matrix import Cases, Named, single
from scribe import Files, leaves, policy_of, publish

from protocol import tiles
from protocol.audit.report import Rule

SIZES = (500, 520, 532)
RECORD = 117
"""Bytes of an entry in a bundle: two of length, 115 of leaf."""
POLICY = policy_of("US")
NAMED = 16


@cache
def large() -> Files:
    """532 entries; checkpoints at 500, 520 and 532, so that partials of both kinds are in use and superseded."""
    return publish("US", leaves(SIZES[-1]), SIZES[:-1])


def _in_use(ref: tiles.TileRef) -> bool:
    return ref.width == tiles.width_at(SIZES[-1], ref.level or 0, ref.index)


def _wrong(ref: tiles.TileRef, *offsets: int) -> list[Named]:
    """The findings for wrong hashes or entries at these offsets of a file that has its right length."""
    if not _in_use(ref):
        return [Named(Rule.SUPERSEDED_PARTIAL, ref.path)]
    first = ref.index * tiles.TILE_WIDTH
    if ref.level is None:
        return [Named(Rule.ENTRY_HASH, ref.path, first + offset) for offset in offsets[:NAMED]]
    if ref.level == 0:
        return [Named(Rule.TILE_HASH, ref.path, first + offset) for offset in offsets[:NAMED]]
    return [Named(Rule.TILE_HASH, ref.path) for _ in offsets[:NAMED]]


def _misshapen(ref: tiles.TileRef, offset: int | None, longer: bool = False) -> list[Named]:
    """The finding for a file of the wrong length; a bundle says from which entry on."""
    if longer and ref.level is not None and ref.width == tiles.TILE_WIDTH:
        return [Named(Rule.UNREADABLE_FILE, ref.path)]  # no tile is that long, so it is not even read
    if not _in_use(ref):
        return [Named(Rule.SUPERSEDED_PARTIAL, ref.path)]
    if ref.level is not None:
        return [Named(Rule.TILE_FORM, ref.path)]
    index = None if offset is None else ref.index * tiles.TILE_WIDTH + offset
    return [Named(Rule.BUNDLE_FORM, ref.path, index)]


def cases() -> Cases:
    """Every file below ``tile/``, every damage."""
    files = large()
    yield single("nothing was done", files, POLICY)
    for path in sorted(name for name in files if name.startswith("tile/")):
        yield from _of_file(files, tiles.parse_path(path))
    yield from _of_several(files)


def _of_file(files: Files, ref: tiles.TileRef) -> Cases:
    path, data, width = ref.path, files[ref.path], ref.width
    unit = RECORD if ref.level is None else 32
    items = [data[i : i + unit] for i in range(0, len(data), unit)]
    last = width - 1

    def put(name: str, changed: bytes, expected: list[Named]) -> Cases:
        assert changed != data, (name, path)
        yield single(f"{path}: {name}", files | {path: changed}, POLICY, *expected)

    for offset in sorted({0, width // 3, width // 2, last}):
        for inner in (9, unit - 1) if ref.level is None else (0, 17, 31):
            at = offset * unit + inner
            changed = data[:at] + bytes([data[at] ^ (1 << offset % 8)]) + data[at + 1 :]
            yield from put(f"flip a bit of byte {at}", changed, _wrong(ref, offset))
        zeroed = [*items[:offset], items[offset][:2] + bytes(unit - 2), *items[offset + 1 :]]
        if ref.level is not None:
            zeroed[offset] = bytes(unit)
        yield from put(f"blank item {offset}", b"".join(zeroed), _wrong(ref, offset))
    if ref.level is None:
        for offset in sorted({0, width // 2, last}):
            at = offset * unit
            for low in (0x72, 0x74, 0x00, 0xFF):
                changed = data[: at + 1] + bytes([low]) + data[at + 2 :]
                yield from put(f"length of entry {offset} becomes {low}", changed, _misshapen(ref, offset))
    yield from put("cut the last byte", data[:-1], _misshapen(ref, last))
    yield from put("cut the last item", data[:-unit], _misshapen(ref, last))
    yield from put("cut to nothing", b"", _misshapen(ref, 0))
    yield from put("one byte more", data + b"\0", _misshapen(ref, None, longer=True))
    yield from put("the last item twice", data + items[-1], _misshapen(ref, None, longer=True))
    gone = {name: kept for name, kept in files.items() if name != path}
    missing = [Named(Rule.MISSING_FILE, path)] if _in_use(ref) else []
    yield single(f"{path}: not there", gone, POLICY, *missing)
    if width < 3:
        return
    yield from put("an item dropped", b"".join(items[:1] + items[2:]), _misshapen(ref, 1))
    yield from put("an item doubled", b"".join([*items[:2], *items[1:]]), _misshapen(ref, 2, longer=True))
    yield from put("an item over another", b"".join([items[1], *items[1:]]), _wrong(ref, 0))
    swapped = [items[1], items[0], *items[2:]]
    yield from put("two items swapped", b"".join(swapped), _wrong(ref, 0, 1))
    turned = [items[2], items[0], items[1], *items[3:]]
    yield from put("three items reordered", b"".join(turned), _wrong(ref, 0, 1, 2))
    backward = items[::-1]
    wrong = [i for i in range(width) if backward[i] != items[i]]
    yield from put("all items backward", b"".join(backward), _wrong(ref, *wrong))


def _of_several(files: Files) -> Cases:
    full, other = files["tile/0/000"], files["tile/0/001"]
    yield single(
        "a full tile has the bytes of another", files | {"tile/0/000": other}, POLICY,
        *_wrong(tiles.parse_path("tile/0/000"), *range(256)),
    )  # fmt: skip
    yield single(
        "two full tiles have changed places", files | {"tile/0/000": other, "tile/0/001": full}, POLICY,
        *_wrong(tiles.parse_path("tile/0/000"), *range(256)),
        *_wrong(tiles.parse_path("tile/0/001"), *range(256)),
    )  # fmt: skip
    for kind, rule in (("0", Rule.TILE_FORM), ("entries", Rule.BUNDLE_FORM)):
        short = files[f"tile/{kind}/001.p/244"]
        index = 256 + 244 if kind == "entries" else None
        yield single(
            f"short full file: tile/{kind}/001 has the bytes of its stale partial",
            files | {f"tile/{kind}/001": short}, POLICY, Named(rule, f"tile/{kind}/001", index),
        )  # fmt: skip
        stale = files[f"tile/{kind}/002.p/8"]
        index = 512 + 8 if kind == "entries" else None
        yield single(
            f"stale partial: tile/{kind}/002.p/20 has the bytes of 002.p/8",
            files | {f"tile/{kind}/002.p/20": stale}, POLICY, Named(rule, f"tile/{kind}/002.p/20", index),
        )  # fmt: skip
    lost = {k: v for k, v in files.items() if k not in ("tile/0/002.p/20", "tile/entries/002.p/20")}
    yield single(
        "the last entries are gone, tile and bundle", lost, POLICY,
        Named(Rule.MISSING_FILE, "tile/entries/002.p/20"), Named(Rule.MISSING_FILE, "tile/0/002.p/20"),
    )  # fmt: skip
    for name in ("tile/0/000.p/256", "tile/0/0", "tile/0/000.p/07", "tile/8/000", "tile/entries/x000/000x"):
        yield single(
            f"a file that no ledger has: {name}", files | {name: full}, POLICY,
            Named(Rule.UNEXPECTED_FILE, name),
        )  # fmt: skip
    beyond = {"tile/0/002.p/21": b"junk", "tile/entries/002.p/21": b"junk", "tile/0/003": full}
    yield single("files beyond the checkpoint", files | beyond, POLICY)
    pruned = {k: v for k, v in files.items() if not k.endswith(("p/8", "p/244", "p/1"))}
    yield single("superseded partials pruned", pruned, POLICY)
