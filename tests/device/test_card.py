"""What a card does with each kind of bundle: taken, refused with its code, wiped; no boot."""

from __future__ import annotations

import datetime as dt
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from device import card as card_module
from device.card import CANDIDATES_MAX, SET_ASIDE_MAX, Card, CardStatus, Places, blink
from device.core import Commit, Loaded
from device.first_boot import (
    CODES,
    REASON_FILE,
    WORDS,
    Candidate,
    Code,
    Standing,
    decide,
    pattern,
    same,
)
from device.held import Held
from device.outbox import Outbox, look_into
from device.settings import PostFile
from gateway.identities import Authority, Identity
from hardware.lamp import check_pattern
from process.bundle import BUNDLE_BYTES_MAX, HERE, pack
from process.files import replace_file
from process.settings import read_settings
from tests.gateway.rig import make_alarm

POST, OTHER = "mlg-klojen-rw01", "mlg-klojen-rw02"
NETWORK = """
[wifi]
ssid = "Pos RW 01"
password = "rahasia sekali"
[ssh]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5 siti"]
[time]
server = "192.168.1.1"
"""
Files = dict[str, str]
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """What is in the bundle of each post, and of a stranger of the same name."""
    made = {}
    for directory, names in (("ours", (POST, OTHER)), ("strange", (POST,))):
        place = tmp_path_factory.mktemp("authority") / directory
        now_ms = time.time_ns() // 1_000_000
        authority = Authority.create(place, "Test CA", now_ms)
        for name in names:
            issued = authority.provision(Identity(name, "post", lat=-7.9, lon=112.6), now_ms)
            made[name if directory == "ours" else "stranger"] = {
                "ca.pem": authority.ca_file.read_text(),
                "identity.pem": issued.whole,
                "post.toml": settings(name),
            }
        authority.close()
    return made


def settings(name: str, more: str = "") -> str:
    return (
        f'post_id = "{name}"\n[location]\nlat = -7.9\nlon = 112.6\n[mqtt]\n'
        f'url = "mqtts://broker.example"\nca = "{HERE}/ca.pem"\n'
        f'certificate = "{HERE}/identity.pem"\nkey = "{HERE}/identity.pem"\n{more}'
    )


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path)
    for directory in (places.boot, places.card, places.state):
        directory.mkdir(parents=True)
    return places


def start(places: Places) -> CardStatus:
    Card(places).start()
    return msgspec.json.decode((places.run / "status.json").read_bytes(), type=CardStatus)


def reason(places: Places) -> str:
    path = places.boot / REASON_FILE
    return path.read_bytes().decode() if path.exists() else ""


def put(places: Places, content: bytes, name: str = f"{POST}.kentongan") -> Path:
    path = places.boot / name
    path.write_bytes(content)
    return path


def test_a_good_bundle_becomes_the_post_and_its_key_leaves_the_boot_partition(
    places: Places, files: dict[str, Files]
) -> None:
    bundle = put(places, pack("post", POST, {**files[POST], "network.toml": NETWORK}))
    status = start(places)
    assert (status.post, status.code) == (POST, None)
    assert not bundle.exists()
    assert reason(places) == ""
    laid = read_settings(places.settings, PostFile)
    assert laid.post_id == POST
    assert laid.mqtt.key is not None
    assert "PRIVATE KEY" in Path(laid.mqtt.key).read_text()
    assert (places.root / "etc/hostname").read_text() == f"{POST}\n"
    wifi = (places.keyfiles / "kentongan-wifi.nmconnection").read_text()
    assert "psk=rahasia sekali\n" in wifi
    assert "ssh-ed25519" in (places.run / "authorized_keys").read_text()
    assert "NTP=192.168.1.1" in places.time.read_text()
    secrets = [path for path in places.root.rglob("*") if path.is_file()]
    for path in secrets:
        if b"PRIVATE KEY" in path.read_bytes() or b"rahasia" in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_modem_is_taken_on_a_card_that_knows_modems(
    places: Places, files: dict[str, Files]
) -> None:
    places.modems.parent.mkdir(parents=True)
    places.modems.write_text("")
    put(places, with_file("network.toml", '[lte]\napn = "internet"')(files))
    assert start(places).post == POST
    assert "apn=internet" in (places.keyfiles / "kentongan-lte.nmconnection").read_text()


def test_the_next_start_finds_no_bundle_and_is_the_same_post(
    places: Places, files: dict[str, Files]
) -> None:
    put(places, pack("post", POST, files[POST]))
    start(places)
    places.settings.unlink()  # what lay in memory is gone
    status = start(places)
    assert (status.post, status.code) == (POST, None)
    assert places.settings.exists()
    assert not (places.run / "authorized_keys").exists()  # nobody was named


def cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def changed(whole: bytes) -> bytes:
    return whole.replace(b"112.6", b"112.7", 1)


Make = Callable[[dict[str, Files]], bytes]


def rewritten(change: Callable[[Files], object]) -> Make:
    """A bundle of ours in which somebody changed a file, and which is whole."""

    def make(files: dict[str, Files]) -> bytes:
        own = dict(files[POST])
        change(own)
        return pack("post", POST, own)

    return make


def with_file(name: str, text: str) -> Make:
    return rewritten(lambda own: own.update({name: text}))


def with_settings(text: str) -> Make:
    return with_file("post.toml", text)


def whole_of(change: Callable[[bytes], bytes]) -> Make:
    return lambda files: change(pack("post", POST, files[POST]))


def resealed(**changes: object) -> Make:
    """Another form under its own right checksum."""

    def make(files: dict[str, Files]) -> bytes:
        whole = {**json.loads(pack("post", POST, files[POST])), **changes}
        sum_of = pack(whole["role"], whole["name"], whole["files"])
        return json.dumps({**whole, "sha256": json.loads(sum_of)["sha256"]}).encode()

    return make


def an_archive(files: dict[str, Files]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{POST}.kentongan", pack("post", POST, files[POST]))
    return content.getvalue()


def a_tape_with_a_link(files: dict[str, Files]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tape:
        link = tarfile.TarInfo("identity.pem")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tape.addfile(link)
    return content.getvalue()


def locked(identity: str) -> str:
    """The same key under a password."""
    key, command = identity[identity.index("-----BEGIN PRIVATE") :], ("openssl", "pkey", "-aes256")
    done = subprocess.run(
        [*command, "-passout", "pass:x"], input=key, capture_output=True, text=True, check=True
    )
    return identity.replace(key, done.stdout)


# Kind -> its code, what the text says of it in English, and the file.
BAD: dict[str, tuple[Code, str, Make]] = {
    "empty": ("damaged", "copy it again", lambda files: b""),
    "half copied": ("damaged", "copy it again", whole_of(cut)),
    "a byte changed": ("damaged", "checksum", whole_of(changed)),
    "the end in zeros": ("damaged", "copy it again", whole_of(lambda w: cut(w) + bytes(len(w)))),
    "a picture": ("damaged", "copy it again", lambda files: b"\x89PNG\r\n\x1a\n" + bytes(500)),
    "an archive around it": ("damaged", "copy it again", an_archive),
    "a tape with a link in it": ("damaged", "copy it again", a_tape_with_a_link),
    "far too large": ("damaged", "larger than", lambda files: b" " * (BUNDLE_BYTES_MAX + 1)),
    "as deep as it is long": ("damaged", "copy it again", lambda files: b"[" * 100_000),
    "a file outside": ("unfit", "files", resealed(files={"../../etc/passwd.pem": "x"})),
    "a name that is a path": ("unfit", "name", resealed(name="../x")),
    "a bundle of version 2": ("unfit", "newer", resealed(kentongan_bundle=2, more=["new"])),
    "a gateway's": (
        "unfit",
        "for a gateway, not for a post",
        lambda files: pack("gateway", "gw-malang", {"ca.pem": "x", "identity.pem": "y"}),
    ),
    "a console's": (
        "unfit",
        "for a console, not for a post",
        lambda files: pack("console", "console", {"ca.pem": "x", "identity.pem": "y"}),
    ),
    "without a certificate": (
        "unfit",
        "identity.pem is missing",
        rewritten(lambda own: own.pop("identity.pem")),
    ),
    "from the future": ("unfit", "camera.toml is not known", with_file("camera.toml", "")),
    "a mistyped key": (
        "settings_wrong",
        "bounce_ms",
        with_settings(settings(POST, "[button]\nbounce_ms = 5")),
    ),
    "settings that are no TOML": ("settings_wrong", "post.toml", with_settings("[button\n")),
    "two things on one line": (
        "settings_wrong",
        "are both 17",
        with_settings(settings(POST, "[cancel]\npin = 17")),
    ),
    "settings of another post": (
        "settings_wrong",
        f"post_id is {OTHER}",
        with_settings(settings(OTHER)),
    ),
    "a button that nobody can press": (
        "settings_wrong",
        '[hardware] pins is "mock"',
        with_settings(settings(POST, '[hardware]\npins = "mock"')),
    ),
    "pins that the card has no program for": (
        "settings_wrong",
        '[hardware] pins is "rpigpio"',
        with_settings(settings(POST, '[hardware]\npins = "rpigpio"')),
    ),
    "pins on a chip that the board has not": (
        "settings_wrong",
        "[hardware] chip: there is no /dev/gpiochip63 here",
        with_settings(settings(POST, "[hardware]\nchip = 63")),
    ),
    "calls kept where they die with the power": (
        "settings_wrong",
        "[store] path",
        with_settings(settings(POST, '[store]\npath = "/tmp/post.db"')),
    ),
    "a key from elsewhere": (
        "settings_wrong",
        "[mqtt] key /etc/kentongan/key.pem: not in it",
        with_settings(
            settings(POST).replace(f'key = "{HERE}/identity', 'key = "/etc/kentongan/key')
        ),
    ),
    "no certificate asked for": (
        "settings_wrong",
        "[mqtt] certificate is missing",
        with_settings(re.sub(r"(?m)^(certificate|key) = .*\n", "", settings(POST))),
    ),
    "a certificate of another post": (
        "identity_wrong",
        f"of {OTHER}, not of {POST}",
        lambda files: pack("post", POST, {**files[OTHER], "post.toml": settings(POST)}),
    ),
    "a certificate of another authority": (
        "identity_wrong",
        "authority in ca.pem",
        lambda files: pack(
            "post", POST, {**files[POST], "identity.pem": files["stranger"]["identity.pem"]}
        ),
    ),
    "an authority that is none": ("identity_wrong", "authority", with_file("ca.pem", "none")),
    "the key of another": (
        "identity_wrong",
        "its own key",
        lambda files: pack(
            "post",
            POST,
            {
                **files[POST],
                "identity.pem": files[POST]["identity.pem"].partition("-----BEGIN PRIVATE")[0]
                + "-----BEGIN PRIVATE"
                + files[OTHER]["identity.pem"].partition("-----BEGIN PRIVATE")[2],
            },
        ),
    ),
    "no key": (
        "identity_wrong",
        "its own key",
        rewritten(
            lambda own: own.update(
                {"identity.pem": own["identity.pem"].partition("-----BEGIN PRIVATE")[0]}
            )
        ),
    ),
    "a key that asks for a password": (
        "identity_wrong",
        "without a password",
        rewritten(lambda own: own.update({"identity.pem": locked(own["identity.pem"])})),
    ),
    "a Wi-Fi password that is none": (
        "network_wrong",
        "[wifi] password",
        with_file("network.toml", '[wifi]\nssid = "a"\npassword = "abc"'),
    ),
    "a modem on a card that knows none": (
        "network_wrong",
        "[lte]: this card has no ModemManager",
        with_file("network.toml", '[lte]\napn = "internet"'),
    ),
    "a way out that is not in the network": (
        "network_wrong",
        "is not in 192.168.1.0/24",
        with_file("network.toml", '[ethernet]\naddress = "192.168.1.2/24"\ngateway = "10.0.0.1"'),
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_bundle_ends_in_its_code_and_in_both_languages(
    kind: str, places: Places, files: dict[str, Files]
) -> None:
    code, why, make = BAD[kind]
    bundle = put(places, make(files))
    status = start(places)
    assert (status.post, status.code, status.on_lamp) == (None, code, True)
    assert why in status.why
    text = reason(places)
    words, number = WORDS[code], CODES.index(code) + 1
    assert text.startswith(f"KENTONGAN: kode {number} / code {number} ({code})\r\n")
    for line in (
        f"Masalah: {words.means_id}.",
        f"Lakukan: {words.do_id}.",
        f"Problem: {words.means_en}.",
        f"Do:      {words.do_en}.",
        f"Di mana: {bundle.name}",
        f"Where:   {bundle.name}",
    ):
        assert f"\r\n{line}\r\n" in text
    assert why in text
    assert len(re.findall(r"(?m)^(?:Alasan|Reason): +\S", text)) == 2
    assert str(places.root) not in text
    assert "PRIVATE KEY" not in text
    assert "abc" not in text
    assert bundle.exists()  # the technician sees what he put there
    assert not places.settings.exists()
    assert {path.name for path in places.boot.iterdir()} == {bundle.name, REASON_FILE}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_bundle_takes_no_identity_away(
    kind: str, places: Places, files: dict[str, Files]
) -> None:
    put(places, pack("post", POST, files[POST]))
    start(places)
    put(places, BAD[kind][2](files))
    status = start(places)
    assert (status.post, status.code, status.on_lamp) == (POST, BAD[kind][0], False)
    assert f"This card stays {POST}." in reason(places)
    assert f"Kartu ini tetap {POST}." in reason(places)
    assert read_settings(places.settings, PostFile).post_id == POST


@pytest.mark.parametrize("year", [2024, 2066], ids=["over since 2026", "from 2066 on"])
def test_no_date_is_asked_because_a_new_card_has_no_clock(
    year: int, places: Places, files: dict[str, Files], tmp_path: Path
) -> None:
    at_ms = int(dt.datetime(year, 1, 2, tzinfo=dt.UTC).timestamp()) * 1000
    authority = Authority.create(tmp_path / "then", "Test CA", at_ms)
    issued = authority.provision(Identity(POST, "post", lat=-7.9, lon=112.6), at_ms)
    own = {**files[POST], "identity.pem": issued.whole, "ca.pem": authority.ca_file.read_text()}
    authority.close()
    put(places, pack("post", POST, own))
    assert start(places).post == POST


def test_without_a_bundle_the_code_says_what_to_copy(places: Places) -> None:
    status = start(places)
    assert (status.post, status.code, status.on_lamp) == (None, "no_bundle", True)
    assert "NAMA-POS.kentongan" in reason(places)
    assert "POST-NAME.kentongan" in reason(places)


def test_a_folder_of_that_name_is_no_bundle(places: Places) -> None:
    (places.boot / f"{POST}.kentongan").mkdir()
    assert start(places).code == "damaged"
    assert "a folder, not a file" in reason(places)
    assert "sebuah folder, bukan berkas" in reason(places)


def test_a_name_that_no_encoding_has_is_said_all_the_same(places: Places) -> None:
    (places.boot / os.fsdecode(b"b\xfcndel.kentongan")).write_bytes(b"x")
    assert start(places).code == "damaged"
    assert "Where:   b?ndel.kentongan" in reason(places)


def test_what_was_said_goes_when_it_is_no_longer_true(
    places: Places, files: dict[str, Files]
) -> None:
    start(places)
    assert "code 1 " in reason(places)
    put(places, cut(pack("post", POST, files[POST])))
    start(places)
    assert "code 3 " in reason(places)
    put(places, pack("post", POST, files[POST]))
    assert start(places).post == POST
    assert reason(places) == ""


def test_two_different_bundles_are_one_too_many(places: Places, files: dict[str, Files]) -> None:
    put(places, pack("post", POST, files[POST]))
    put(places, pack("post", OTHER, files[OTHER]), f"{OTHER}.kentongan")
    status = start(places)
    assert status.code == "many_bundles"
    assert f"{POST}.kentongan, {OTHER}.kentongan" in reason(places)


def test_the_same_bundle_twice_is_one_and_both_copies_are_wiped(
    places: Places, files: dict[str, Files]
) -> None:
    whole = pack("post", POST, files[POST])
    copies = [put(places, whole), put(places, whole, f"{POST}.kentongan (1).txt")]
    assert start(places).post == POST
    assert not any(copy.exists() for copy in copies)


@pytest.mark.parametrize(
    "deleted",
    [".Trash-1000/files/{}", ".Trashes/501/{}", "$RECYCLE.BIN/S-1-5-21/$RA1B2C3.kentongan"],
)
def test_what_a_laptop_keeps_of_a_deleted_bundle_is_wiped_when_the_good_one_is_taken(
    places: Places, files: dict[str, Files], deleted: str
) -> None:
    half = places.boot / deleted.format(f"{POST}.kentongan")
    half.parent.mkdir(parents=True)
    half.write_bytes(pack("post", POST, files[POST]))
    elsewhere = places.boot / "overlays/notes.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"not ours")
    assert start(places).code == "no_bundle"
    put(places, pack("post", POST, files[POST]))
    assert start(places).post == POST
    assert not half.exists()
    assert elsewhere.exists()


def test_a_copy_that_broke_off_is_wiped_where_fsck_or_windows_put_it(
    places: Places, files: dict[str, Files]
) -> None:
    whole = pack("post", POST, files[POST])
    found = [places.boot / "FSCK0000.REC", places.boot / "FOUND.000/FILE0000.CHK"]
    for path in found:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(whole[: len(whole) // 2])
    put(places, whole)
    assert start(places).post == POST
    assert not any(path.exists() for path in found)


@pytest.mark.parametrize("dies_at", ["open", "unlink"])
def test_a_power_cut_while_it_is_wiped_leaves_no_bad_bundle_and_the_next_start_wipes_the_rest(
    places: Places, files: dict[str, Files], monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    put(places, pack("post", POST, files[POST]))
    really = getattr(Path, dies_at)

    def dies(path: Path, *arguments: object, **named: object) -> object:
        if path.name.startswith(card_module.WIPING):
            raise PowerCut
        return really(path, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Path, dies_at, dies)
        with pytest.raises(PowerCut):
            Card(places).start()
    assert list(places.boot.glob(f"{card_module.WIPING}*"))
    status = start(places)
    assert (status.post, status.code) == (POST, None)
    assert not list(places.boot.glob(f"{card_module.WIPING}*"))
    assert not list(places.boot.glob("*.kentongan*"))


def test_words_that_cannot_be_written_keep_no_key_from_being_wiped(
    places: Places, files: dict[str, Files]
) -> None:
    (places.boot / REASON_FILE).unlink(missing_ok=True)
    (places.boot / REASON_FILE).mkdir()
    bundle = put(places, pack("post", POST, files[POST]))
    assert start(places).post == POST
    assert not bundle.exists()


def test_one_file_that_cannot_be_wiped_keeps_no_other_from_it(
    places: Places, files: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pack("post", POST, files[POST])
    copies = [put(places, whole, f"{number}.kentongan") for number in range(2)]
    really = Path.rename

    def rename(path: Path, to: Path) -> Path:
        if path.name == "0.kentongan":
            raise OSError(errno.EIO, "Input/output error")
        return really(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    assert start(places).post == POST
    assert [copy.exists() for copy in copies] == [True, False]


@pytest.mark.parametrize("broken", ["is_dir", "open"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), RecursionError("")])
def test_a_file_that_cannot_be_looked_at_makes_no_post_deaf(
    places: Places,
    files: dict[str, Files],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    error: Exception,
) -> None:
    put(places, pack("post", POST, files[POST]))
    start(places)
    places.settings.unlink()
    put(places, b"", "x.kentongan")
    really = getattr(Path, broken)

    def fails(path: Path, *arguments: object, **named: object) -> object:
        if path.name == "x.kentongan":
            raise error
        return really(path, *arguments, **named)

    monkeypatch.setattr(Path, broken, fails)
    assert start(places).post == POST
    assert places.settings.exists()


def test_the_shadow_that_a_mac_lays_beside_it_is_no_bundle(
    places: Places, files: dict[str, Files]
) -> None:
    put(places, b"Mac OS X        ", f"._{POST}.kentongan")
    put(places, pack("post", POST, files[POST]))
    assert start(places).code is None


def test_more_candidates_than_are_looked_at_are_too_many_all_the_same(places: Places) -> None:
    for number in range(CANDIDATES_MAX + 1):
        put(places, b"x" * number, f"{number}.kentongan")
    assert start(places).code == "many_bundles"


def test_another_posts_bundle_makes_it_that_post_and_keeps_the_old_calls_apart(
    places: Places, files: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_module, "_certificate_wrong", lambda *_: None)  # asked often here
    put(places, pack("post", POST, files[POST]))
    start(places)
    outbox = places.state / "post.db"
    outbox.write_bytes(b"alarms of the first")
    put(places, pack("post", OTHER, files[OTHER]))
    assert start(places).post == OTHER
    assert not outbox.exists()
    (kept,) = (places.state / "set-aside").iterdir()
    assert kept.name.startswith(POST)
    assert kept.read_bytes() == b"alarms of the first"
    keys = list(places.root.rglob("identity.pem"))
    assert len(keys) == 1  # the old one is gone
    for number in range(SET_ASIDE_MAX + 2):
        name = (POST, OTHER)[number % 2]
        outbox.write_bytes(b"")
        # A byte more each time: the same bundle twice would be no new one.
        put(places, pack("post", name, files[name]) + b" " * number)
        assert start(places).post == name
    assert len(list((places.state / "set-aside").iterdir())) == SET_ASIDE_MAX


def test_the_same_two_cards_contents_put_on_by_turns_lose_no_calls(
    places: Places, files: dict[str, Files]
) -> None:
    for turn in range(4):
        name = (POST, OTHER)[turn % 2]
        put(places, pack("post", name, files[name]))
        assert start(places).post == name
        (places.state / "post.db").write_bytes(b"%d" % turn)
    kept = (places.state / "set-aside").iterdir()
    assert sorted(path.read_bytes() for path in kept) == [b"0", b"1", b"2"]


def test_links_that_lie_in_the_services_directory_lead_root_nowhere(
    places: Places, files: dict[str, Files], tmp_path: Path
) -> None:
    put(places, pack("post", POST, files[POST]))
    start(places)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (places.state / "post.db").write_bytes(b"alarms of the first")
    (places.state / "set-aside").symlink_to(elsewhere)
    (places.state / "identity-x").symlink_to(elsewhere)
    put(places, pack("post", OTHER, files[OTHER]))
    assert start(places).code is None
    assert list(elsewhere.iterdir()) == []
    assert not (places.state / "identity-x").is_symlink()
    (kept,) = (places.state / "set-aside").iterdir()
    assert kept.read_bytes() == b"alarms of the first"


def test_a_new_bundle_for_the_same_post_keeps_its_calls(
    places: Places, files: dict[str, Files]
) -> None:
    put(places, pack("post", POST, files[POST]))
    start(places)
    (places.state / "post.db").write_bytes(b"alarms")
    put(places, pack("post", POST, {**files[POST], "network.toml": NETWORK}))
    start(places)
    assert (places.state / "post.db").read_bytes() == b"alarms"


@pytest.mark.parametrize("forgotten", [b"", None], ids=["damaged", "gone"])
def test_a_card_that_has_forgotten_who_it_was_gives_no_calls_to_another(
    places: Places, files: dict[str, Files], forgotten: bytes | None
) -> None:
    put(places, pack("post", POST, files[POST]))
    start(places)
    outbox = Outbox(places.state / "post.db", lambda event: None)
    assert isinstance(outbox.open(), Loaded)
    outbox.commit(Commit(1, (Held(alarm=make_alarm(1_000_000, post=POST)),), (), ()))
    outbox.close(10)

    def forget() -> None:
        standing = places.card / "standing.json"
        standing.unlink() if forgotten is None else standing.write_bytes(forgotten)

    forget()
    put(places, pack("post", POST, files[POST]))
    assert start(places).post == POST
    assert len(look_into(places.state / "post.db")) == 1
    forget()
    put(places, pack("post", OTHER, files[OTHER]))
    assert start(places).post == OTHER
    assert not (places.state / "post.db").exists()
    (aside,) = (places.state / "set-aside").glob("unknown-*-post.db")
    assert len(look_into(aside)) == 1


class PowerCut(Exception):
    """Nothing after this happens."""


def test_a_power_cut_at_any_write_leaves_a_card_that_becomes_the_post(
    places: Places, files: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_module, "_certificate_wrong", lambda *_: None)  # asked often here
    whole = pack("post", POST, files[POST])
    wipe, replace = card_module.wipe, replace_file
    for cut_at in range(20):
        for path in (places.boot, places.card, places.state):
            for file in sorted(path.rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
        bundle = put(places, whole)
        writes = 0

        def counted(cut_at: int = cut_at) -> None:
            nonlocal writes
            writes += 1
            if writes > cut_at:
                raise PowerCut

        def cut_replace(path: Path, content: bytes, mode: int) -> None:
            counted()
            replace(path, content, mode)

        def cut_wipe(path: Path) -> None:
            counted()
            wipe(path)

        monkeypatch.setattr(card_module, "replace_file", cut_replace)
        monkeypatch.setattr(card_module, "wipe", cut_wipe)
        try:
            Card(places).start()
            was_cut = False
        except PowerCut:
            was_cut = True
        monkeypatch.setattr(card_module, "replace_file", replace)
        monkeypatch.setattr(card_module, "wipe", wipe)
        assert start(places).post == POST
        assert not bundle.exists()
        if not was_cut:
            return
    pytest.fail("the loop never came to the last write")


# What a card's mounts may be at a start, as its fstab lays them: two partitions and a bind.
MOUNTS = """
mkdir -p "$1/data" "$1/boot/firmware" "$1/var/lib/kentongan"
mount -t tmpfs -o size=256k data "$1/data"
mkdir "$1/data/card" "$1/data/kentongan"
mount --bind "$1/data/kentongan" "$1/var/lib/kentongan"
mount -t tmpfs -o size=64k boot "$1/boot/firmware"
cp "$1"/put/* "$1/boot/firmware/"
full() { cat /dev/zero > "$1/filled" 2>/dev/null || true; }
start() { "$python" -c 'import sys; from pathlib import Path; from device.card import Card, Places
Card(Places(Path(sys.argv[1]))).start()' "$1"; }
"""


def on_mounts(places: Places, script: str) -> CardStatus:
    """Starts a card whose file systems are real, in mounts of its own, and keeps what it wrote."""
    assert os.geteuid() == 0, "this test needs root: it mounts, where nobody else sees it"
    kept = 'mkdir "$1/kept"; cp -a "$1/boot/firmware/." "$1/kept/"'
    subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private", "sh", "-ec"),
            f"python=$2\n{MOUNTS}\n{script}\n{kept}",
            *("sh", places.root, sys.executable),
        ],
        check=True,
        timeout=60,
    )
    return msgspec.json.decode((places.run / "status.json").read_bytes(), type=CardStatus)


@pytest.fixture
def mounted(tmp_path: Path, files: dict[str, Files]) -> Places:
    """What a technician has copied lies in `put`."""
    (tmp_path / "put").mkdir()
    (tmp_path / f"put/{POST}.kentongan").write_bytes(pack("post", POST, files[POST]))
    return Places(tmp_path)


def kept(places: Places) -> dict[str, str]:
    return {path.name: path.read_bytes().decode() for path in (places.root / "kept").iterdir()}


def test_a_card_with_its_mounts_becomes_the_post(mounted: Places) -> None:
    status = on_mounts(mounted, 'start "$1"')
    assert (status.post, status.code) == (POST, None)
    assert kept(mounted) == {}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ('full "$1/data"; start "$1"', "No space left on device"),
        ('mount -o remount,ro "$1/data"; start "$1"', "Read-only file system"),
        ('umount "$1/var/lib/kentongan" "$1/data"; start "$1"', "is not mounted"),
        ('umount "$1/var/lib/kentongan"; start "$1"', "is not mounted"),
    ],
    ids=["full", "read-only", "none", "no bind"],
)
def test_a_data_partition_that_takes_nothing_is_said_and_the_bundle_stays(
    script: str, why: str, mounted: Places
) -> None:
    status = on_mounts(mounted, script)
    assert (status.post, status.code, status.on_lamp) == (None, "card_failing", True)
    assert why in status.why
    text = kept(mounted)[REASON_FILE]
    assert WORDS["card_failing"].do_id in text
    assert WORDS["card_failing"].do_en in text
    assert why in text
    # Its only copy: nothing was taken, so nothing may be wiped.
    assert "PRIVATE KEY" in kept(mounted)[f"{POST}.kentongan"]


def test_a_post_whose_data_partition_died_stays_dark_which_is_out_of_order(
    mounted: Places,
) -> None:
    again = 'umount "$1/var/lib/kentongan" "$1/data"; rm "$1/etc/kentongan/post.toml"; start "$1"'
    status = on_mounts(mounted, f'start "$1"; {again}')
    assert (status.post, status.code, status.on_lamp) == (None, "card_failing", False)
    assert "code 8 " in kept(mounted)[REASON_FILE]
    assert not mounted.settings.exists()


def test_on_a_full_boot_partition_an_old_text_makes_room_for_the_true_one(
    mounted: Places, files: dict[str, Files]
) -> None:
    (mounted.root / f"put/{POST}.kentongan").write_bytes(cut(pack("post", POST, files[POST])))
    (mounted.root / f"put/{REASON_FILE}").write_text("KENTONGAN: kode 1 / code 1 (no_bundle)")
    status = on_mounts(mounted, 'full "$1/boot/firmware"; start "$1"')
    assert (status.code, status.on_lamp) == ("damaged", True)
    assert "code 3 " in kept(mounted)[REASON_FILE]


def test_without_room_or_leave_for_a_text_the_lamp_says_it_alone(
    mounted: Places, files: dict[str, Files]
) -> None:
    (mounted.root / f"put/{POST}.kentongan").write_bytes(cut(pack("post", POST, files[POST])))
    boot = '"$1/boot/firmware"'
    for number, script in enumerate((f"full {boot}", f"mount -o remount,ro {boot}")):
        status = on_mounts(mounted, f'{script}; start "$1"')
        assert (status.code, status.on_lamp) == ("damaged", True)
        assert REASON_FILE not in kept(mounted)
        (mounted.root / "kept").rename(mounted.root / f"kept{number}")


def test_a_boot_partition_that_takes_no_write_does_not_keep_the_post_from_starting(
    mounted: Places,
) -> None:
    wipes = 'test -e "$1/boot/firmware/mlg-klojen-rw01.kentongan"; start "$1"'
    readonly = 'mount -o remount,ro "$1/boot/firmware"; start "$1"'
    status = on_mounts(mounted, f'{readonly}; mount -o remount,rw "$1/boot/firmware"; {wipes}')
    assert (status.post, status.code) == (POST, None)
    assert mounted.settings.exists()
    assert f"{POST}.kentongan" not in kept(mounted)  # wiped at the first start that could


def test_a_standing_that_cannot_be_read_is_a_failing_card_until_a_bundle_lies_there(
    places: Places, files: dict[str, Files]
) -> None:
    (places.card / "standing.json").write_bytes(b'{"post":')
    status = start(places)
    assert (status.code, status.on_lamp) == ("card_failing", False)
    assert "standing.json: damaged" in reason(places)
    put(places, pack("post", POST, files[POST]))
    assert start(places).post == POST
    assert reason(places) == ""


def test_an_identity_that_can_be_laid_no_more_is_said_and_the_lamp_stays_dark(
    places: Places, files: dict[str, Files]
) -> None:
    put(places, pack("post", POST, files[POST]))
    start(places)
    (network,) = places.card.glob("identity-*/network.toml")
    network.write_text("[camera]\n")
    status = start(places)
    assert (status.post, status.code, status.on_lamp) == (POST, "network_wrong", False)
    assert "camera" in reason(places)
    network.unlink()
    network.mkdir()  # no disk that fails can be planted; this one cannot be read either
    assert start(places).code == "card_failing"
    assert places.settings.exists()
    (own,) = places.card.glob("identity-*/post.toml")
    own.unlink()
    status = start(places)
    assert (status.post, status.code, status.on_lamp) == (POST, "card_failing", False)
    assert "post.toml: No such file" in reason(places)


def test_the_wires_of_a_bundle_are_known_even_when_its_identity_is_wrong(
    places: Places, files: dict[str, Files]
) -> None:
    own = {**files[OTHER], "post.toml": settings(POST, "[lamp]\nred = 4\ngreen = 6")}
    put(places, pack("post", POST, own))
    status = start(places)
    assert status.code == "identity_wrong"
    assert (status.lamp.red, status.lamp.green) == (4, 6)


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_so_many_flashes_of_both_colours(code: str) -> None:
    steps = check_pattern(pattern(code))  # type: ignore[arg-type]
    lit = [step for step in steps if step[0] or step[1]]
    assert len(lit) == CODES.index(code) + 1
    assert all(red and green for red, green, _ in lit)
    assert not steps[-1][0]


def test_what_was_taken_before_is_wiped_and_never_taken_again() -> None:
    standing = Standing(post=POST, digest="a" * 64)
    lies_there = Candidate("x.kentongan", "a" * 64, wrong=("damaged", same("")))
    decision = decide([lies_there], standing)
    assert (decision.take, decision.code, decision.wipe) == (None, None, ("x.kentongan",))


def test_the_page_says_of_each_code_what_the_lamp_shows() -> None:
    rows = re.findall(r"^\| (\d) \| ", (DOCS / "card.en.md").read_text(), re.MULTILINE)
    assert rows == [str(number + 1) for number in range(len(CODES))]


def test_the_page_names_every_planted_bundle_beside_its_code() -> None:
    rows = re.findall(
        r"^\| (\d) `(\w+)` \| (.+) \|$", (DOCS / "image.md").read_text(), re.MULTILINE
    )
    said = {(int(number), code, kind) for number, code, kinds in rows for kind in kinds.split("; ")}
    assert said == {(CODES.index(code) + 1, code, kind) for kind, (code, _, _) in BAD.items()}


def test_a_card_without_its_data_starts_anew_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`RestartPreventExitStatus=` and `FailureAction=` of kentongan-code.service do the rest."""
    monkeypatch.setattr(card_module, "RETRY_AFTER_S", 0.01)
    places = Places(tmp_path)
    places.run.mkdir(parents=True)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        for failing, ends in ((True, card_module.EXIT_REBOOT), (False, 0)):
            status = CardStatus(post=None, code="card_failing" if failing else None)
            (places.run / "status.json").write_bytes(msgspec.json.encode(status))
            assert blink(places) == ends
        (places.run / "status.json").unlink()  # the first step was ended before it had looked
        assert blink(places) == card_module.EXIT_REBOOT
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


@pytest.mark.parametrize("language", ["en", "id"])
def test_the_text_that_a_page_shows_is_the_one_on_the_card(
    language: str, places: Places, files: dict[str, Files]
) -> None:
    put(places, cut(pack("post", POST, files[POST])), "mlg-lowokwaru-dinoyo-rw05.kentongan")
    start(places)
    shown = reason(places).replace("\r\n", "\n")
    assert f"```\n{shown}```" in (DOCS / f"card.{language}.md").read_text()
