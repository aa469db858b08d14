"""What a device needs to log in to a broker and to trust it: user, password, certificate authority."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from edgefer.errors import SettingsError
from edgefer.redact import redact_file_name

_LOG = logging.getLogger(__name__)

CREDENTIAL = "mqtt-password"
"""The systemd credential (``LoadCredential=mqtt-password``) that is read where no file is named."""


def read_login(path: str) -> tuple[str, str] | None:
    """User and password of a file with the line ``user:password``; without a path, of the systemd credential.

    None where neither exists. Raises `SettingsError`, which repeats nothing of the file.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    file = Path(path) if path else Path(folder) / CREDENTIAL
    if not path and not (folder and file.exists()):
        return None
    try:
        content = file.read_text(encoding="utf-8")
        if path and file.stat().st_mode & 0o004:
            _LOG.warning("%s: every user of this machine can read this password; chmod o-r %s", file, file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(
            f"login {redact_file_name(str(file))}: cannot be read: {reason}; write the line user:password into that file"
        ) from None
    user, colon, password = content.strip("\r\n").partition(":")
    if not (user and colon) or "\n" in password:
        raise SettingsError(f"login {file}: one line user:password is expected")
    return user, password


def read_ca(ca: str) -> ssl.SSLContext:
    """TLS that trusts the authority in a file, or without one the system's; raises `SettingsError` for a file without a certificate."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(f"ca {ca}: cannot be read: {reason}") from None
