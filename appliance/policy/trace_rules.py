"""The rules by which the kernel tells what its rules do with packets of some clients (nftrace). Pure.

They stand in a table of their own in front of all others. It has the flag `owner`, so it goes with the process that made it, also
after a crash.
"""

from ipaddress import IPv4Network

from appliance.policy.ruleset import TABLE

TRACE_TABLE = f"{TABLE}_trace"
"""The name of such a table, in front of its number."""

PACKETS_PER_S = 200
"""How many packets a second the kernel tells of: each is some ten messages."""

UNTOLD = "untold"
"""The counter of the packets beyond that."""

_PRIORITY = -500


def render_trace(number: int, client: str, vip: str = "", protocol: str = "", port: int = 0) -> str:
    """The nft text of the table with this number. `client` is an address, ``ADDRESS:PORT`` or a network; an empty `vip` or
    `protocol` or a `port` of 0 stands for any."""
    address, _, client_port = client.partition(":")
    matches = [f"ip saddr {IPv4Network(address)}", *([f"ip daddr {vip}"] if vip else [])]
    if client_port or port or protocol:
        matches.append(f"meta l4proto {protocol or '{ tcp, udp }'}")
    matches += [f"th {end} {value}" for end, value in (("sport", client_port), ("dport", port)) if value]
    wanted, limit = " ".join(matches), f"limit rate {PACKETS_PER_S}/second burst {PACKETS_PER_S} packets"
    name = f"{TRACE_TABLE}{number}"
    return (
        f"table ip {name} {{ flags owner; }}\ndelete table ip {name}\ntable ip {name} {{\n\tflags owner\n"
        f"\tcounter {UNTOLD} {{}}\n\tchain prerouting {{\n\t\ttype filter hook prerouting priority {_PRIORITY}; policy accept;\n"
        f"\t\t{wanted} {limit} meta nftrace set 1 accept\n\t\t{wanted} counter name {UNTOLD}\n\t}}\n}}\n"
    )


def name_of(table: str) -> str:
    """The name of the table that such a text makes."""
    return table.split(maxsplit=3)[2]
