"""The OpenAPI 3.1 document of the API, made from the table of routes and the shapes.

`DJANGO_SETTINGS_MODULE=mcc.site.settings python -m mcc.api.openapi FILE` writes it; a test fails
when the committed one is stale.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mcc.api.shapes import Refusal

if TYPE_CHECKING:
    from mcc.api.routes import Route

_TO_SCHEMA = "#/components/schemas/{name}"
_PROBLEMS = {
    "400": "What was asked does not fit: `why` says where",
    "401": "No token, or one that does not count",
    "403": "The token, its account's role or its area does not allow this",
    "404": "There is no such alarm, post or unit",
    "409": "Somebody was first, or the alarm has become another one: look again",
    "413": "Too long",
    "503": "Too much is being sent already: no gateway is connected",
}


def document() -> dict[str, Any]:
    """The whole document, ready for JSON."""
    # With the models behind it, which `python -m` has still to make ready.
    from mcc.api.routes import ROUTES

    types: list[type[msgspec.Struct]] = [Refusal]
    for route in ROUTES:
        types += [route.gives] if route.body is None else [route.gives, route.body]
    ordered = sorted(set(types), key=lambda one: one.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_TO_SCHEMA)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(f"/api/v1/{route.path}", {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kentongan command centre",
            "version": "1",
            "description": "Read alarms and posts, act on alarms. The same rules hold as for"
            " people: a token does what the role of its account may.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": _portable(schemas),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", route.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    if route.query is not None:
        fields = msgspec.json.schema_components([route.query], ref_template=_TO_SCHEMA)[1]
        for name, schema in fields[route.query.__name__]["properties"].items():
            given = _portable(_given(schema))
            parameters.append({"name": name, "in": "query", "required": False, "schema": given})
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": _content(route.gives.__name__, "It is so"),
            **{status: _content("Refusal", words) for status, words in _PROBLEMS.items()},
        },
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(route.body.__name__)}},
        }
    return operation


def _content(name: str, words: str) -> dict[str, Any]:
    return {
        "description": words,
        "content": {"application/json": {"schema": _reference(name)}},
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _TO_SCHEMA.format(name=name)}


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is given is not null."""
    kinds = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**rest, **kinds[0]}


def _portable(schema: Any) -> Any:
    """The same with patterns as every reader of JSON Schema knows them (ECMA-262)."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\Z", "$")
            if key == "pattern" and isinstance(value, str)
            else _portable(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_portable(one) for one in schema]
    return schema


def main() -> None:
    """Write the document to the file that is named."""
    Path(sys.argv[1]).write_text(json.dumps(document(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    import django

    django.setup()
    main()
