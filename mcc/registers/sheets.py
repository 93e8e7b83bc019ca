"""Posts and officers from a CSV file: read whole, every mistake with its line, all or nothing.

A file changes only the columns that it has, and deletes nothing. It is looked at before it is put
in; putting it in reads it again, because the registers may have changed meanwhile.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils.translation import gettext as _

from mcc.registers.models import Kelurahan, Officer, Post, Unit

FILE_BYTES_MAX = 512 * 1024
LINES_MAX = 5_000
# Mistakes that are named; the rest is counted.
PROBLEMS_SHOWN_MAX = 50
_YES = {"yes": True, "no": False, "ya": True, "tidak": False, "1": True, "0": False}


@dataclass(frozen=True)
class Kind:
    """A register that can be filled from a file: its key, and its columns in their order."""

    model: type[models.Model]
    key: str
    columns: tuple[str, ...]
    # Columns that name a line of another register by its key.
    others: Mapping[str, type[models.Model]]


POSTS = Kind(
    Post,
    "post_id",
    ("post_id", "name", "kelurahan", "rw", "address", "lat", "lon", "contacts", "notes"),
    {"kelurahan": Kelurahan},
)
OFFICERS = Kind(
    Officer,
    "number",
    ("number", "name", "rank", "phone", "unit", "kelurahan", "on_duty"),
    {"unit": Unit, "kelurahan": Kelurahan},
)


@dataclass(frozen=True)
class Sheet:
    """What a file would do: lines to be saved, or the mistakes in it (then nothing is saved)."""

    new: tuple[models.Model, ...]
    changed: tuple[models.Model, ...]
    same: int
    problems: tuple[str, ...]
    problems_left_out: int = 0


def read(kind: Kind, content: bytes) -> Sheet:
    """What this file would do to the register as it stands."""
    problems: list[str] = []
    try:
        lines = list(_lines(kind, content, problems))
    except ValidationError as error:
        return _only([str(error.message)])
    if problems:
        return _only(problems)
    return _judged(kind, lines)


def save(kind: Kind, content: bytes) -> Sheet:
    """Read the file again and put it in, if there is no mistake in it; what was done.

    Raises:
        django.db.Error: nothing was changed.
    """
    with transaction.atomic():
        sheet = read(kind, content)
        if not sheet.problems:
            for row in (*sheet.new, *sheet.changed):
                row.save()
    return sheet


def _only(problems: list[str]) -> Sheet:
    shown = tuple(problems[:PROBLEMS_SHOWN_MAX])
    return Sheet((), (), 0, shown, len(problems) - len(shown))


def _lines(kind: Kind, content: bytes, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each line with its number; what is wrong with the file as a whole is raised."""
    if len(content) > FILE_BYTES_MAX:
        raise ValidationError(
            _("The file has more than %(max)s kB.") % {"max": FILE_BYTES_MAX // 1024}
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValidationError(_("The file is not UTF-8.")) from None
    head = text.split("\n", 1)[0]
    if not head.strip():
        raise ValidationError(_("The file is empty."))
    # Spreadsheets in Indonesian separate by semicolons.
    separator = ";" if head.count(";") > head.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        _check_head(kind, [name.strip() for name in reader.fieldnames or ()])
        for count, row in enumerate(reader, 1):
            if count > LINES_MAX:
                raise ValidationError(
                    _("The file has more than %(max)s lines.") % {"max": LINES_MAX}
                )
            if None in row:
                problems.append(_at(reader.line_num, _("more values than columns")))
                continue
            yield (
                reader.line_num,
                {(name or "").strip(): (value or "").strip() for name, value in row.items()},
            )
    except csv.Error as error:
        raise ValidationError(_at(reader.line_num, str(error))) from None


def _check_head(kind: Kind, names: list[str]) -> None:
    for name in names:
        if name in kind.columns:
            continue
        near = difflib.get_close_matches(name, kind.columns, 1)
        if near:
            words = _("there is no column %(column)s; is %(near)s meant?")
            raise ValidationError(words % {"column": name[:40], "near": near[0]})
        raise ValidationError(_("there is no column %(column)s") % {"column": name[:40]})
    missing = [name for name in (kind.key, "name") if name not in names]
    if missing:
        raise ValidationError(_("%(column)s is missing") % {"column": missing[0]})


def _judged(kind: Kind, lines: list[tuple[int, dict[str, str]]]) -> Sheet:
    manager: Any = kind.model._default_manager
    known: dict[str, models.Model] = {getattr(row, kind.key): row for row in manager.all()}
    keys = {
        column: set(other._default_manager.values_list("pk", flat=True))
        for column, other in kind.others.items()
    }
    seen: dict[str, int] = {}
    new: list[models.Model] = []
    changed: list[models.Model] = []
    same = 0
    problems: list[str] = []
    for number, values in lines:
        key = values[kind.key]
        if key in seen:
            problems.append(_at(number, _("this is line %(line)s again") % {"line": seen[key]}))
            continue
        seen[key] = number
        row = known.get(key)
        is_new = row is None
        row = kind.model() if row is None else row
        before = {column: _value(row, column, kind) for column in values}
        wrong = list(_filled(kind, row, values, keys))
        if wrong:
            problems += [_at(number, why) for why in wrong]
        elif is_new:
            new.append(row)
        elif before != {column: _value(row, column, kind) for column in values}:
            changed.append(row)
        else:
            same += 1
    return _only(problems) if problems else Sheet(tuple(new), tuple(changed), same, ())


def _value(row: models.Model, column: str, kind: Kind) -> Any:
    return getattr(row, f"{column}_id" if column in kind.others else column)


def _filled(
    kind: Kind, row: models.Model, values: Mapping[str, str], keys: Mapping[str, set[Any]]
) -> Iterator[str]:
    """Put a line's values into the row; what does not fit, in words."""
    bad = set()
    for column, text in values.items():
        try:
            if column in kind.others:
                if text and text not in keys[column]:
                    raise ValidationError(_("there is none with this code"))
                setattr(row, f"{column}_id", text or None)
            else:
                setattr(row, column, _READ.get(column, str)(text))
        except ValidationError as error:
            bad.add(column)
            yield _of(column, str(error.message))
    try:
        row.clean_fields(exclude={*kind.others, "photo", "id", *bad})
    except ValidationError as error:
        for column, why in error.message_dict.items():
            yield _of(column, " ".join(why))


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    # No range keeps out what is not a number at all.
    if not math.isfinite(number):
        raise ValidationError(_("not a number"))
    return number


def _yes_or_no(text: str) -> bool:
    if text and text.lower() not in _YES:
        raise ValidationError(_("yes or no"))
    return _YES.get(text.lower(), False)


_READ: dict[str, Callable[[str], Any]] = {"lat": _number, "lon": _number, "on_duty": _yes_or_no}


def _at(line: int, why: str) -> str:
    return _("Line %(line)s: %(why)s") % {"line": line, "why": why}


def _of(column: str, why: str) -> str:
    return _("column %(column)s: %(why)s") % {"column": column, "why": why}
