"""Which addresses a client may have us connect to: those that anybody may reach.

`ipaddress` alone is not enough: which of these it calls global changes with Python's
patch releases, and it does not look at the IPv4 address inside an IPv6 one.
"""

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The IANA registries of special-purpose addresses, where Python 3.11 has gaps, and
# Azure's WireServer, which answers every virtual machine at an address that looks
# public. The other clouds' metadata services are in private or link-local ranges.
_NEVER: Sequence[Network] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # behind a carrier's NAT
        "168.63.129.16/32",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/3",  # multicast and reserved
        "2001::/23",  # Teredo, ORCHID and other protocols' own
        "2001:db8::/32",
        "3fff::/20",
    )
)
_UNICAST = IPv6Network("2000::/3")  # all that is given out so far
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet's.

    Of an IPv6 address that stands for an IPv4 one (mapped, NAT64, 6to4) the latter
    counts.
    """
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    if address.version == 6 and address not in _UNICAST:
        return False
    return address.is_global and not any(address in network for network in _NEVER)


def permitted(texts: Iterable[str], networks: Sequence[Network]) -> list[str] | None:
    """The addresses as canonical text if each is public or in one of `networks`.

    None as soon as one is neither, or is no plain address: a host with one foot in a
    private network may show the other one at the next look. Repetitions are dropped.
    """
    found = dict.fromkeys(_address(text) for text in texts)
    allowed = [
        str(address)
        for address in found
        if address is not None and _is_permitted(address, networks)
    ]
    return allowed if len(allowed) == len(found) else None


def _is_permitted(address: Address, networks: Sequence[Network]) -> bool:
    known = {address, _embedded(address) or address}
    listed = any(each in network for each in known for network in networks)
    return listed or is_public(address)


def _address(text: str) -> Address | None:
    """None for what is no address or names an interface (`fe80::1%eth0`)."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
