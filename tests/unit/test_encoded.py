"""Encoded blocks in shared memory: within the budget, by gallery, and nothing of what went is left."""

from __future__ import annotations

import mmap
from itertools import pairwise

from node.encoded import Place, Shelf

PAGE = mmap.PAGESIZE
FACES, IRISES = ("face", bytes(32)), ("iris", bytes(32))
OLD, NEW = b"old", b"new"


def fill(shelf: Shelf, key: str, gallery: tuple[str, bytes] = FACES, version: bytes = OLD) -> Place | None:
    place = shelf.borrow(key, gallery, version, PAGE)
    if place is not None:
        shelf._map[place.offset : place.offset + PAGE] = key.encode() * PAGE
        shelf.give_back(key, filled=True)
    return place


def holds(shelf: Shelf) -> set[object]:
    return set(shelf._places)


def test_a_block_is_filled_once_and_then_read() -> None:
    shelf = Shelf(4 * PAGE)
    first = shelf.borrow("a", FACES, OLD, PAGE)
    assert first is not None
    assert not first.is_filled
    assert shelf.borrow("a", FACES, OLD, PAGE) is None, "nobody reads what is being written"
    shelf.give_back("a", filled=True)
    again = shelf.borrow("a", FACES, OLD, PAGE)
    assert again is first
    assert again.is_filled
    shelf.close()


def test_a_place_that_was_not_filled_is_free_again() -> None:
    shelf = Shelf(PAGE)
    assert shelf.borrow("a", FACES, OLD, PAGE) is not None
    shelf.give_back("a", filled=False)
    assert holds(shelf) == set()
    assert fill(shelf, "b") is not None
    shelf.close()


def test_blocks_of_one_gallery_do_not_push_each_other_out() -> None:
    shelf = Shelf(2 * PAGE)
    assert [fill(shelf, key) is not None for key in "abcd"] == [True, True, False, False]
    assert [fill(shelf, key) is not None for key in "abcd"] == [True, True, False, False]
    assert shelf.bytes_used == 2 * PAGE
    shelf.close()


def test_the_gallery_that_was_used_longest_ago_goes_and_its_words_with_it() -> None:
    shelf = Shelf(2 * PAGE)
    place = fill(shelf, "a", FACES)
    fill(shelf, "b", IRISES)
    assert place is not None
    third = ("face", bytes(31) + b"3")
    taken = shelf.borrow("c", third, OLD, PAGE)
    assert taken is not None
    assert taken.offset == place.offset
    assert shelf._map[place.offset : place.offset + PAGE] == bytes(PAGE)
    assert holds(shelf) == {"b", "c"}
    shelf.close()


def test_what_is_being_read_stays() -> None:
    shelf = Shelf(PAGE)
    fill(shelf, "a", FACES)
    assert shelf.borrow("a", FACES, OLD, PAGE) is not None
    assert fill(shelf, "b", IRISES) is None
    shelf.give_back("a", filled=False)
    assert holds(shelf) == {"a"}, "it was filled before"
    assert fill(shelf, "b", IRISES) is not None
    shelf.close()


def test_blocks_that_did_not_change_stay_and_those_of_the_old_version_go_first() -> None:
    shelf = Shelf(3 * PAGE)
    for key in "ab":
        fill(shelf, key, FACES, OLD)
    fill(shelf, "z", IRISES)
    fill(shelf, "b", FACES, NEW)
    assert fill(shelf, "c", FACES, NEW) is not None
    assert holds(shelf) == {"b", "c", "z"}
    shelf.close()


def test_a_block_that_is_larger_than_all_memory_has_no_place() -> None:
    shelf = Shelf(PAGE)
    fill(shelf, "a", FACES)
    assert shelf.borrow("b", IRISES, OLD, 2 * PAGE) is None
    assert holds(shelf) == {"a"}
    shelf.close()


def test_gaps_are_used_again() -> None:
    shelf = Shelf(4 * PAGE)
    for key, gallery in (("a", FACES), ("b", IRISES), ("c", FACES), ("d", IRISES)):
        fill(shelf, key, gallery)
    fill(shelf, "b", IRISES)
    big = shelf.borrow("e", IRISES, NEW, 2 * PAGE)
    assert big is not None
    assert shelf.bytes_used <= shelf.limit
    inside = sorted((p.offset, p.offset + p.length) for p in shelf._places.values())
    assert all(end <= begin for (_, end), (begin, _) in pairwise(inside))
    shelf.close()
