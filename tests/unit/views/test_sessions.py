"""views/sessions.py: listings letter by letter, and the same sessions as JSON."""

from collections import Counter

from appliance.views.sessions import page, top
from tests.support.gateway import SESSION, UDP_SESSION


def test_sessions_look_as_ipvsadm_prints_them_with_the_local_address() -> None:
    longest = SESSION._replace(chosen="", client="255.255.255.255:65535", state="CLOSE_WAIT", expires_s=59.999, age_s=360001.5)
    document = page((SESSION, longest, UDP_SESSION._replace(chosen="mh")))
    assert (
        document.text
        == """\
IPVS connection entries
pro expire state       source                virtual               local                 destination           age       chosen by
TCP 14:59  ESTABLISHED 198.51.100.2:40000    203.0.113.10:80       192.0.2.10:5000       192.0.2.101:8080      0:01:05   rr
TCP 00:59  CLOSE_WAIT  255.255.255.255:65535 203.0.113.10:80       192.0.2.10:5000       192.0.2.101:8080      100:00:01 -
UDP 05:00  UDP         198.51.100.2:40000    203.0.113.10:80       192.0.2.10:5000       192.0.2.101:53        0:00:00   mh
"""
    )
    assert document.data[0] == {
        "protocol": "TCP",
        "expires_s": 899.999,
        "state": "ESTABLISHED",
        "source": "198.51.100.2:40000",
        "virtual": "203.0.113.10:80",
        "local": "192.0.2.10:5000",
        "destination": "192.0.2.101:8080",
        "service": "web",
        "lane": False,
        "chosen_by": "rr",
        "age_s": 65.43,
    }
    assert document.data[2]["protocol"] == "UDP"


def test_top_is_sorted_by_count_then_by_name_and_knows_what_it_leaves_out() -> None:
    counts = Counter({"198.51.100.9": 5, "198.51.100.10": 5, "198.51.100.3": 1200, "198.51.100.4": 1})
    document = top("client", counts, 3)
    assert (
        document.text
        == """\
conns  client
 1200  198.51.100.3
    5  198.51.100.10
    5  198.51.100.9
"""
    )
    assert document.data == {
        "by": "client",
        "conns": 1211,
        "different": 4,
        "top": [
            {"client": "198.51.100.3", "conns": 1200},
            {"client": "198.51.100.10", "conns": 5},
            {"client": "198.51.100.9", "conns": 5},
        ],
    }
    assert top("service", Counter(), 3).text == "conns  service\n"
