"""The table `[session_log]` of the configuration file, key by key."""

from typing import Annotated

from pydantic import Field

from appliance.config.table import Table
from appliance.config.values import Allowed, FilePath, Listed, Name, OneOf, Range

OFF, JOURNAL, FILE = "off", "journal", "file"

TARGETS = (OFF, JOURNAL, FILE)
"""What session_log.target can be."""


class SessionLog(Table):
    """`[session_log]`: a line for each session at its end."""

    target: Annotated[
        str,
        OneOf(TARGETS),
        Field(
            description="Where a line goes for each session at its end. off: nowhere, and nothing is made for it. journal: to "
            "the standard error of the appliance, which systemd gives to its journal. file: to `file`."
        ),
    ] = OFF
    file: Annotated[
        FilePath,
        Allowed("the absolute path of a file"),
        Field(
            description="The file, for target file. It is made with mode 0640 when it is not there. It must be no link, belong "
            "to the user of the appliance, and lie in a directory that not everybody can write to. Only who can write the "
            "configuration file can choose it: the API does not take another one."
        ),
    ] = "/var/log/appliance/sessions.log"
    max_bytes: Annotated[
        int,
        Range(65_536, 1 << 30, "bytes"),
        Field(
            description="How long the file gets. Before a line that would make it longer, it is renamed, and a new one begins."
        ),
    ] = 16 << 20
    files: Annotated[
        int,
        Range(1, 100),
        Field(description="How many older files are kept, as `file` with .1 and so on behind it; .1 is the newest."),
    ] = 5
    max_per_s: Annotated[
        int,
        Range(1, 10_000, "lines per second"),
        Field(
            description="How many lines there are in a second at most, of all shards together. Sessions that end beyond that "
            "have no line of their own; one line says how many they were. A journal takes 10,000 lines in 30 seconds from a "
            "service unless it is told otherwise, and drops what comes beyond that, so the default stays below."
        ),
    ] = 300
    services: Annotated[
        Listed[Name],
        Allowed("a list of names of services"),
        Field(description="The services whose sessions have a line. Without any, those of all services have."),
    ] = ()
