"""views/host_parameters.py: the table, one value for scripts, and all that is known of a parameter as JSON."""

import json
from collections.abc import Mapping

from appliance.model.host_parameter import HostReading, Values
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.views.document import Document
from appliance.views.host_parameters import all_parameters, one_parameter

TUNABLES = {"fullnat_lport_min": 32768, "fullnat_lport_max": 65535}


def reading(name: str, values: Mapping[str, Values], reason: str = "") -> HostReading:
    return HostReading(HOST_PARAMETERS[name], values, "absent" if not values else "read-only" if reason else "writable", reason)


FIN_TIMEOUT = reading("tcp_fin_timeout", {"": (60,)})
PORTS = reading("ip_local_port_range", {"": (32768, 60999)})
RP_FILTER = reading("rp_filter", {"all": (0,), "eth0": (2,)})
RECYCLE = reading("tcp_tw_recycle", {}, "this kernel has it no more")


def one(reading: HostReading, place: str = "") -> Document:
    return one_parameter(reading, place, TUNABLES, "asked")


def test_the_table_shows_the_value_beside_the_recommended_one() -> None:
    lines = all_parameters([FIN_TIMEOUT, PORTS, RP_FILTER, RECYCLE], TUNABLES).text.splitlines()
    head, *rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    assert head == ["name", "value", "recommended", "range", "unit", "meaning"]
    assert [row[:5] for row in rows] == [
        ["tcp_fin_timeout", "60", "-", "1..3600", "s"],
        ["ip_local_port_range", "32768 60999", "1024 32767", "1024..65535", "port"],
        ["rp_filter", "all 0, eth0 2", "2", "0..2", "-"],
        ["tcp_tw_recycle", "absent", "0", "0..1", "-"],
    ]
    assert [row[5] for row in rows] == [one.parameter.meaning for one in (FIN_TIMEOUT, PORTS, RP_FILTER, RECYCLE)]


def test_the_text_of_one_is_its_value_for_scripts() -> None:
    assert one(FIN_TIMEOUT).text == "60\n"
    assert one(PORTS).text == "32768 60999\n"
    assert one(RP_FILTER).text == "all 0\neth0 2\n"
    assert one(RP_FILTER, "eth0").text == "2\n"
    assert one(RECYCLE).text == "\n"


def test_a_value_as_json_is_a_number_a_list_or_by_place() -> None:
    assert one(FIN_TIMEOUT).data["value"] == 60
    assert one(PORTS).data["value"] == [32768, 60999]
    assert one(RP_FILTER).data["value"] == {"all": 0, "eth0": 2}
    assert one(RP_FILTER, "all").data["value"] == 0
    assert one(RECYCLE).data["value"] is None


def test_json_has_all_that_is_known() -> None:
    parameter = FIN_TIMEOUT.parameter
    assert one(FIN_TIMEOUT).data == {
        "name": "asked",
        "value": 60,
        "recommended": None,
        "default": 60,
        "unit": "s",
        "state": "writable",
        "reason": "",
        "sysctl": "net.ipv4.tcp_fin_timeout",
        "ranges": [{"field": "value", "min": 1, "max": 3600}],
        "meaning": parameter.meaning,
        "mistake": parameter.mistake,
        "here": parameter.here,
        "tunables": ["tcp_timeout_fin_wait", "tcp_timeout_time_wait"],
    }
    ports = one(PORTS).data
    assert (ports["recommended"], ports["default"]) == ([1024, 32767], [32768, 60999])
    assert [number["field"] for number in ports["ranges"]] == ["first", "last"]
    assert one(reading("tcp_mem", {"": (1, 2, 3)})).data["default"] is None
    recycle = one(RECYCLE).data
    assert (recycle["state"], recycle["reason"]) == ("absent", "this kernel has it no more")
    assert one(RP_FILTER, "eth0").data["sysctl"] == "net.ipv4.conf.eth0.rp_filter"


def test_the_list_has_the_same_rows_without_their_names() -> None:
    data = all_parameters([FIN_TIMEOUT, RP_FILTER], TUNABLES).data
    assert data == {
        "tcp_fin_timeout": {key: value for key, value in one(FIN_TIMEOUT).data.items() if key != "name"},
        "rp_filter": {key: value for key, value in one(RP_FILTER).data.items() if key != "name"},
    }
    json.dumps(data)
