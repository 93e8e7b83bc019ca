"""Django's settings, made from the settings file that KENTONGAN_MCC_CONFIG names.

Nothing of the command centre is declared here: what a person may set stands in `mcc.settings`.
Without the variable the defaults hold (tests, tools); a process that serves always names a file.
"""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils.translation import gettext_lazy as _

from mcc.settings import DatabaseSettings, MccFile, MqttSettings
from mcc.site import CONFIG_VARIABLE
from process.settings import read_settings

BUSY_TIMEOUT_S = 5
WAL_BYTES_MAX = 16 * 1024 * 1024

_config = os.environ.get(CONFIG_VARIABLE)
MCC = (
    read_settings(Path(_config), MccFile)
    if _config
    else MccFile(mqtt=MqttSettings(url="mqtt://127.0.0.1:1883"))
)


def _secret() -> str:
    try:
        return MCC.secret_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        # Good for a command that signs nothing; `serve` refuses to start without the file.
        return secrets.token_urlsafe(48)


def database_of(database: DatabaseSettings) -> dict[str, Any]:
    """Django's description of the one database."""
    if database.file is None:
        return {
            "ENGINE": "django.db.backends.postgresql",
            **database.server,
            # A server that is away, or a process that hangs in a transaction, holds up nobody
            # for ever.
            "OPTIONS": {
                "connect_timeout": BUSY_TIMEOUT_S,
                "tcp_user_timeout": BUSY_TIMEOUT_S * 1000,
                "keepalives_idle": BUSY_TIMEOUT_S,
                "keepalives_interval": 1,
                "keepalives_count": BUSY_TIMEOUT_S,
                "options": f"-c lock_timeout={BUSY_TIMEOUT_S}s"
                f" -c idle_in_transaction_session_timeout={BUSY_TIMEOUT_S}s",
            },
            "CONN_MAX_AGE": 0,
        }
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(database.file),
        # Deferred transactions fail at once with "database is locked" when two of them write.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": BUSY_TIMEOUT_S,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            f" PRAGMA journal_size_limit={WAL_BYTES_MAX};",
        },
        # A real file, because WAL and its locks are what is to be tested.
        "TEST": {"NAME": os.environ.get("KENTONGAN_MCC_TEST_DATABASE", "test-mcc.db")},
        "CONN_MAX_AGE": 0,
    }


SECRET_KEY = _secret()
DEBUG = False
ALLOWED_HOSTS = list(MCC.site.allowed_hosts)
CSRF_TRUSTED_ORIGINS = (
    [f"https://{host}" for host in MCC.site.allowed_hosts] if MCC.site.is_https else []
)

INSTALLED_APPS = [
    "mcc.people",
    "mcc.registers",
    "mcc.cases",
    "mcc.console",
    "mcc.escalation",
    "mcc.api",
    "mcc.community",
    "mcc.visits",
    "mcc.anev",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "mcc.site.headers.ContentPolicy",
    "mcc.site.static_files.StaticFiles",
    "mcc.people.sessions.Sessions",
    "mcc.site.language.ChosenLanguage",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    # Whatever is not marked as open to everybody wants an account.
    "mcc.people.gate.SignedIn",
    "mcc.people.gate.Gate",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # The last: it answers for a view that has just refused one password too many.
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "mcc.site.urls"
ASGI_APPLICATION = "mcc.site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": database_of(MCC.database)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "people.User"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesBackend", "django.contrib.auth.backends.ModelBackend"]
# An account is shut out from one address only: whoever guesses elsewhere must not be able to keep
# an operator away from the console.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = MCC.people.attempts
AXES_COOLOFF_TIME = timedelta(minutes=MCC.people.locked_minutes)
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "mcc.people.views.locked"
AXES_ENABLE_ADMIN = False
AXES_CLIENT_IP_CALLABLE = "mcc.people.address.client_address"
# What is written down of sign-ins is the log's and the record's, not a table without bounds.
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
OTP_TOTP_ISSUER = "Kentongan"

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = MCC.site.is_https
CSRF_COOKIE_SECURE = MCC.site.is_https
SECURE_HSTS_SECONDS = 31_536_000 if MCC.site.is_https else 0
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if MCC.site.behind_proxy else None
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000
FILE_UPLOAD_PERMISSIONS = 0o600

LANGUAGE_CODE = "id"
LANGUAGES = [("id", _("Indonesian")), ("en", _("English"))]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "Asia/Jakarta"

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 60
MEDIA_ROOT = str(MCC.photos)

# Log lines are process.log's; Django's own go to stderr, from warnings on.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler", "level": "WARNING"}},
    "loggers": {
        "django": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        # `mcc.people.signing` writes what it would say.
        "axes": {"handlers": [], "propagate": False},
    },
}
