"""The shell commands that findings print. What is not a plain word is quoted, so each can be copied as it is. Pure."""

from shlex import quote


def set_sysctl(path: str, value: str) -> str:
    """Sets a kernel parameter; `path` is below /proc/sys. `sysctl` takes slashes too, which a name with a dot needs."""
    name = path if "." in path else path.replace("/", ".")
    return f"sysctl -w {quote(f'{name}={value}')}"


def write_tunable(name: str, value: int) -> str:
    """Sets a tunable of the running appliance."""
    return f"appliance sysctl {name}={value}"


def route(destination: str, *, via: str = "", interface: str = "") -> str:
    """Makes or replaces the route to one address."""
    way = [*(("via", via) if via else ()), *(("dev", quote(interface)) if interface else ())]
    return f"ip route replace {destination}/32 {' '.join(way)}"


def change_link(interface: str, *words: str) -> str:
    """Changes an interface."""
    return f"ip link set dev {quote(interface)} {' '.join(words)}"


def turn_off_offload(interface: str, feature: str) -> str:
    """Turns one offload of an interface off."""
    return f"ethtool -K {quote(interface)} {feature} off"


def delete_rule(family: str, table: str, chain: str, handle: int) -> str:
    """Deletes one rule of nftables."""
    return f"nft delete rule {quote(family)} {quote(table)} {quote(chain)} handle {handle}"
