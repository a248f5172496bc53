"""Which addresses are anybody's."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.remote.address import is_public, permitted

PUBLIC = """
1.1.1.1 8.8.8.8 93.184.215.14 223.255.255.254
2606:4700:4700::1111 2a00:1450:4001:80b::200e
::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1
""".split()

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.8.8.8 168.63.129.16
169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1
198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
:: ::1 ::7f00:1 ::8.8.8.8 100::1 fe80::1 fec0::1 fc00::1 fd00:ec2::254 ff02::1 ff0e::1
2001:db8::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 3fff::1 5f00::1
::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1 ::ffff:169.254.169.254
64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::8.8.8.8
2002:7f00:1::1 2002:a00:1:: 2002:c0a8:101::1
""".split()


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", PRIVATE)
def test_an_address_that_only_some_reach_is_not(text: str) -> None:
    assert not is_public(ip_address(text))


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_no_way_to_write_a_private_address_as_ipv6_makes_it_public(
    address: IPv4Address,
) -> None:
    number = int(address)
    for spelled in (
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0x64_FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
    ):
        assert is_public(spelled) == is_public(address)


@settings(deadline=None)
@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    translated = ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16")
    embeds = any(address in ip_network(text) for text in translated)
    if is_public(address) and not embeds:
        assert address.is_global
        assert not address.is_multicast


def test_every_address_must_be_permitted() -> None:
    assert permitted(["8.8.8.8", "1.1.1.1"], []) == ["8.8.8.8", "1.1.1.1"]
    assert permitted(["8.8.8.8", "10.0.0.1"], []) is None
    assert permitted(["8.8.8.8", "no address"], []) is None
    assert permitted(["8.8.8.8", "2606:4700::1%eth0"], []) is None


def test_a_network_of_the_operator_is_permitted_however_it_is_spelled() -> None:
    networks = [ip_network("10.1.0.0/16"), ip_network("fd12::/16")]
    texts = ["10.1.2.3", "fd12::1", "::ffff:10.1.2.3"]
    assert permitted(texts, networks) == ["10.1.2.3", "fd12::1", "::ffff:a01:203"]
    assert permitted(["10.2.0.1"], networks) is None
    assert permitted(["fd13::1"], networks) is None


def test_an_address_given_twice_is_tried_once() -> None:
    assert permitted(["8.8.8.8", "8.8.8.8"], []) == ["8.8.8.8"]
