"""Who tried what, counted from log lines; and what an attacker's own words cannot make it count."""

from __future__ import annotations

from pathlib import Path

import pytest

import gateway.attempts
from gateway.attempts import NOBODY, Attempt, Attempts
from gateway.cli import main
from gateway.identities import Identity
from protocol.topics import Topics

POST, OTHER, CONSOLE = "mlg-rw01", "mlg-rw02", "console"
EVERYBODY = (
    Identity(POST, "post"),
    Identity(OTHER, "post"),
    Identity(CONSOLE, "console", console_role="operator"),
    Identity("gw-posts", "gateway"),
    Identity("gw-mcc", "gateway"),
)
TOPICS = Topics()
JOURNAL = "Nov 25 05:11:08 gw mosquitto[412]: "
GATEWAY = "at=2026-11-25T05:11:08.000Z level=warning "


def counted(*lines: str) -> dict[Attempt, int]:
    attempts = Attempts(EVERYBODY, TOPICS)
    for line in lines:
        attempts.read(line + "\n")
    return dict(attempts.counts)


def broker(said: str) -> str:
    return f"1795583396: {said}"


def connects(who: str, will: str | None) -> list[str]:
    lines = [f"New client connected from 127.0.0.1:1 as {who} (p5, c1, k10, u'{who}')."]
    if will is None:
        lines.append("No will message specified.")
    else:
        lines += ["Will message specified (1 bytes) (r1, q1).", f"\t{will}"]
    return [broker(line) for line in lines]


def test_a_gateway_that_writes_json_is_read_as_well() -> None:
    line = (
        '{"at": "2026-11-25T05:11:08.000000Z", "part": "gateway", "level": "warning",'
        f' "event": "not_admitted", "who": "{POST}", "why": "denied", "count": 4}}'
    )
    assert counted(line, JOURNAL + line[:-1]) == {Attempt("denied", POST): 4}


@pytest.mark.parametrize(
    ("line", "what", "who"),
    [
        (broker(f"Denied PUBLISH from {POST} (d0, q1, r0, m1, 'x', ..."), "publish_denied", POST),
        (broker(f"{POST} 1 $share/thief/#"), "subscription", POST),
        (broker(f"{POST} 1 {TOPICS.post(OTHER, 'state')}"), "subscription", POST),
        (broker(f"{CONSOLE} 1 {TOPICS.mcc('commands', '+')}"), "subscription", CONSOLE),
        (broker("who-is-that 1 #"), "subscription", "who-is-that"),
        (
            broker(f"Client {POST} disconnected due to oversize packet."),
            "packet_too_large",
            POST,
        ),
        (
            broker("OpenSSL Error[0]: error:0A0:SSL routines::certificate verify failed"),
            "no_certificate",
            NOBODY,
        ),
        (
            broker(
                "Client connection from 10.0.0.9 failed: error:0A0:SSL routines::"
                "certificate verify failed."
            ),
            "no_certificate",
            "10.0.0.9",
        ),
        (
            broker(
                "Client connection from 10.0.0.9 failed: error:0A0:SSL routines::"
                "wrong version number."
            ),
            "no_tls",
            "10.0.0.9",
        ),
        (
            GATEWAY + f"event=not_admitted link=mcc who={CONSOLE} what=commands why=above_role"
            " count=1",
            "above_role",
            CONSOLE,
        ),
        (
            GATEWAY + f"event=message_refused link=posts topic={TOPICS.post(POST, 'alarms')}"
            " reason=refused_content why=\"the payload speaks of 'x'\" refused=1",
            "refused_content",
            POST,
        ),
        (
            GATEWAY + f"event=refused what=command_too_old count=1 console={CONSOLE}",
            "command_too_old",
            CONSOLE,
        ),
        (GATEWAY + f'event=renewal_refused post={POST} why="not signed"', "renewal", POST),
        (GATEWAY + "event=control_refused user=1000", "control", "uid 1000"),
    ],
)
def test_a_line_of_a_refusal_is_counted_under_who_it_names(line: str, what: str, who: str) -> None:
    assert counted(line) == {Attempt(what, who): 1}
    assert counted(JOURNAL + line) == {Attempt(what, who): 1}


@pytest.mark.parametrize(
    "line",
    [
        broker(f"{POST} 1 {TOPICS.post(POST, 'state')}"),
        broker(f"gw-posts 1 {TOPICS.post('+', 'alarms')}"),
        broker(f"gw-mcc 1 {TOPICS.mcc('commands', '+')}"),
        broker(f"{CONSOLE} 1 {TOPICS.mcc('answers', CONSOLE)}"),
        broker(f"Sending PUBLISH to {POST} (d0, q1, r0, m3, 'x', ... (139 bytes))"),
        broker("OpenSSL Error[0]: error:0A000126:SSL routines::unexpected eof while reading"),
        GATEWAY + "event=link_up link=posts",
        "",
        "not a line of a log",
    ],
)
def test_what_is_nobodys_fault_counts_nothing(line: str) -> None:
    assert counted(line) == {}


def test_a_will_on_a_topic_of_another_is_counted_and_ones_own_is_not() -> None:
    own, others = TOPICS.post(POST, "presence"), TOPICS.post(OTHER, "presence")
    assert counted(*connects(POST, own), *connects(POST, None)) == {}
    assert counted(*connects("gw-mcc", TOPICS.mcc("gateways", "gw"))) == {}
    assert counted(*connects(POST, others)) == {Attempt("will_of_another", POST): 1}
    # The topics of a SUBSCRIBE look the same in the log, and are counted where they are granted.
    asks = [broker(f"Received SUBSCRIBE from {POST}"), broker("\t# (QoS 1)")]
    assert counted(*connects(POST, None), *asks) == {}


def test_a_counter_in_a_line_is_taken_as_it_is_also_over_a_new_start() -> None:
    line = GATEWAY + f"event=not_admitted link=posts who={POST} what=health why=flood count="
    flood = Attempt("flood", POST)
    assert counted(*(f"{line}{n}" for n in (1, 2, 4, 8))) == {flood: 8}
    again = GATEWAY + "event=gateway_ready gateway=gw"
    assert counted(f"{line}8", again, f"{line}1", f"{line}2") == {flood: 10}


@pytest.mark.parametrize(
    "words",
    [
        f"1795583396: Denied PUBLISH from {OTHER} (d0",
        f"at=1 level=warning event=not_admitted who={OTHER} why=denied count=99",
        f"\nClient {OTHER} disconnected due to oversize packet",
    ],
)
def test_what_an_attacker_names_cannot_put_the_blame_on_another(words: str) -> None:
    denied = broker(f"Denied PUBLISH from {POST} (d0, q1, r0, m1, '{words}', ... (2 bytes))")
    found = counted(*denied.split("\n"))
    assert found == {Attempt("publish_denied", POST): 1}
    refused = GATEWAY + f"event=message_refused link=posts topic=x reason=refused_topic why={words}"
    assert counted(*refused.split("\n")) == {Attempt("refused_topic", NOBODY): 1}


@pytest.mark.parametrize("count", ["-1", "x", "", "9" * 400, '"\\q"'])
def test_a_counter_that_is_none_counts_nothing(count: str) -> None:
    assert not any(
        counted(GATEWAY + f"event=not_admitted who={POST} why=flood count={count}").values()
    )


def test_at_its_bound_names_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.attempts, "NAMES_MAX", 3)
    found = counted(*(broker(f"invented-{n} 1 #") for n in range(10)))
    assert found[Attempt("others", NOBODY)] == 7
    assert len(found) == 4


def test_the_command_shows_most_first_and_names_a_file_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        'gateway_id = "gw"\n[posts]\nurl = "mqtts://localhost:1"\n[mcc]\n'
        'url = "mqtts://localhost:1"\n[journal]\nurl = "sqlite:///journal.db"\n'
        f'[identities]\ndirectory = "{tmp_path / "register"}"\n'
    )
    assert main(["ca", "init", "--config", str(config)]) == 0
    log = tmp_path / "log"
    log.write_text(f"{broker('a 1 #')}\n" + f"{broker('b 1 #')}\n" * 2)
    capsys.readouterr()
    assert main(["attempts", "--config", str(config), str(log)]) == 0
    assert capsys.readouterr().out.split() == ["2", "subscription", "b", "1", "subscription", "a"]
    assert main(["attempts", "--config", str(config), str(tmp_path / "nowhere")]) == 2
    assert "nowhere: No such file or directory" in capsys.readouterr().err
