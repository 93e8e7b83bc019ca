"""What `doctor` finds and how it says so: one finding a line, in Indonesian or English. Pure.

A finding is the check, a code and facts. What the code means, how bad that is and what is to be
done stands in one table (`process/findings_texts.py`); nothing here probes anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from process.findings_texts import CHECKS, LANGUAGES, TEXTS, VERDICTS, Language, Verdict
from process.log import masked

# Words of a broker, a disk or a file that stand in a finding.
FACT_CHARACTERS_MAX = 300

Fact = str | int | float
ExitCode = Literal[0, 1, 2]


@dataclass(frozen=True)
class Finding:
    """One line of the examination. `about` tells links, files or pins of one check apart."""

    check: str
    code: str
    about: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """How bad it is."""
        return TEXTS[self.code].verdict

    def means(self, language: Language) -> str:
        """What was found."""
        return _filled(TEXTS[self.code].means[language], self.facts, language)

    def do(self, language: Language) -> str:
        """What is to be done about it; empty where nothing is."""
        return _filled(TEXTS[self.code].do[language], self.facts, language)


def found(check: str, code: str, about: str = "", **facts: Fact) -> Finding:
    """A finding, with its facts as words."""
    return Finding(check, code, about, facts)


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """0: all is well. 1: it works, with warnings. 2: something fails. What was not checked: 0."""
    verdicts = {finding.verdict for finding in findings}
    if "failure" in verdicts:
        return 2
    return 1 if "warning" in verdicts else 0


def choose_language(asked: str | None, environment: Mapping[str, str]) -> Language:
    """The language that was asked for; else English where the locale is English, Indonesian."""
    for language in LANGUAGES:
        if language == asked:
            return language
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environment.get(name):
            return "en" if value.lower().startswith("en") else "id"
    return "id"


def lines(finding: Finding, language: Language) -> list[str]:
    """A finding for people: what was found, and below it what to do."""
    check = CHECKS[finding.check][language]
    about = f" ({_printable(finding.about)})" if finding.about else ""
    head = f"{VERDICTS[finding.verdict][language]:<7} {check}{about}: {finding.means(language)}"
    do = finding.do(language)
    return [head, f"{'':7} -> {do}"] if do else [head]


def summary(findings: Sequence[Finding], language: Language) -> str:
    """The last line: how many of each."""
    counts = {
        verdict: sum(finding.verdict == verdict for finding in findings) for verdict in VERDICTS
    }
    return ", ".join(
        f"{VERDICTS[verdict][language]} {count}" for verdict, count in counts.items() if count
    )


def as_json(subject: str, findings: Sequence[Finding], language: Language) -> str:
    """The whole examination as one JSON object, for programs."""
    code = exit_code(findings)
    return json.dumps(
        {
            "subject": subject,
            "exit": code,
            "verdict": ("ok", "warning", "failure")[code],
            "findings": [
                {
                    "check": finding.check,
                    "about": finding.about,
                    "code": finding.code,
                    "verdict": finding.verdict,
                    "facts": {
                        name: masked(fact) if isinstance(fact, str) else fact
                        for name, fact in finding.facts.items()
                    },
                    "means": finding.means(language),
                    "do": finding.do(language),
                }
                for finding in findings
            ],
        },
        ensure_ascii=False,
    )


def page(language: Language) -> str:
    """The table of everything that `doctor` can say, for docs/doctor.*.md."""
    title = {"id": ("kode", "artinya", "yang harus dilakukan"), "en": ("code", "means", "do")}
    rows = [f"| {' | '.join(('', *title[language]))} |", "|---|---|---|---|"]
    for code, text in TEXTS.items():
        cells = (VERDICTS[text.verdict][language].strip(), f"`{code}`")
        rows.append(f"| {' | '.join((*cells, text.means[language], text.do[language]))} |")
    return "\n".join(rows)


def _filled(text: str, facts: Mapping[str, Fact], language: Language) -> str:
    shown = {name: _printable(fact) for name, fact in facts.items()}
    if (after := shown.get("after")) in CHECKS:
        shown["after"] = CHECKS[after][language]
    return text.format_map(shown)


def _printable(fact: Fact) -> str:
    """One line, without a password: facts are words of brokers and files, and may be hostile."""
    text = masked(str(fact))
    line = "".join(character if character.isprintable() else " " for character in text)
    if len(line) > FACT_CHARACTERS_MAX:
        line = line[:FACT_CHARACTERS_MAX] + "..."
    return line
