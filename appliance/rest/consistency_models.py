"""The shape of what is answered about consistency (`rest.models`)."""

from appliance.rest.models import Count, Model


class EntryCounts(Model):
    """Entries of the lane that somebody has; those of them whose clients have come again while they rest; and all others."""

    used: Count
    without_client: Count
    free: Count


class Consistency(Model):
    """Whether tables, pools and figures agree with each other and with the lane."""

    wrong: Count
    problems: list[str]
    entries: EntryCounts
    flows: Count
    free: Count
    real_servers: dict[str, dict[str, Count]]
