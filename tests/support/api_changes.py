"""Requests that change services, real servers, pools and the whole configuration, and succeed with SHIPPED, by route."""

from pathlib import Path

SHIPPED = (Path(__file__).parents[2] / "etc/lvs.toml").read_text().replace(
    "[local_addresses]\n", '[local_addresses]\nspare = ["192.0.2.30"]\n'
) + '[[service]]\nname = "names"\nvip = "203.0.113.10"\nport = 53\nprotocol = "udp"\n'
"""The shipped configuration, with a pool that no service uses, and one more service."""

SERVICE, SERVER = "/services/{name}", "/services/{name}/real_servers/{endpoint}"

URLS = {
    SERVICE: "/services/web",
    SERVER: "/services/web/real_servers/192.0.2.101:8080",
    "/services/{name}/real_servers": "/services/web/real_servers",
    "/pools/{name}": "/pools/spare",
}
"""For a path with names in it: a path that exists."""

BODIES = {
    ("POST", "/config/plan"): SHIPPED.replace("port = 8080\nweight = 100", "port = 8080\nweight = 50").encode(),
    ("POST", "/config/apply"): SHIPPED.replace("port = 8080\nweight = 100", "port = 8080\nweight = 50").encode(),
    ("POST", "/services"): b'{"name": "new", "vip": "203.0.113.80", "port": 80, "scheduler": "wrr"}',
    ("PUT", SERVICE): b'{"vip": "203.0.113.80", "port": 80, "scheduler": "wrr"}',
    ("PATCH", SERVICE): b'{"scheduler": "wlc"}',
    ("POST", "/services/{name}/real_servers"): b'{"address": "192.0.2.103", "port": 80, "weight": 5}',
    ("PUT", SERVER): b'{"weight": 50}',
    ("PATCH", SERVER): b'{"weight": 50}',
    ("PUT", "/pools/{name}"): b'{"addresses": ["192.0.2.20"]}',
}
