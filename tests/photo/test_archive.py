"""Tests that a ZIP gives its photos and nothing else, whatever it claims."""

from __future__ import annotations

import io
import struct
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

from photo import archive
from photo.archive import MAX_ENTRIES, Unpacked, has_zip, safe_name, unique_names, unpack
from photo.errors import ImageError
from photo.images import read_photo
from photo.limits import MAX_PHOTOS


def picture(format: str = "PNG", color: str = "red", size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, format)
    return file.getvalue()


PICTURE = picture()
Entries = Iterable[tuple[str | zipfile.ZipInfo, bytes]]


def packed(entries: Entries, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in entries:
            made.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def taken(tmp_path: Path) -> Callable[[bytes], Unpacked]:
    """Unpacks the bytes of a ZIP, and checks that nothing is written outside of its folder."""

    def taken(content: bytes) -> Unpacked:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "photos.zip").write_bytes(content)
        folder = tmp_path / "in" / "out"
        folder.mkdir()
        try:
            return unpack(tmp_path / "in" / "photos.zip", folder)
        finally:
            assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
            assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["out", "photos.zip"]

    return taken


def names(unpacked: Unpacked) -> list[str]:
    return [file.name for file in unpacked.files]


def refused(taken: Callable[[bytes], Unpacked], content: bytes) -> str:
    with pytest.raises(ImageError) as refusal:
        taken(content)
    return str(refusal.value)


def left_out(taken: Callable[[bytes], Unpacked], entry: str | zipfile.ZipInfo, content: bytes) -> str:
    """Returns the only note about a ZIP with a good photo and this entry."""
    unpacked = taken(packed([("good.png", PICTURE), (entry, content)]))
    assert names(unpacked) == ["good.png"]
    (note,) = unpacked.notes
    return note


def test_photos_come_out_as_they_were_in_the_order_of_the_zip(taken: Callable[[bytes], Unpacked]) -> None:
    contents = {"b.jpg": picture("JPEG"), "sub/a.PNG": PICTURE, "c.webp": picture("WEBP")}
    unpacked = taken(packed(contents.items()))
    assert names(unpacked) == ["b.jpg", "a.png", "c.webp"] and unpacked.notes == ()
    assert [file.read_bytes() for file in unpacked.files] == list(contents.values())
    assert read_photo(unpacked.files[1]).size == (30, 40)


def test_the_content_tells_what_a_picture_is_and_not_the_name(taken: Callable[[bytes], Unpacked]) -> None:
    assert names(taken(packed([("photo", picture("GIF")), ("x.jpg", b"plain text")]))) == ["photo.gif"]


@pytest.mark.parametrize("format", ["AVIF", "BMP", "TIFF", "GIF", "JPEG", "PNG", "WEBP"])
def test_every_format_is_recognised(taken: Callable[[bytes], Unpacked], format: str) -> None:
    (file,) = taken(packed([("one", picture(format))])).files
    assert read_photo(file).format.upper() == format


def test_what_systems_add_and_hidden_files_are_skipped_in_silence(taken: Callable[[bytes], Unpacked]) -> None:
    others = ["__MACOSX/._a.png", ".hidden.png", "x/.git/b.png", "Thumbs.db", "d/desktop.ini", "folder/"]
    unpacked = taken(packed([("a.png", PICTURE), *((name, PICTURE) for name in others)]))
    assert names(unpacked) == ["a.png"] and unpacked.notes == ()


@pytest.mark.parametrize(
    "name", ["../a.png", "x/../../a.png", "..\\a.png", "/etc/a.png", "C:\\a.png", "\\\\host\\a.png"]
)
def test_a_name_that_points_outside_is_left_out(taken: Callable[[bytes], Unpacked], name: str) -> None:
    assert left_out(taken, name, PICTURE) == (
        "“a.png” was left out: it has a name that points outside of the ZIP."
    )


@pytest.mark.parametrize("kind", [0o120777, 0o060644, 0o020644, 0o010644], ids=oct)
def test_a_link_and_other_things_are_left_out(taken: Callable[[bytes], Unpacked], kind: int) -> None:
    entry = zipfile.ZipInfo("link.png")
    entry.create_system, entry.external_attr = 3, kind << 16
    assert "is a link or another thing that is no file" in left_out(taken, entry, b"/etc/passwd")


def test_a_zip_in_the_zip_is_left_out(taken: Callable[[bytes], Unpacked]) -> None:
    inner = packed([("a.png", PICTURE)])
    assert "is a ZIP itself; please send it by itself" in left_out(taken, "inner.png", inner)


def test_what_is_no_picture_is_left_out_in_one_sentence(taken: Callable[[bytes], Unpacked]) -> None:
    others = [(f"{k}.txt", b"text") for k in range(5)]
    (note,) = taken(packed([("a.png", PICTURE), *others])).notes
    assert note == (
        "5 files were left out (“0.txt”, “1.txt”, “2.txt” and 2 more), because each is no picture."
    )


def test_equal_names_get_numbers(taken: Callable[[bytes], Unpacked]) -> None:
    colors = ["red", "green", "blue"]
    entries = zip(["a.png", "x/A.png", "a.png"], map(lambda color: picture(color=color), colors), strict=True)
    with pytest.warns(UserWarning, match="Duplicate"):
        content = packed(entries)
    unpacked = taken(content)
    assert names(unpacked) == ["a.png", "A-2.png", "a-3.png"]
    assert [read_photo(file).pixels[0, 0].argmax() for file in unpacked.files] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.jpg", "a"),
        ("Ünï (2)_x-y.jpg", "Ünï (2)_x-y"),
        ('a<b>:"|?*\n.jpg', "a_b"),
        ("…", "photo"),
        ("", "photo"),
        (".jpg", "jpg"),
        ("..", "photo"),
        ("x" * 300, "x" * 60),
        ("a/b\\c.tar.gz", "c_tar"),
        ("\u202egpj.exe", "gpj"),
    ],
)
def test_a_name_becomes_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_unique_names_do_not_meet_each_other() -> None:
    assert unique_names(["a", "a", "a-2", "A"]) == ["a", "a-2", "a-2-2", "A-3"]


def locked(content: bytes) -> bytes:
    """Sets the flag "encrypted" of the last entry, in both of its headers."""
    changed = bytearray(content)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = changed.rindex(mark) + place
        changed[at] |= 1
    return bytes(changed)


def test_a_locked_photo_is_left_out(taken: Callable[[bytes], Unpacked]) -> None:
    unpacked = taken(locked(packed([("a.png", PICTURE), ("b.png", PICTURE)])))
    assert names(unpacked) == ["a.png"]
    assert unpacked.notes == (
        "“b.png” was left out: it is locked with a password; please unpack it and send the photos.",
    )


def test_an_unusual_compression_is_left_out(taken: Callable[[bytes], Unpacked]) -> None:
    content = packed([("a.png", PICTURE)], zipfile.ZIP_LZMA)
    assert "compressed in a way that is not read" in refused(taken, content)


def bomb(size: int) -> bytes:
    """The start of a PNG, and then `size` zeros."""
    return PICTURE[:64] + bytes(size)


def test_a_bomb_is_not_unpacked(
    taken: Callable[[bytes], Unpacked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 3 << 20)
    content = packed([("bomb.png", bomb(30 << 20)), ("a.png", PICTURE)])
    assert len(content) < 100_000
    unpacked = taken(content)
    assert names(unpacked) == ["a.png"]
    assert unpacked.notes == ("“bomb.png” was left out: it is larger than 3 MB when it is unpacked.",)
    assert [path.name for path in (tmp_path / "in" / "out").iterdir()] == ["a.png"]


def test_photos_that_are_too_large_together_are_left_out(
    taken: Callable[[bytes], Unpacked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_MANY_BYTES", 5 << 20)
    unpacked = taken(packed([(f"{k}.png", bomb(2 << 20)) for k in range(4)]))
    assert names(unpacked) == ["0.png", "1.png"]
    (note,) = unpacked.notes
    assert "because each would make the photos larger than 5 MB together" in note


def test_a_size_that_lies_gives_no_more_than_it_claims(taken: Callable[[bytes], Unpacked]) -> None:
    content = bytearray(packed([("a.png", PICTURE), ("b.png", bomb(1 << 20))]))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.rindex(mark) + place, 1000)
    unpacked = taken(bytes(content))
    assert names(unpacked) == ["a.png"]
    assert unpacked.notes == ("“b.png” was left out: it is damaged.",)


def test_no_more_than_so_many_photos_are_taken(taken: Callable[[bytes], Unpacked]) -> None:
    unpacked = taken(packed([(f"{k}.png", PICTURE) for k in range(MAX_PHOTOS + 5)]))
    assert len(unpacked.files) == MAX_PHOTOS
    (note,) = unpacked.notes
    assert note.startswith("5 files were left out (“50.png”") and "after the first 50 photos" in note


@pytest.mark.parametrize("count", [MAX_ENTRIES + 1, 100_000])
def test_too_many_entries_are_refused_at_once(taken: Callable[[bytes], Unpacked], count: int) -> None:
    content = many_entries(count)
    start = time.perf_counter()
    assert refused(taken, content) == "This ZIP holds too many files. Please use one with at most 50 photos."
    assert time.perf_counter() - start < 2


def many_entries(count: int) -> bytes:
    """Returns a ZIP whose list names the same photo many times, made by hand because `zipfile` is slow."""
    one = packed([("a.png", PICTURE)])
    start = one.index(b"PK\x01\x02")
    end = one.index(b"PK\x05\x06")
    listed = one[start:end] * count
    tail = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), len(listed), start, 0
    )
    return one[:start] + listed + tail


def test_entries_that_share_their_data_stay_below_the_limits(taken: Callable[[bytes], Unpacked]) -> None:
    try:
        unpacked = taken(many_entries(200))
    except ImageError as error:  # newer releases of Python refuse such entries
        assert "was left out" in str(error) or "were left out" in str(error)
    else:
        assert len(unpacked.files) <= MAX_PHOTOS


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"PK\x03\x04" + bytes(100), packed([("a.png", PICTURE)])[:-30], PICTURE],
    ids=["empty", "two letters", "zeros", "cut off", "a picture"],
)
def test_what_is_no_whole_zip_is_damaged(taken: Callable[[bytes], Unpacked], content: bytes) -> None:
    assert refused(taken, content) == ("This ZIP is damaged or incomplete. Please make or download it again.")


def test_damage_anywhere_ends_in_a_sentence(tmp_path: Path) -> None:
    good = packed([("a.png", PICTURE), ("b.jpg", picture("JPEG", size=(200, 200)))])
    places = range(0, len(good), 3)
    for place in places:
        content = bytearray(good)
        content[place] ^= 0xFF
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "x.zip").write_bytes(content)
        (folder / "out").mkdir()
        try:
            unpacked = unpack(folder / "x.zip", folder / "out")
        except ImageError as error:
            assert str(error).endswith(".") and len(str(error)) < 500
        else:
            assert set((folder / "out").iterdir()) == set(unpacked.files)


def test_names_that_are_no_text_are_refused(taken: Callable[[bytes], Unpacked]) -> None:
    content = bytearray(packed([("ä.png", PICTURE)]))  # a name in UTF-8, which is flagged as such
    for found in ("ä".encode(),) * 2:
        at = content.index(found)
        content[at : at + 2] = b"\xff\xfe"
    assert refused(taken, bytes(content)) == (
        "The names in this ZIP are not text. Please pack the photos again with another program."
    )


def test_a_zip_without_photos_is_refused_and_says_why(taken: Callable[[bytes], Unpacked]) -> None:
    assert refused(taken, packed([("a.txt", b"text"), ("__MACOSX/b", b"")])) == (
        "There is no photo in this ZIP that can be used. “a.txt” was left out: it is no picture."
    )
    assert not has_zip(Path("there is no such file"))


def test_an_empty_zip_is_refused(taken: Callable[[bytes], Unpacked]) -> None:
    assert refused(taken, packed([])) == "There is no photo in this ZIP that can be used."


def test_signs_that_cannot_be_printed_are_not_repeated(taken: Callable[[bytes], Unpacked]) -> None:
    note = left_out(taken, "a\u202e\n\x1b[31mb.txt", b"text")
    assert note == "“a\ufffd\ufffd\ufffd[31mb.txt” was left out: it is no picture."


def test_an_entry_without_a_name_is_skipped(taken: Callable[[bytes], Unpacked]) -> None:
    content = packed([("a.png", picture()), ("b.png", picture())])
    unpacked = taken(content.replace(b"b.png", b"\0.png"))  # the name ends at the zero
    assert names(unpacked) == ["a.png"]
