"""The published schemas are those of the code, portable, and agree with what the code takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol import schema
from protocol.codec import encode
from protocol.messages import MESSAGES, NEEDED, Action, Command, Message
from protocol.topics import DEFAULT_ROOT, Topics
from tests.protocol.specimens import ALL, EXAMPLES, command, largest, legal

DIRECTORY = Path(__file__).parents[2] / "docs" / "protocol"
DOCUMENTS = schema.documents()


def _validator(word: str) -> Any:
    published = json.loads(DOCUMENTS[word.replace("/", "-") + ".schema.json"])
    return jsonschema.Draft202012Validator(published)


VALIDATORS = {word: _validator(word) for word in MESSAGES}


def _patterns(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "pattern":
                yield value
            else:
                yield from _patterns(value)
    elif isinstance(part, list):
        for value in part:
            yield from _patterns(value)


def test_the_committed_documents_are_not_stale() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")}
    assert committed.keys() == DOCUMENTS.keys()
    stale = [name for name, text in DOCUMENTS.items() if committed[name] != text]
    assert stale == [], "run: python -m protocol.schema docs/protocol"


def test_the_command_writes_what_is_documented(tmp_path: Path) -> None:
    assert schema.main([str(tmp_path / "new")]) == 0
    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "new").iterdir()}
    assert written == DOCUMENTS


def test_the_command_without_a_directory_says_how_it_is_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert schema.main([]) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("word", MESSAGES)
def test_each_schema_is_a_valid_schema(word: str) -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATORS[word].schema)


@pytest.mark.parametrize("word", MESSAGES)
def test_published_patterns_are_regular_expressions_of_every_language(word: str) -> None:
    patterns = list(_patterns(VALIDATORS[word].schema))
    assert patterns
    for pattern in patterns:
        assert pattern.startswith("^")
        assert pattern.endswith("$")
        # Only what ECMA-262 and RE2 read alike: no anchors, classes or groups of Python's own.
        assert re.findall(r"\\(?!x[0-9a-f]{2}|\.)", pattern) == []
        assert re.findall(r"\(\?(?!:)", pattern) == []
        pattern.encode("utf-8")  # a lone surrogate would make strict readers refuse the file


@pytest.mark.parametrize(("word", "message"), ALL)
def test_every_example_message_satisfies_its_schema(word: str, message: Message) -> None:
    VALIDATORS[word].validate(json.loads(encode(message)))


@pytest.mark.parametrize("word", MESSAGES)
def test_the_largest_legal_message_satisfies_its_schema(word: str) -> None:
    VALIDATORS[word].validate(json.loads(encode(largest(MESSAGES[word]))))


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_whatever_can_be_sent_satisfies_its_schema(data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(sorted(MESSAGES)))
    VALIDATORS[word].validate(json.loads(encode(data.draw(legal(MESSAGES[word])))))


@pytest.mark.parametrize("word", MESSAGES)
def test_a_schema_demands_version_1_and_every_required_field(word: str) -> None:
    whole = json.loads(encode(EXAMPLES[word][0]))
    top = VALIDATORS[word].schema["$defs"][MESSAGES[word].__name__]
    assert "v" in top["required"]
    for name in top["required"]:
        less = {key: value for key, value in whole.items() if key != name}
        assert not VALIDATORS[word].is_valid(less), name
    assert not VALIDATORS[word].is_valid(whole | {"v": 2})


@pytest.mark.parametrize(
    ("action", "name"), [(action, name) for action in NEEDED for name in NEEDED[action]]
)
def test_the_schema_of_commands_says_what_each_action_needs(action: Action, name: str) -> None:
    whole = json.loads(encode(command(action)))
    validator = VALIDATORS["mcc/commands"]
    assert not validator.is_valid({key: whole[key] for key in whole if key != name})
    assert not validator.is_valid(whole | {name: None})


def test_the_page_of_topics_refers_to_files_that_exist() -> None:
    page = json.loads((DIRECTORY / "asyncapi.json").read_text(encoding="utf-8"))
    files = {part["payload"]["$ref"] for part in page["components"]["messages"].values()}
    assert files == {f"./{word.replace('/', '-')}.schema.json" for word in MESSAGES}
    assert all((DIRECTORY / name).is_file() for name in files)


def test_every_reference_inside_the_page_of_topics_leads_somewhere() -> None:
    page = json.loads(DOCUMENTS["asyncapi.json"])
    references = [part["channel"]["$ref"] for part in page["operations"].values()]
    for channel in page["channels"].values():
        references += [message["$ref"] for message in channel["messages"].values()]
    assert len(references) == 2 * len(MESSAGES)
    for reference in references:
        found = page
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert found


def test_the_page_of_topics_names_the_topics_that_the_code_reads_and_how_they_are_kept() -> None:
    page = json.loads(DOCUMENTS["asyncapi.json"])
    names = {"alarm_id": "0b8f3c52-5f0e-4d1e-9a76-2f4f6d1f9a01"}
    for operation in page["operations"].values():
        channel = page["channels"][operation["channel"]["$ref"].rsplit("/", 1)[1]]
        topic = channel["address"].format(
            **{name: names.get(name, "some-name") for name in channel["parameters"]}
        )
        address = Topics(DEFAULT_ROOT).parse(topic)
        assert operation["bindings"]["mqtt"]["retain"] is not address.never_retained
        assert operation["bindings"]["mqtt"]["qos"] == 1


def test_commands_are_the_only_schema_with_conditions() -> None:
    with_conditions = [
        word
        for word in MESSAGES
        if "allOf" in VALIDATORS[word].schema["$defs"][MESSAGES[word].__name__]
    ]
    assert [MESSAGES[word] for word in with_conditions] == [Command]
