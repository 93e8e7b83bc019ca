"""Topics are built and parsed in one place; whatever is not the contract's is refused."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.messages import MESSAGES
from protocol.topics import (
    DEFAULT_ROOT,
    NEVER_RETAINED,
    ROOT_CHARS_MAX,
    ROOT_PATTERN,
    Address,
    MccTopic,
    PostTopic,
    Topics,
)
from protocol.values import NAME_PATTERN

NAMES = st.from_regex(re.compile(NAME_PATTERN), fullmatch=True)
ROOTS = st.from_regex(re.compile(ROOT_PATTERN), fullmatch=True).filter(
    lambda root: len(root) <= ROOT_CHARS_MAX
)
ALARM_ID = "0b8f3c52-5f0e-4d1e-9a76-2f4f6d1f9a01"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ROOTS, NAMES, st.sampled_from(get_args(PostTopic)))
def test_a_posts_topic_reads_back_as_it_was_built(root: str, post: str, what: PostTopic) -> None:
    topics = Topics(root)
    assert topics.parse(topics.post(post, what)) == Address("posts", what, post)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ROOTS, NAMES, st.uuids().map(str), st.sampled_from(get_args(MccTopic)))
def test_an_mcc_topic_reads_back_as_it_was_built(
    root: str, name: str, alarm_id: str, what: MccTopic
) -> None:
    topics = Topics(root)
    named = alarm_id if what == "alarms" else name
    assert topics.parse(topics.mcc(what, named)) == Address("mcc", what, named)


def test_the_longest_topic_under_the_longest_root_is_read() -> None:
    topics = Topics("r" * ROOT_CHARS_MAX)
    assert topics.parse(topics.post("p" * 64, "presence")).name == "p" * 64


def test_every_message_has_a_topic_and_every_topic_a_message() -> None:
    words = {f"posts/{what}" for what in get_args(PostTopic)}
    words |= {f"mcc/{what}" for what in get_args(MccTopic)}
    assert words == MESSAGES.keys()
    assert {f"{side}/{what}" for side, what in NEVER_RETAINED} <= words


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "kentongan/v1",
        "kentongan/v1/",
        "kentongan/v1/posts",
        "kentongan/v1/posts/p",
        "kentongan/v1/posts/p/alarms/more",
        "kentongan/v1/posts//alarms",
        "kentongan/v1//posts/p/alarms",
        "/kentongan/v1/posts/p/alarms",
        "kentongan/v1/posts/p/alarms/",
        "kentongan/v1/posts/p/alarms\n",
        "kentongan/v1/posts/p\n/alarms",
        "kentongan/v1/posts/p\x00/alarms",
        "kentongan/v1/posts/+/alarms",
        "kentongan/v1/posts/#",
        "kentongan/v1/posts/p/#",
        "kentongan/v1/posts/p/+",
        "$share/g/kentongan/v1/posts/p/alarms",
        "kentongan/v1/posts/$share/alarms",
        "kentongan/v1/posts/P/alarms",
        "kentongan/v1/posts/-p/alarms",
        "kentongan/v1/posts/p-/alarms",
        "kentongan/v1/posts/p.q/alarms",
        "kentongan/v1/posts/%/alarms",
        "kentongan/v1/posts/p\u0301/alarms",
        "kentongan/v1/posts/\u0661/alarms",
        "kentongan/v1/posts/" + "p" * 65 + "/alarms",
        "kentongan/v1/posts/" + "p" * 65_000 + "/alarms",
        "kentongan/v1/posts/p/commands",
        "kentongan/v1/posts/p/Alarms",
        "kentongan/v2/posts/p/alarms",
        "kentongan/v1x/posts/p/alarms",
        "kentongan/v1/mcc/alarms/p",
        f"kentongan/v1/mcc/alarms/{ALARM_ID.upper()}",
        f"kentongan/v1/mcc/alarms/{ALARM_ID}\n",
        "kentongan/v1/mcc/alarms/+",
        "kentongan/v1/mcc/commands/",
        "kentongan/v1/mcc/state/p",
        "kentongan/v1/other/alarms/p",
        "\ud800",
    ],
)
def test_a_topic_that_is_not_the_contracts_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="no topic of the contract"):
        Topics().parse(topic)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(max_size=300) | st.text("kentongav1posmcrld/+#$-", max_size=60))
def test_no_topic_does_more_than_be_refused(tail: str) -> None:
    topics = Topics()
    topic = f"{DEFAULT_ROOT}/{tail}"
    try:
        address = topics.parse(topic)
    except ValueError:
        return
    assert topic in (
        f"{DEFAULT_ROOT}/posts/{address.name}/{address.what}",
        f"{DEFAULT_ROOT}/mcc/{address.what}/{address.name}",
    )


@pytest.mark.parametrize(
    "root",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "a/+",
        "#",
        "$share/a",
        "a b",
        "a\n",
        "a\x00",
        "\u00e9",
        "a/b/c/d/e/f",
        "a" * (ROOT_CHARS_MAX + 1),
    ],
)
def test_a_root_that_could_mean_something_else_is_refused(root: str) -> None:
    with pytest.raises(ValueError, match="not a topic root"):
        Topics(root)


def test_presses_and_commands_are_never_retained_and_documents_are() -> None:
    never = {word for word in MESSAGES if Address(*_split(word), "x").never_retained}
    assert never == {
        "posts/alarms",
        "posts/health",
        "posts/answer",
        "posts/renewal",
        "posts/certificate",
        "mcc/commands",
        "mcc/answers",
    }


def _split(word: str) -> tuple[Any, str]:
    side, what = word.split("/")
    return side, what


def test_below_a_districts_name_a_gateway_knows_its_own_topics_and_no_others() -> None:
    topics = Topics(district="mlg-gw1")
    assert topics.mcc("commands", "+") == "kentongan/v1/mlg-gw1/mcc/commands/+"
    assert topics.post("mlg-rw01", "state") == "kentongan/v1/posts/mlg-rw01/state"
    own = topics.parse("kentongan/v1/mlg-gw1/mcc/commands/console")
    assert own == Address("mcc", "commands", "console")
    assert topics.parse(topics.post("mlg-rw01", "state")).side == "posts"
    for foreign in (
        "kentongan/v1/sby-gw1/mcc/commands/console",
        "kentongan/v1/mcc/commands/console",
    ):
        with pytest.raises(ValueError, match="no topic of the contract"):
            topics.parse(foreign)


def test_who_hears_every_district_knows_whose_a_topic_is() -> None:
    topics = Topics(district="+")
    assert topics.mcc("posts", "+") == "kentongan/v1/+/mcc/posts/+"
    assert topics.mcc("commands", "c", "sby-gw1") == "kentongan/v1/sby-gw1/mcc/commands/c"
    found = topics.parse("kentongan/v1/sby-gw1/mcc/posts/sby-rw01")
    assert found == Address("mcc", "posts", "sby-rw01", "sby-gw1")
    for foreign in ("kentongan/v1/mcc/posts/sby-rw01", "kentongan/v1/UP/mcc/posts/sby-rw01"):
        with pytest.raises(ValueError, match="no topic of the contract"):
            topics.parse(foreign)
