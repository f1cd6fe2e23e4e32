"""Every command of `appliance`, as data: the help, the reference and the shell completion are made from COMMANDS.

A command is one line here, and a function that adds its options. That function is imported when the command is used, so that no
command waits for the modules of another one.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class Group(Enum):
    """The parts of ``appliance --help``, in their order; the value is the heading."""

    LOOK = "look at a running appliance"
    CHANGE = "change it while traffic flows"
    EXAMINE = "examine: what is wrong, and why"
    RUN = "run the appliance, and prepare that"


class Entry(NamedTuple):
    """One command."""

    name: str
    group: Group
    summary: str
    """Its line in ``appliance --help``."""
    adds: str
    """``module:function``. The function takes the parser of the command and adds description,
    example, options, and what to do."""


_CLI, _HERE = "appliance.cli.", "appliance.host_commands:"

COMMANDS: tuple[Entry, ...] = (
    Entry("status", Group.LOOK, "show services and real servers as `ipvsadm -Ln` does", _CLI + "tables:add_table"),
    Entry("health", Group.LOOK, "show which real servers are up", _CLI + "tables:add_table"),
    Entry("conns", Group.LOOK, "list sessions", _CLI + "sessions:add_conns"),
    Entry("top-clients", Group.LOOK, "show the clients with most sessions", _CLI + "sessions:add_top_clients"),
    Entry("top-services", Group.LOOK, "show the services with most sessions", _CLI + "sessions:add_top_services"),
    Entry("top-real-servers", Group.LOOK, "show the real servers with most sessions", _CLI + "sessions:add_top_real_servers"),
    Entry("traffic", Group.LOOK, "show sessions, packets and bytes, and their rates", _CLI + "tables:add_table"),
    Entry("drops", Group.LOOK, "show why packets were dropped", _CLI + "tables:add_drops"),
    Entry("counters", Group.LOOK, "show the extended counters", _CLI + "tables:add_counters"),
    Entry("queues", Group.LOOK, "show the counters of queues and workers", _CLI + "tables:add_table"),
    Entry("attack", Group.LOOK, "show whether the gateway is under attack, by what", _CLI + "tables:add_table"),
    Entry("persistence", Group.LOOK, "count the clients that services remember", _CLI + "tables:add_table"),
    Entry("events", Group.LOOK, "show what has happened to real servers", _CLI + "drain:add_events"),
    Entry("lane", Group.LOOK, "show what the kernel carries by itself", _CLI + "tables:add_table"),
    Entry("slabinfo", Group.LOOK, "show the size of tables and pools", _CLI + "tables:add_table"),
    Entry("consistency", Group.LOOK, "look whether tables, pools and lane agree", _CLI + "tables:add_table"),
    Entry("sockstat", Group.LOOK, "count sessions as sockets", _CLI + "tables:add_table"),
    Entry("conntrack", Group.LOOK, "show the fill of the session table", _CLI + "tables:add_table"),
    Entry("top", Group.LOOK, "show the gateway live on a terminal", _CLI + "top.command:add_top"),
    Entry("metrics", Group.LOOK, "print all numbers for Prometheus", _CLI + "tables:add_metrics"),
    Entry("services", Group.CHANGE, "list, add, change or remove services", _CLI + "service_changes:add_services"),
    Entry("servers", Group.CHANGE, "list or change real servers", _CLI + "changes:add_servers"),
    Entry("pools", Group.CHANGE, "list or change pools of local addresses", _CLI + "service_changes:add_pools"),
    Entry("drain", Group.CHANGE, "let a real server have no new sessions", _CLI + "drain:add_drain"),
    Entry("cut", Group.CHANGE, "end sessions", _CLI + "sessions:add_cut"),
    Entry("sysctl", Group.CHANGE, "list the tunables, read one, or write one", _CLI + "sysctl:add_sysctl"),
    Entry("host", Group.CHANGE, "the same for parameters of the host's kernel", _CLI + "host:add_host"),
    Entry("plan", Group.CHANGE, "say what a configuration would change", _CLI + "changes:add_plan"),
    Entry("apply", Group.CHANGE, "put a configuration in force", _CLI + "changes:add_apply"),
    Entry("confirm", Group.CHANGE, "let the last change stay", _CLI + "changes:add_confirm"),
    Entry("save", Group.CHANGE, "write changes into the file", _HERE + "add_save"),
    Entry("doctor", Group.EXAMINE, "say what is wrong, and what mends it", _HERE + "add_doctor"),
    Entry("trace", Group.EXAMINE, "show what becomes of a client's packets, and why", _CLI + "trace:add_trace"),
    Entry("capture", Group.EXAMINE, "write a client's packets and their verdicts to a file", _CLI + "capture:add_capture"),
    Entry("replay", Group.EXAMINE, "say what becomes of the packets of a capture", _HERE + "add_replay"),
    Entry("run", Group.RUN, "run the appliance in the foreground", _HERE + "add_run"),
    Entry("check", Group.RUN, "check a configuration file", _HERE + "add_check"),
    Entry("render-nft", Group.RUN, "print the nftables ruleset of a configuration", _HERE + "add_render_nft"),
    Entry("cleanup", Group.RUN, "undo what a crashed appliance left on this host", _HERE + "add_cleanup"),
    Entry("token", Group.RUN, "make a token for the admin API", _CLI + "token:add_token"),
    Entry("completion", Group.RUN, "print the script with which a shell completes all this", _CLI + "completion:add_completion"),
    Entry("lab", Group.RUN, "run a command as a client of a gateway on this machine", "appliance.lab.command:add_options"),
)
"""In the order in which the help lists them."""

BY_NAME: Mapping[str, Entry] = {entry.name: entry for entry in COMMANDS}
