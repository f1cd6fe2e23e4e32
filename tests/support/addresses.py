"""The addresses of unit tests: documentation addresses only (RFC 5737)."""

from ipaddress import IPv4Address

from appliance.policy.sides import Sides
from appliance.wire.flow import pack_endpoint

CLIENT_ADDRESS = IPv4Address("198.51.100.2")
VIP_ADDRESS = IPv4Address("203.0.113.10")
LIP1 = IPv4Address("192.0.2.10")
LIP2 = IPv4Address("192.0.2.11")
RS1_ADDRESS = IPv4Address("192.0.2.101")
RS2_ADDRESS = IPv4Address("192.0.2.102")
ROUTER_ADDRESS = IPv4Address("198.51.100.254")

CLIENT = pack_endpoint(CLIENT_ADDRESS, 40000)
VIP = pack_endpoint(VIP_ADDRESS, 80)
RS1 = pack_endpoint(RS1_ADDRESS, 8080)
RS2 = pack_endpoint(RS2_ADDRESS, 8080)

C0 = 1_000
"""The client's initial sequence number."""
R0 = 70_000
"""The real server's initial sequence number."""

SIDES = Sides(("client0",), ("server0",))
"""The interfaces of the shipped configuration."""
