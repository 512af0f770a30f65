"""What the installer of task folders' dependencies may see of an environment: index, proxy and certificates.

These variables may hold passwords. A worker keeps them for the installer's process and hands them to nothing else.
"""

from collections.abc import Mapping

BASE_NAMES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
SETTING_NAMES = frozenset(
    {
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NETRC",
        "SSH_AUTH_SOCK",
    }
)
SETTING_PREFIXES = ("UV_", "PIP_", "GIT_")

PIP_EQUIVALENTS = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
    "PIP_CONSTRAINT": "UV_CONSTRAINT",
    "PIP_CERT": "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE": "SSL_CERT_FILE",
    "CURL_CA_BUNDLE": "SSL_CERT_FILE",
}
"""uv does not read what people have set for pip. Earlier lines win, and what is set for uv itself wins over all."""

OLDER_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


def installer_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say where packages come from and how they are reached."""
    return {
        name: value
        for name, value in environment.items()
        if name.upper() in SETTING_NAMES or name.upper().startswith(SETTING_PREFIXES)
    }


def installer_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of an installer's process."""
    settings = installer_settings(environment)
    for pip_name, name in PIP_EQUIVALENTS.items():
        if pip_name in settings and not {name, OLDER_NAMES.get(name, name)} & settings.keys():
            settings[name] = settings[pip_name]
    return {name: environment[name] for name in BASE_NAMES if name in environment} | settings
