"""Superset's settings, read by Superset in its own environment. All that is kept lies in one folder."""

import os
from pathlib import Path

_home = Path(os.environ["FORETABLE_SUPERSET_HOME"])

SECRET_KEY = (_home / "secret_key").read_text(encoding="utf-8")
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_home / 'superset.db'}"
WTF_CSRF_ENABLED = True
# The server listens on this machine alone, without TLS: a cookie for TLS alone would never be sent.
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = False
TALISMAN_ENABLED = True
# One process without a queue of tasks: limits of requests can be counted in its memory.
RATELIMIT_STORAGE_URI = "memory://"
# A chart waits as long for its query as the server does.
SUPERSET_WEBSERVER_TIMEOUT = 300
