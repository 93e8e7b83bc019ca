"""Bundles and the configuration of a broker: what is written, for whom, and what is refused."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.broker_config import acl_text, config_text
from gateway.identities import IdentitiesError, Identity, Standing
from process.bundle import BUNDLE_BYTES_MAX, BundleError, pack, read_bundle, unpack
from process.files import replace_file

ROOT = Path(__file__).parents[2]
KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
FILES = {"ca.pem": "ca\n", "identity.pem": "certificate\n" + KEY, "post.toml": 'ca = "@here@/c"\n'}


def written(tmp_path: Path, content: bytes | None = None) -> Path:
    path = tmp_path / "mlg-rw01.kentongan"
    path.write_bytes(pack("post", "mlg-rw01", FILES) if content is None else content)
    return path


def test_a_bundle_reads_back_and_its_files_lie_where_they_were_put(tmp_path: Path) -> None:
    bundle = read_bundle(written(tmp_path), "post")
    to = tmp_path / "there"
    assert {path.name for path in unpack(bundle, to)} == set(FILES)
    assert (to / "post.toml").read_text() == f'ca = "{to}/c"\n'
    assert (to / "identity.pem").read_text() == FILES["identity.pem"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in to.iterdir()}
    assert modes == {"ca.pem": 0o644, "post.toml": 0o644, "identity.pem": 0o600}
    unpack(bundle, to)  # again, over what is there


@pytest.mark.parametrize("cut", [0, 1, 100, -2])
def test_a_bundle_that_was_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    whole = pack("post", "mlg-rw01", FILES)
    with pytest.raises(BundleError, match="copy it again"):
        read_bundle(written(tmp_path, whole[:cut]), "post")


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    whole = pack("post", "mlg-rw01", FILES)
    for at in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[at] ^= 0x01
        path = written(tmp_path, bytes(changed))
        said = refusal(path)
        # Some bytes are blanks between two fields; then nothing has changed.
        assert said is None or "c2VjcmV0" not in said
        assert said is not None or read_bundle(path, "post").files == FILES


def refusal(path: Path) -> str | None:
    try:
        read_bundle(path, "post")
    except BundleError as error:
        return str(error)
    return None


def with_(changes: dict[str, Any]) -> bytes:
    """Another content under its own right checksum: only its form can betray it."""
    whole = {**json.loads(pack("post", "mlg-rw01", FILES)), **changes}
    if "sha256" not in changes:
        whole["sha256"] = json.loads(pack(whole["role"], whole["name"], whole["files"]))["sha256"]
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"files": {"../evil.pem": "x"}}, "shape"),
        ({"files": {"/etc/passwd": "x"}}, "shape"),
        ({"files": {"evil.sh": "x"}}, "shape"),
        ({"files": {}}, "shape"),
        ({"files": {f"f{n}.pem": "x" for n in range(9)}}, "shape"),
        ({"files": {"ca.pem": "x" * 65_537}}, "shape"),
        ({"files": ["ca.pem"]}, "cut"),
        ({"name": "../x"}, "shape"),
        ({"kentongan_bundle": 0}, "shape"),
        ({"kentongan_bundle": 2}, "newer"),
        ({"sha256": "0" * 64}, "changed"),
    ],
)
def test_a_bundle_that_nobody_made_is_refused(
    tmp_path: Path, changes: dict[str, Any], kind: str
) -> None:
    with pytest.raises(BundleError) as refused:
        read_bundle(written(tmp_path, with_(changes)), "post")
    assert refused.value.kind == kind


def test_a_bundle_for_another_role_is_refused_by_its_role(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is for a post, not for a gateway"):
        read_bundle(written(tmp_path), "gateway")


def test_what_cannot_be_a_bundle_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        read_bundle(tmp_path / "nowhere", "post")
    with pytest.raises(BundleError, match="Is a directory"):
        read_bundle(tmp_path, "post")
    with pytest.raises(BundleError, match="larger than"):
        read_bundle(written(tmp_path, b" " * (BUNDLE_BYTES_MAX + 1)), "post")
    with pytest.raises(BundleError):
        read_bundle(written(tmp_path, b"[" * 100_000), "post")


def test_a_directory_that_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bundle = read_bundle(written(tmp_path), "post")
    with pytest.raises(BundleError, match=r"Not a directory|File exists"):
        unpack(bundle, tmp_path / "file" / "below")


def test_a_file_is_replaced_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")

    def fails(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


# --- the broker's files ---------------------------------------------------------------------------


def standing(identity: Identity, serial: str | None = "1") -> Standing:
    return Standing(identity, serial, None if serial is None else 1, 0)


CITY = [
    standing(Identity("console", "console", console_role="operator")),
    standing(Identity("layar", "console", console_role="viewer")),
    standing(Identity("mlg-gw1-mcc", "gateway")),
    standing(Identity("mlg-gw1-posts", "gateway")),
    standing(Identity("mlg-rw01", "post")),
    standing(Identity("mlg-rw02", "post"), None),
]


def rules(text: str, user: str) -> list[str]:
    _, _, rest = text.partition(f"user {user}\n")
    return rest.partition("\n\n")[0].splitlines()


def test_posts_need_no_lines_of_their_own_unless_they_are_shut_out() -> None:
    text = acl_text(CITY, frozenset(("posts",)), "kentongan/v1")
    assert "mlg-rw01" not in text
    assert rules(text, "mlg-rw02") == ["topic deny #"]
    assert "pattern write kentongan/v1/posts/%u/alarms" in text
    assert "pattern read kentongan/v1/posts/%u/certificate" in text
    assert "pattern write kentongan/v1/posts/%u/state" not in text


@pytest.mark.parametrize(
    ("page", "serves"),
    [("docs/emqx.md", ("posts", "mcc")), ("config/emqx.conf", ("districts",))],
)
def test_what_is_written_for_emqx_allows_what_ours_allows(
    page: str, serves: tuple[str, ...]
) -> None:
    """And to each name no less; a row for every post stands for its pattern."""
    page_text = re.sub(r"^# ?", "", (ROOT / page).read_text(), flags=re.MULTILINE)
    found = re.findall(r'{allow, (?:all|{user, "(.+?)"}), (\w+), \[(.*?)\]}', page_text, re.DOTALL)
    allowed = {
        (user, "read" if action == "subscribe" else "write", topic)
        for user, action, topics in found
        for topic in re.findall(r'"(.+?)"', topics)
    }
    text = acl_text(CITY, frozenset(serves), "kentongan/v1")
    users = {user for user, _, _ in allowed if user and user in text}
    assert {"mlg-gw1-mcc", "console"} <= users
    needed = {
        (user, *line.split()[1:])
        for user in users
        for line in rules(text, user)
        if "topic deny" not in line
    }
    for line in re.findall("^pattern .*", text, re.MULTILINE):
        _, action, topic = line.split()
        needed.add(("", action, topic.replace("%u", "${username}")))
    # A `#` of theirs covers each of our topics.
    wide = {(user, what, topic[:-1]) for user, what, topic in allowed if topic.endswith("/#")}
    missing = [
        one
        for one in needed - allowed
        if not any(one[:2] == rule[:2] and one[2].startswith(rule[2]) for rule in wide)
    ]
    assert missing == []


def test_a_broker_denies_whom_it_does_not_serve() -> None:
    posts = acl_text(CITY, frozenset(("posts",)), "r")
    assert rules(posts, "console") == rules(posts, "mlg-gw1-mcc") == ["topic deny #"]
    mcc = acl_text(CITY, frozenset(("mcc",)), "r")
    assert rules(mcc, "mlg-gw1-posts") == ["topic deny #"]
    assert "pattern" not in mcc


def test_a_console_writes_its_own_commands_and_a_viewer_nothing() -> None:
    text = acl_text(CITY, frozenset(("mcc",)), "r")
    writes = [line for line in rules(text, "console") if "write" in line]
    assert writes == ["topic write r/mcc/commands/console"]
    assert not [line for line in rules(text, "layar") if "write" in line]
    assert "topic deny r/posts/#" in rules(text, "console")


def test_a_gateway_speaks_for_no_other_gateway() -> None:
    text = acl_text(CITY, frozenset(("mcc",)), "r")
    assert "topic write r/mcc/gateways/mlg-gw1" in rules(text, "mlg-gw1-mcc")
    assert "topic write r/mcc/gateways/+" not in rules(text, "mlg-gw1-mcc")


def test_where_districts_meet_a_gateway_has_nothing_but_what_stands_below_its_own_name() -> None:
    text = acl_text(CITY, frozenset(("districts",)), "r")
    of_gateway = rules(text, "mlg-gw1-mcc")
    elsewhere = [line for line in of_gateway if not line.split()[2].startswith("r/mlg-gw1/mcc/")]
    assert elsewhere == ["topic read r/+/mcc/gateways/+"]
    assert rules(text, "mlg-gw1-posts") == ["topic deny #"]
    assert "pattern" not in text
    writes = [line for line in rules(text, "console") if "write" in line]
    assert writes == ["topic write r/+/mcc/commands/console"]
    assert not [line for line in rules(text, "layar") if "write" in line]


def test_the_plain_listener_is_on_loopback_and_only_when_asked_for(tmp_path: Path) -> None:
    without = config_text(tmp_path, port=8883, plain_port=None, owner="mosquitto")
    assert [line for line in without.splitlines() if line.startswith("listener")] == [
        "listener 8883"
    ]
    with_plain = config_text(tmp_path, port=8883, plain_port=1883, owner="mosquitto")
    assert "listener 1883 127.0.0.1" in with_plain
    for line in (
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "tls_version tlsv1.2",
        "max_queued_messages 0",
        "set_tcp_nodelay true",
        "allow_anonymous false",
    ):
        assert line in without


def test_a_directory_that_mosquitto_cannot_name_is_refused() -> None:
    with pytest.raises(IdentitiesError, match="no blanks"):
        config_text(Path("/tmp/with blank"), port=1, plain_port=None, owner="x")


def test_a_bundle_that_is_shown_shows_no_key(tmp_path: Path) -> None:
    assert "c2VjcmV0" not in repr(read_bundle(written(tmp_path), "post"))
