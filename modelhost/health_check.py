"""Ask the service in this container for its health, for images that have no curl.

`python -I -m modelhost.health_check [ROUTE]` exits with status 0 if the route answers 200, else
with status 1. Without a ROUTE it asks whether the service is ready.
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException

from modelhost.environment import split_address, text

_READY = "/api/health/ready"
_TIMEOUT_SECONDS = 4
# A server on every address is on this one, too.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def main(arguments: list[str]) -> str | None:
    """Request the route in the arguments; return what is wrong, or None if it answered 200."""
    route = arguments[0] if arguments else _READY
    bind = text("BIND", "127.0.0.1:8000").partition(",")[0]
    address = split_address(bind)
    if address is None:
        return f"MODELHOST_BIND is {bind!r}; the health check wants an address and a port."
    host, port = address
    connection = HTTPConnection(_LOOPBACK.get(host, host), port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", route)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"{route} gave no answer: {error!r}"
    finally:
        connection.close()
    return None if status == 200 else f"{route} answered {status}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
