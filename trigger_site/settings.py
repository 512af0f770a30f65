"""The one settings file: reads the environment once; a wrong value fails loudly, combinations are for `checks.py`."""

import sys
from pathlib import Path
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF
from environs import Env, validate

from trigger_site.development.local import development_database_url, development_secret

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()

TRIGGER_ENV = env.str("TRIGGER_ENV", "development", validate=validate.OneOf(["development", "production"]))
IS_DEVELOPMENT = TRIGGER_ENV == "development"
DEBUG = False

VAR_DIR = Path(env.str("TRIGGER_VAR_DIR", str(BASE_DIR / "var")))
TRIGGER_HOST = env.str("TRIGGER_HOST", "127.0.0.1")
TRIGGER_PORT = env.int("TRIGGER_PORT", 8000, validate=validate.Range(0, 65535))
# How people call our programs: from a checkout, where they are not on the path, or where they are installed.
_programs = Path(sys.executable).parent
IS_IN_CHECKOUT = IS_DEVELOPMENT and _programs.is_relative_to(BASE_DIR)
TRIGGER_COMMAND = str((_programs / "trigger").relative_to(BASE_DIR)) if IS_IN_CHECKOUT else "trigger"
PYTHON_COMMAND = str((_programs / "python").relative_to(BASE_DIR)) if IS_IN_CHECKOUT else "python"

IS_BEHIND_PROXY = env.bool("TRIGGER_BEHIND_PROXY", False)

# Per server process. Peers are identified by their socket's address, which behind a proxy is the proxy's.
TRIGGER_CONNECTIONS = env.int("TRIGGER_CONNECTIONS", 4000, validate=validate.Range(1, 1_000_000))
TRIGGER_CONNECTIONS_PER_PEER = env.int(
    "TRIGGER_CONNECTIONS_PER_PEER", 0 if IS_BEHIND_PROXY else 500, validate=validate.Range(0, 1_000_000)
)
TRIGGER_READ_SECONDS = env.float("TRIGGER_READ_SECONDS", 30.0, validate=validate.Range(1, 3600))

# Production refuses to start without its secrets; development keeps generated ones under var/.
SECRET_KEY = env.str("TRIGGER_SECRET_KEY", "") or (development_secret(VAR_DIR, "secret_key") if IS_DEVELOPMENT else "")
# Earlier secret keys: what they encrypted or signed stays readable.
SECRET_KEY_FALLBACKS: list[str] = env.list("TRIGGER_SECRET_KEY_FALLBACKS", [])
TRIGGER_WORKER_TOKEN = env.str("TRIGGER_WORKER_TOKEN", "") or (
    development_secret(VAR_DIR, "worker_token") if IS_DEVELOPMENT else ""
)
ALLOWED_HOSTS = env.list("TRIGGER_ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"] if IS_DEVELOPMENT else [])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("TRIGGER_TRUSTED_ORIGINS", [])

DATABASE_URL = env.str("TRIGGER_DATABASE_URL", "") or (development_database_url(VAR_DIR) if IS_DEVELOPMENT else "")
LISTEN_DATABASE_URL = env.str("TRIGGER_LISTEN_DATABASE_URL", "") or DATABASE_URL
# A pooler may give each transaction another session, without what was set or prepared before.
IS_DATABASE_POOLED = LISTEN_DATABASE_URL != DATABASE_URL
# Nobody waits for long: not for a row or table that others hold, not in a transaction that does nothing. Migrations get
# more time (trigger_site/timeouts.py); behind a pooler the role must set this (docs/configuration.md).
DATABASE_TIMEOUTS = {
    "statement_timeout": 5_000,
    "lock_timeout": 1_000,
    "idle_in_transaction_session_timeout": 10_000,
}
DATABASE_TIMEOUT_OPTIONS = " ".join(f"-c {name}={value}" for name, value in DATABASE_TIMEOUTS.items())
_database: dict[str, Any] = {**dj_database_url.parse(DATABASE_URL or "postgres://unset.invalid/trigger")}
_of_url: dict[str, Any] = _database.get("OPTIONS", {})  # such as `?sslmode=require`
_timeouts = "" if IS_DATABASE_POOLED else DATABASE_TIMEOUT_OPTIONS
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **_database,
        "CONN_MAX_AGE": 0,
        "DISABLE_SERVER_SIDE_CURSORS": IS_DATABASE_POOLED,
        "OPTIONS": {
            "pool": {
                "min_size": 1,
                "max_size": env.int("TRIGGER_DATABASE_POOL", 8),
                "timeout": 10,
                # The pauses between attempts double up to this: the longer, the later it is back after an outage.
                "reconnect_timeout": 2,
            },
            "prepare_threshold": None if IS_DATABASE_POOLED else 5,
            # A server that vanished silently is noticed within half a minute, not after the system's two hours.
            "connect_timeout": 3,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            **_of_url,
            "options": f"{_timeouts} {_of_url.get('options', '')}".strip(),
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "trigger_site",
    "apps.access",
    "apps.runs",
    "apps.checkpoints",
    "apps.queues",
    "apps.workers",
    "channels",
    "csp",
    "django_htmx",
    "trigger_site.web.admin_config.TriggerAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "apps.access.middleware.WaitingAnswers",
]

ROOT_URLCONF = "trigger_site.urls"
ASGI_APPLICATION = "trigger_site.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    ["trigger_site.web.template_loader.Loader", "django.template.loaders.app_directories.Loader"],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "trigger_site.web.nav.navigation",
                "trigger_site.web.shell.shell",
            ],
        },
    }
]

AUTHENTICATION_BACKENDS = ["apps.access.backends.PasswordBackend"]
PASSWORD_HASHERS = ["apps.access.hashing.BoundedPBKDF2PasswordHasher"]
LOGIN_URL = "access:sign-in"
LOGIN_REDIRECT_URL = "runs:list"
LOGOUT_REDIRECT_URL = LOGIN_URL
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if IS_DEVELOPMENT
        else "trigger_site.web.static_files.BundledStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = IS_DEVELOPMENT
WHITENOISE_KEEP_ONLY_HASHED_FILES = True  # pages name no others
WHITENOISE_AUTOREFRESH = IS_DEVELOPMENT

# Payloads of up to 3 MB plus their options and escapes; the API's own limit answers 413 before this one.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

# A browser accepts a cookie with this prefix only from this host, over TLS: a neighbouring host cannot plant one.
COOKIE_PREFIX = "" if IS_DEVELOPMENT else "__Host-"
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = not IS_DEVELOPMENT
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrftoken"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SECURE = not IS_DEVELOPMENT
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if IS_BEHIND_PROXY else None
# On if a proxy in front is declared to speak TLS: a browser told so once will use nothing else for a year.
SECURE_HSTS_SECONDS = env.int(
    "TRIGGER_HSTS_SECONDS", 365 * 86400 if IS_BEHIND_PROXY and not IS_DEVELOPMENT else 0, validate=validate.Range(0)
)
SECURE_SSL_REDIRECT = env.bool("TRIGGER_HTTPS_REDIRECT", IS_BEHIND_PROXY and not IS_DEVELOPMENT)
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^ready$"]
# Other hosts of the domain, and the browsers' own lists, are not ours to decide on.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

# A one-time sign-in link is a signed token that expires with the next sign-in, or after this many seconds.
PASSWORD_RESET_TIMEOUT = 12 * 3600

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "filters": {"own": {"()": "trigger_site.log_filters.WithoutForeignTracebacks"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["own"]}},
    "root": {"handlers": ["stderr"], "level": env.str("TRIGGER_LOG_LEVEL", "INFO")},
}
