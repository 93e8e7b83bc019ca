"""What a Prometheus endpoint shows, and what the files for Grafana and Prometheus ask for."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[1]
DASHBOARD = ROOT / "config" / "grafana" / "kentongan.json"
RULES = ROOT / "config" / "prometheus" / "kentongan-rules.yml"

_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<range>\[(?:\d+[smhd]|\$__rate_interval)\])'
    r"|(?P<number>\d+(?:\.\d+)?)|(?P<word>[A-Za-z_:][A-Za-z0-9_:]*)"
    r"|(?P<sign>[-+*/(){},]|=~|!~|!=|==|>=|<=|=|>|<))"
)
_FUNCTIONS = frozenset(("rate", "increase", "changes", "sum", "min", "max", "histogram_quantile"))
_WORDS = frozenset(("by", "le"))
_OPEN = {"(": ")", "{": "}"}


class WrongQuery(Exception):
    """It is no PromQL, as far as that can be told without Prometheus."""


def scrape(port: int) -> str:
    """The endpoint's text."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def exposed(text: str) -> set[str]:
    """The names that can be asked for."""
    names: set[str] = set()
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    for family in text_string_to_metric_families(text):
        names |= {family.name + ending for ending in endings.get(family.type, ("",))}
        names |= {sample.name for sample in family.samples}
    return names


def dashboard_queries() -> list[str]:
    """Every expression of the dashboard, its variables included."""
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            asked.append(variable["query"].removeprefix("label_values(").partition(",")[0])
    return asked


def rules() -> list[dict[str, Any]]:
    """Every rule."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_in(query: str) -> set[str]:
    """The metrics that a query names.

    Raises:
        WrongQuery: brackets, strings or operators do not fit, or a function is unknown.
    """
    found: set[str] = set()
    closing: list[str] = []
    is_labels = False  # the list after `by`
    words = list(_words(query))
    for place, (kind, word) in enumerate(words):
        following = words[place + 1][1] if place + 1 < len(words) else ""
        if word in _OPEN:
            is_labels = word == "(" and place > 0 and words[place - 1][1] == "by"
            closing.append(_OPEN[word])
        elif word in (")", "}"):
            if not closing or closing.pop() != word:
                raise WrongQuery(f"{word} closes nothing: {query}")
            is_labels = False
        elif kind == "word" and not is_labels and "}" not in closing[-1:]:
            if following == "(" and word not in (*_FUNCTIONS, "by"):
                raise WrongQuery(f"no function that is known here: {word}")
            if word not in (*_FUNCTIONS, *_WORDS):
                found.add(word)
        elif kind == "range" and words[place - 1][0] != "word" and words[place - 1][1] != "}":
            raise WrongQuery(f"{word} follows no metric: {query}")
    if closing:
        raise WrongQuery(f"{closing[-1]} is missing: {query}")
    return found


def _words(query: str) -> Iterator[tuple[str, str]]:
    at = 0
    while query[at:].strip():
        match = _TOKEN.match(query, at)
        if match is None:
            raise WrongQuery(f"not understood from {query[at : at + 20]!r}")
        at = match.end()
        kind = match.lastgroup or ""
        yield kind, match[kind]
