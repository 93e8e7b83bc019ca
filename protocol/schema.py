"""Writes the JSON Schemas and the AsyncAPI document under docs/protocol/ from the structs.

`python -m protocol.schema DIRECTORY` writes them; a test fails when the committed ones are stale.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from protocol.codec import bytes_max
from protocol.messages import MESSAGES, NEEDED, Action, Command
from protocol.topics import DEFAULT_ROOT, NEVER_RETAINED

TOPICS: dict[str, tuple[str, str]] = {
    # message: topic under the root, who publishes
    "posts/alarms": ("posts/{post}/alarms", "post"),
    "posts/presence": ("posts/{post}/presence", "post"),
    "posts/health": ("posts/{post}/health", "post"),
    "posts/answer": ("posts/{post}/answer", "gateway"),
    "posts/state": ("posts/{post}/state", "gateway"),
    "posts/renewal": ("posts/{post}/renewal", "post"),
    "posts/certificate": ("posts/{post}/certificate", "gateway"),
    "mcc/alarms": ("mcc/alarms/{alarm_id}", "gateway"),
    "mcc/posts": ("mcc/posts/{post}", "gateway"),
    "mcc/gateways": ("mcc/gateways/{gateway}", "gateway"),
    "mcc/commands": ("mcc/commands/{console}", "mcc"),
    "mcc/answers": ("mcc/answers/{console}", "gateway"),
}


def documents() -> dict[str, str]:
    """All generated files: name -> text."""
    files = {}
    for word, kind in MESSAGES.items():
        schema = _portable(msgspec.json.schema(kind))
        if kind is Command:
            schema["$defs"]["Command"]["allOf"] = [_needs(action) for action in NEEDED]
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        files[_file_of(word)] = _text(schema)
    files["asyncapi.json"] = _text(_asyncapi())
    return files


def _portable(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _portable_text(key, value) for key, value in part.items()}
    return [_portable(value) for value in part] if isinstance(part, list) else part


def _portable_text(key: str, value: Any) -> Any:
    if key == "pattern":
        # Python's `\Z` is what `$` means everywhere else: ECMA-262, which JSON Schema names, RE2.
        return value.replace(r"\Z", "$")
    if key == "description" and isinstance(value, str):
        # A docstring, with its indentation or, from Python 3.13 on, without.
        return inspect.cleandoc(value)
    return _portable(value)


def _needs(action: Action) -> dict[str, Any]:
    fields = NEEDED[action]
    return {
        "if": {"properties": {"action": {"const": action}}},
        "then": {
            "required": list(fields),
            "properties": {field: {"not": {"type": "null"}} for field in fields},
        },
    }


def _file_of(word: str) -> str:
    return word.replace("/", "-") + ".schema.json"


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=True, sort_keys=True) + "\n"


def _asyncapi() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for word, (topic, publisher) in TOPICS.items():
        side, what = word.split("/")
        key = word.replace("/", "-")
        retained = (side, what) not in NEVER_RETAINED
        names = [part[1:-1] for part in topic.split("/") if part.startswith("{")]
        channels[key] = {
            "address": f"{DEFAULT_ROOT}/{topic}",
            "parameters": {name: {} for name in names},
            "messages": {key: {"$ref": f"#/components/messages/{key}"}},
            "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
        }
        operations[f"{publisher}-sends-{key}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{key}"},
            "bindings": {"mqtt": {"qos": 1, "retain": retained, "bindingVersion": "0.2.0"}},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Kentongan",
            "version": "1",
            "description": "From the red button of a guard post to the command centre and back.",
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {
                word.replace("/", "-"): {
                    "contentType": "application/json",
                    "summary": (kind.__doc__ or "").split("\n")[0],
                    "description": f"At most {bytes_max(kind)} bytes.",
                    "payload": {"$ref": f"./{_file_of(word)}"},
                }
                for word, kind in MESSAGES.items()
            }
        },
    }


def main(arguments: list[str]) -> int:
    """Write every document into the directory named on the command line."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m protocol.schema DIRECTORY\n")
        return 2
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (directory / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
