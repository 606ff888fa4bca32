"""Whose request it is, where proxies stand between."""

from __future__ import annotations

import pytest

from models_api.observability.client_address import ClientAddresses

PROXIES = ["10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.1"]
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        # nobody trusted says anything
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.9", "203.0.113.7"),
        ("203.0.113.7", "10.0.0.2, 10.0.0.3", "203.0.113.7"),
        ("2001:DB8::7", "198.51.100.9", "2001:db8::7"),
        # the proxy does
        (PROXY, None, PROXY),
        (PROXY, "", PROXY),
        (PROXY, "198.51.100.9", "198.51.100.9"),
        ("192.0.2.1", "198.51.100.9", "198.51.100.9"),
        ("2001:db8:ffff::1", "2001:db8::9", "2001:db8::9"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.9", "198.51.100.9"),
        # what the client has written itself stands further to the left
        (PROXY, "1.1.1.1, 198.51.100.9", "198.51.100.9"),
        (PROXY, "10.0.0.9, 198.51.100.9", "198.51.100.9"),
        (PROXY, "1.1.1.1,198.51.100.9,10.9.9.9 , 10.8.8.8", "198.51.100.9"),
        (PROXY, "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # ports, brackets
        (PROXY, "198.51.100.9:4711", "198.51.100.9"),
        (PROXY, "[2001:db8::9]:4711", "2001:db8::9"),
        (PROXY, "[2001:db8::9]", "2001:db8::9"),
        ("10.0.0.1:4711", "198.51.100.9", "198.51.100.9"),
        ("[2001:db8:ffff::1]:80", "198.51.100.9", "198.51.100.9"),
        # what is no address ends the search
        (PROXY, "198.51.100.9, unknown", PROXY),
        (PROXY, "198.51.100.9, unknown, 10.0.0.2", "10.0.0.2"),
        (PROXY, "198.51.100.9, ", PROXY),
        (PROXY, "198.51.100.9,,10.0.0.2", "10.0.0.2"),
        (PROXY, 'x" user=admin', PROXY),
        (PROXY, "fe80::1%a b\n", PROXY),
        (PROXY, "198.51.100.9\n", "198.51.100.9"),
        (PROXY, "1.1.1.1\nINFO forged: line", PROXY),
        (PROXY, "999.1.1.1", PROXY),
        (PROXY, "198.51.100.009", PROXY),
        (PROXY, "_hidden", PROXY),
        (PROXY, "\u0661.1.1.1", PROXY),
        (PROXY, "1.1.1.1, " * 2000 + "198.51.100.9", "198.51.100.9"),
        # servers that know no address
        (None, None, None),
        ("", "198.51.100.9", None),
        ("@", "198.51.100.9", None),
        ("/run/site.sock", None, None),
    ],
)
def test_the_client_is_the_last_one_that_is_no_trusted_proxy(
    remote: str | None, forwarded: str | None, client: str | None
) -> None:
    addresses = ClientAddresses(PROXIES)
    for _ in range(2):
        assert addresses.find(remote, forwarded) == client


def test_without_trusted_proxies_the_header_counts_for_nothing() -> None:
    assert ClientAddresses().find(PROXY, "198.51.100.9") == PROXY


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("198.51.100.9", "198.51.100.9"),
        ("198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("garbage", None),
        (None, None),
    ],
)
def test_a_proxy_that_comes_by_a_unix_socket_can_be_trusted(
    forwarded: str | None, client: str | None
) -> None:
    assert ClientAddresses(["unix", "10.0.0.0/8"]).find("", forwarded) == client


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "proxy", "", "10.0.0.0-10.0.0.9", "*"])
def test_what_is_no_network_is_refused_by_name(wrong: str) -> None:
    with pytest.raises(ValueError, match="no address and no network; write such as"):
        ClientAddresses(["10.0.0.1", wrong])


def test_a_network_may_be_written_with_the_address_of_one_in_it() -> None:
    assert ClientAddresses(["10.1.2.3/8"]).find("10.0.0.1", "198.51.100.9") == "198.51.100.9"
