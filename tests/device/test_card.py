"""What a card does with each kind of bundle: taken, refused with its code, wiped; no boot."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from device import card as card_module
from device.card import CANDIDATES_MAX, SET_ASIDE_MAX, Card, CardStatus, Places
from device.first_boot import CODES, REASON_FILE, WORDS, Candidate, Standing, decide, pattern
from device.settings import PostFile
from gateway.identities import Authority, Identity
from hardware.lamp import check_pattern
from process.bundle import BUNDLE_BYTES_MAX, HERE, pack
from process.files import replace_file
from process.settings import read_settings

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
    return path.read_text() if path.exists() else ""


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


def rewritten(change: Callable[[Files], None]) -> Callable[[dict[str, Files]], bytes]:
    def make(files: dict[str, Files]) -> bytes:
        own = dict(files[POST])
        change(own)
        return pack("post", POST, own)

    return make


def whole_of(change: Callable[[bytes], bytes]) -> Callable[[dict[str, Files]], bytes]:
    return lambda files: change(pack("post", POST, files[POST]))


BAD: dict[str, tuple[str, str, Callable[[dict[str, Files]], bytes]]] = {
    "empty": ("damaged", "copy it again", lambda files: b""),
    "half copied": ("damaged", "copy it again", whole_of(cut)),
    "a byte changed": ("damaged", "checksum", whole_of(changed)),
    "the end in zeros": ("damaged", "copy it again", whole_of(lambda w: cut(w) + bytes(len(w)))),
    "a picture": ("damaged", "copy it again", lambda files: b"\x89PNG\r\n\x1a\n" + bytes(500)),
    "far too large": ("damaged", "larger than", lambda files: b" " * (BUNDLE_BYTES_MAX + 1)),
    "a console's": (
        "unfit",
        "for a console, not for a post",
        lambda files: pack("console", "console", {"ca.pem": "x", "identity.pem": "y"}),
    ),
    "without a certificate": (
        "unfit",
        "identity.pem is missing",
        rewritten(lambda own: own.__delitem__("identity.pem")),
    ),
    "from the future": (
        "unfit",
        "camera.toml is not known",
        rewritten(lambda own: own.update({"camera.toml": ""})),
    ),
    "a mistyped key": (
        "settings_wrong",
        "bounce_ms",
        rewritten(lambda own: own.update({"post.toml": settings(POST, "[button]\nbounce_ms = 5")})),
    ),
    "two things on one line": (
        "settings_wrong",
        "are both 17",
        rewritten(lambda own: own.update({"post.toml": settings(POST, "[cancel]\npin = 17")})),
    ),
    "settings of another post": (
        "settings_wrong",
        f"post_id is {OTHER}",
        rewritten(lambda own: own.update({"post.toml": settings(OTHER)})),
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
    "no key": (
        "identity_wrong",
        "its own key",
        rewritten(
            lambda own: own.update(
                {"identity.pem": own["identity.pem"].partition("-----BEGIN PRIVATE")[0]}
            )
        ),
    ),
    "a Wi-Fi password that is none": (
        "network_wrong",
        "[wifi] password",
        rewritten(lambda own: own.update({"network.toml": '[wifi]\nssid = "a"\npassword = "abc"'})),
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_bundle_ends_in_its_code_and_in_both_languages(
    kind: str, places: Places, files: dict[str, Files]
) -> None:
    code, why, make = BAD[kind]
    bundle = put(places, make(files))
    status = start(places)
    assert (status.post, status.code) == (None, code)
    assert why in status.why
    text = reason(places)
    words = WORDS[code]  # type: ignore[index]
    assert words.means_id in text
    assert words.means_en in text
    assert f"kode {CODES.index(code) + 1} / code {CODES.index(code) + 1}" in text
    assert why in text
    assert "PRIVATE KEY" not in text
    assert "abc" not in text
    assert bundle.exists()  # the technician sees what he put there
    assert not places.settings.exists()


@pytest.mark.parametrize("kind", ["half copied", "a console's", "a mistyped key", "no key"])
def test_a_bad_bundle_takes_no_identity_away(
    kind: str, places: Places, files: dict[str, Files]
) -> None:
    put(places, pack("post", POST, files[POST]))
    start(places)
    put(places, BAD[kind][2](files))
    status = start(places)
    assert (status.post, status.code) == (POST, BAD[kind][0])
    assert f"This card goes on as {POST}" in reason(places)
    assert read_settings(places.settings, PostFile).post_id == POST


def test_without_a_bundle_the_code_says_what_to_copy(places: Places) -> None:
    status = start(places)
    assert (status.post, status.code) == (None, "no_bundle")
    assert "POST-NAME.kentongan" in reason(places)


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


def test_a_new_bundle_for_the_same_post_keeps_its_calls(
    places: Places, files: dict[str, Files]
) -> None:
    put(places, pack("post", POST, files[POST]))
    start(places)
    (places.state / "post.db").write_bytes(b"alarms")
    put(places, pack("post", POST, {**files[POST], "network.toml": NETWORK}))
    start(places)
    assert (places.state / "post.db").read_bytes() == b"alarms"


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


def test_a_data_partition_that_takes_no_write_is_said(
    places: Places, files: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(places, pack("post", POST, files[POST]))

    def refuses(path: Path, content: bytes, mode: int) -> None:
        if path.is_relative_to(places.card):
            raise OSError(30, "Read-only file system", str(path))
        path.write_bytes(content)

    monkeypatch.setattr(card_module, "replace_file", refuses)
    status = start(places)
    assert (status.post, status.code) == (None, "card_failing")
    assert "Read-only file system" in reason(places)


def test_a_boot_partition_that_takes_no_write_does_not_keep_the_post_from_starting(
    places: Places, files: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(places, pack("post", POST, files[POST]))

    def refuses(path: Path) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(card_module, "wipe", refuses)
    assert start(places).post == POST
    assert places.settings.exists()


def test_a_standing_that_cannot_be_read_is_a_card_without_identity(
    places: Places, files: dict[str, Files]
) -> None:
    (places.card / "standing.json").write_bytes(b'{"post":')
    assert start(places).code == "no_bundle"


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
    lies_there = Candidate("x.kentongan", "a" * 64, wrong=("damaged", ""))
    decision = decide([lies_there], standing)
    assert (decision.take, decision.code, decision.wipe) == (None, None, ("x.kentongan",))


def test_the_page_says_of_each_code_what_the_lamp_shows() -> None:
    rows = re.findall(r"^\| (\d) \| ", (DOCS / "card.en.md").read_text(), re.MULTILINE)
    assert rows == [str(number + 1) for number in range(len(CODES))]
