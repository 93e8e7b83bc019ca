"""`kentongan-mcc setup`: a database with its tables and registers, a secret, a first administrator.

It may be run again at any time, and after each update: what is there is left as it is. There is
no default account and no default password.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from mcc.settings import MccFile

if TYPE_CHECKING:
    from mcc.people.models import User

_SECRET_BYTES = 48


class SetupError(Exception):
    """It cannot be set up like this; the text says why, a line for each reason."""


def make_places(settings: MccFile) -> list[str]:
    """Make directories, secret and an empty database file, for their owner alone; what was made.

    Before Django is configured, because its settings read the secret.

    Raises:
        SetupError: something of it cannot be made.
    """
    made = []
    try:
        for directory in (Path(settings.state_directory), settings.photos):
            if not directory.is_dir():
                directory.mkdir(parents=True, mode=0o700)
                made.append(f"the directory {directory}")
        if _make_file(settings.secret_file, secrets.token_urlsafe(_SECRET_BYTES)):
            made.append(f"the secret {settings.secret_file}")
        settings.secret_file.chmod(0o600)
        file = settings.database.file
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if _make_file(file, ""):
                made.append(f"the database {file}")
            file.chmod(0o600)
    except OSError as error:
        raise SetupError(f"{error.filename}: {error.strerror or error}") from None
    return made


def _make_file(path: Path, text: str) -> bool:
    """Whether it was not there yet. Never overwrites, and never lets others read it."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(file, "w", encoding="ascii") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(file)
    return True


def make_tables() -> None:
    """Bring the database to this version and fill the registers that come with the project.

    Raises:
        SetupError: the database does not answer or refuses.
    """
    from django.core.management import call_command
    from django.db import Error

    from mcc.community import contents
    from mcc.registers import malang

    try:
        call_command("migrate", verbosity=0, interactive=False)
        malang.load()
        contents.load()
    except Error as error:
        raise SetupError(f"the database: {' '.join(str(error).split())}") from None


def has_administrator() -> bool:
    """Whether somebody can look after accounts already."""
    from mcc.people.models import User

    return User.objects.filter(role="administrator", is_active=True).exists()


def make_administrator(name: str, password: str) -> None:
    """Make the first account.

    Raises:
        SetupError: the name or the password will not do, with every reason.
    """
    from mcc.people.models import User

    user = User(username=name, role="administrator")
    _give_password(user, password)
    user.save()


def let_in(name: str, *, password: str | None, forget_app: bool) -> list[str]:
    """Let somebody in again who has lost phone or password; what was done, a line each.

    Other sessions of the account end with a new `password`, which its owner has to change;
    lock-outs after wrong passwords end with it too. Each is a line of the record.

    Raises:
        SetupError: there is no such account, the password will not do, or the database refuses.
    """
    from axes.utils import reset
    from django.db import Error

    from mcc.cases.changes import changes
    from mcc.cases.models import Entry
    from mcc.people import codes
    from mcc.people.models import User

    done = {}
    try:
        with changes() as change:
            # No name has what a database or a terminal cannot take.
            named = User.objects.select_for_update().filter(username=name)
            user = named.first() if name.isprintable() else None
            if user is None:
                raise SetupError(f"there is no account {name!r}")
            if not user.is_active:
                raise SetupError(f"the account {name!r} is closed")
            if forget_app:
                known = codes.forget(user)
                done["code_reset"] = (
                    "the app for one-time codes is forgotten; the next signing in sets one up"
                    if known
                    else "had no app for one-time codes"
                )
            if password is not None:
                _give_password(user, password)
                user.password_given = True
                user.save()
                reset(username=name)
                done["password_given"] = "has this password until the next signing in changes it"
            for action in done:
                Entry(
                    at_ms=change.at_ms,
                    action=action,
                    operator="command line",
                    role="",
                    user_id=None,
                    address="",
                    detail={"account": name},
                ).save()
    except Error as error:
        raise SetupError(f"the database: {' '.join(str(error).split())}") from None
    return list(done.values())


def _give_password(user: User, password: str) -> None:
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError
    from django.utils import translation

    # The terminal's language is this program's.
    with translation.override("en"):
        try:
            user.set_password(password)
            user.full_clean(exclude=["unit"])
            validate_password(password, user)
        except ValidationError as error:
            raise SetupError("\n".join(_reasons(error))) from None


def _reasons(error: object) -> list[str]:
    found = getattr(error, "message_dict", None)
    if found is not None:
        return [f"{field}: {text}" for field, texts in found.items() for text in texts]
    return [str(text) for text in getattr(error, "messages", [str(error)])]
