"""The container's health check: `python config/probe.py`, exit code 0 while /healthz answers 200.

Asks the way the proxy does: by SITE_URL's host, or Django would refuse it, and as one who came by
https, or it would be sent there. Needs nothing but Python.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 5


def main() -> int:
    address = os.environ.get("WEB_BIND") or f"127.0.0.1:{os.environ.get('PORT') or 8000}"
    host, _, port = address.rpartition(":")
    site = urlsplit(os.environ.get("SITE_URL") or f"http://{address}")
    headers = {"Host": site.netloc, "X-Forwarded-Proto": site.scheme}
    here = "127.0.0.1" if host == "0.0.0.0" else host.strip("[]")  # noqa: S104
    try:
        connection = HTTPConnection(here, int(port), timeout=TIMEOUT_SECONDS)
        connection.request("GET", "/healthz", headers=headers)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        print(f"/healthz does not answer: {error}", file=sys.stderr)  # noqa: T201
        return 1
    if status != 200:
        print(f"/healthz answers {status}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
