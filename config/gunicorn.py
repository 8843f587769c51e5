"""gunicorn's settings: `gunicorn -c config/gunicorn.py config.wsgi:application`.

Reads WEB_BIND, WEB_WORKERS, WEB_THREADS and PORT, from the environment or from .env as the
settings do; .env.example says what they mean.
"""

import os
from pathlib import Path

import environ

from config import logs

_env = environ.Env()
_env_file = Path(os.environ.get("ENV_FILE", Path(__file__).resolve().parent.parent / ".env"))
if _env_file.is_file():
    _env.read_env(_env_file)

bind = os.environ.get("WEB_BIND") or f"127.0.0.1:{os.environ.get('PORT') or 8000}"
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS") or 2)
threads = int(os.environ.get("WEB_THREADS") or 4)
# Every worker loads the program itself: whatever a library opens on import (database, Redis,
# locks, threads) is then never shared between processes.
preload_app = False

# SIGTERM: no new requests, those running are finished, exit code 0. Below the time that the
# unit and the container are given to stop.
graceful_timeout = 20
timeout = 60
# Longer than a proxy keeps its connections (nginx 60 s), so that it is never us who closes the
# one that it is about to use again.
keepalive = 75

# The workers' sign of life is a file; on a busy disk a touch could take longer than `timeout`.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
# No second way in, and nothing to write where the file system is read-only.
control_socket_disable = True

# A page's address may hold a reader's key, so there is no access log; the proxy's should cut
# addresses short too.
accesslog = None
logconfig_dict = logs.configuration(
    level=(os.environ.get("LOG_LEVEL") or "INFO").upper(),
    form=os.environ.get("LOG_FORMAT") or "text",
)

# What X-Forwarded-* means is for Django to say, under TRUST_PROXY. By default gunicorn would take
# the scheme from whoever connects from this machine or by a Unix socket, TRUST_PROXY or not, and
# let it set SCRIPT_NAME. The headers themselves still reach Django.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
