"""The address of whoever sent a request, as far as the proxies in front are to be believed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

LOCAL_SOCKET = "unix"
"""Stands among the trusted proxies for those that come by a Unix socket, and so have no address."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# An address as proxies write it, perhaps with a port: 192.0.2.1:80, [2001:db8::1]:80.
_WRITTEN = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+)(?::\d+)?|([0-9A-Fa-f:.]+)")
_LONGEST_REMEMBERED = 200


class ClientAddresses:
    """Finds the addresses of clients. Safe to use from many threads."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """Make it.

        Args:
            trusted: Addresses and networks of proxies that say in X-Forwarded-For who asks them.

        Raises:
            ValueError: one of them is neither.
        """
        trusted = list(trusted)
        self._trusts_local_sockets = LOCAL_SOCKET in trusted
        self._networks = [_network(each) for each in trusted if each != LOCAL_SOCKET]
        self._remembered = lru_cache(maxsize=512)(self._find)

    def find(self, remote: str | None, forwarded: str | None) -> str | None:
        """Return the address of the client; None where the server knows none.

        Args:
            remote: Who connected to the server, WSGI's REMOTE_ADDR.
            forwarded: The header X-Forwarded-For.
        """
        if forwarded is None or not (self._networks or self._trusts_local_sockets):
            forwarded = ""
        elif len(forwarded) > _LONGEST_REMEMBERED:
            return self._find(remote, forwarded)
        return self._remembered(remote, forwarded)

    def _find(self, remote: str | None, forwarded: str) -> str | None:
        """Go from proxy to proxy as long as they are trusted, and tell an address."""
        found = _address(remote or "")
        if found is None and not self._trusts_local_sockets:
            return None
        for text in reversed(forwarded.split(",") if forwarded else []):
            if found is not None and not self._is_trusted(found):
                break
            told = _address(text.strip())
            if told is None:  # nothing before it can be believed either
                break
            found = told
        return None if found is None else str(found)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is no address and no network; write such as 10.0.0.0/8, 2001:db8::1, or "
            f"{LOCAL_SOCKET} for proxies that come by a Unix socket"
        ) from None


def _address(text: str) -> Address | None:
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    try:
        address = ipaddress.ip_address(found[1] or found[2] or found[3])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
