"""views/health.py: one line for each real server, and why services are down."""

from appliance.views.health import real_server_health
from tests.support.gateway import FakeHealth


def test_the_table_and_the_services_that_are_down() -> None:
    health = FakeHealth()
    (service,) = health.rows()
    document = real_server_health([service._replace(trouble="no real server is up: new sessions are refused")], health.recent)
    assert document.text == (
        "service  real server                state  since_s  check  against  last answer\n"
        "web      192.0.2.101:8080           up        12.3  tcp          0  connected in 0.5 ms\n"
        "web      192.0.2.102:8080 (backup)  down       2.0  tcp          1  refused\n"
        "web is down: no real server is up: new sessions are refused\n"
    )
    assert document.data["changes"] == [
        {
            "at_s": 1.5,
            "service": "web",
            "address": "192.0.2.102",
            "port": 8080,
            "state": "down",
            "reason": "3 tcp checks failed in a row",
            "last_answer": "refused",
        }
    ]


def test_a_gateway_without_real_servers_has_a_table() -> None:
    assert real_server_health([], []).data == {"services": [], "changes": []}
