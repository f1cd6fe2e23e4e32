"""The verdicts on new sessions beyond a limit of their service. `verdicts` has all others, and these as constants."""

from appliance.model.verdict import Action, Verdict


def make() -> tuple[Verdict, Verdict, Verdict]:
    """Make them, in the order of `shared_layout.REFUSALS`: once, because each has a place among the counters of verdicts."""
    service_full = Verdict(
        Action.DROP,
        "service_full",
        "refused: the service has as many sessions as its max_conn allows",
        cause="There are more clients than the service is to have at the same time, or they keep sessions that they do not need.",
        remedy="See who they are with /conns/top?by=client. Raise max_conn of the service, or shorten tcp_timeout_established.",
    )
    servers_full = Verdict(
        Action.DROP,
        "servers_full",
        "refused: each real server of the service has as many sessions as its max_conn allows",
        cause="There are more clients than all real servers that are up may have at the same time.",
        remedy="Add real servers, or raise max_conn of those there are.",
    )
    client_full = Verdict(
        Action.DROP,
        "client_full",
        "refused: the client has as many sessions with the service as max_conn_per_client allows",
        cause="A client has more to do than others, or keeps sessions that it does not need; or many clients share an address.",
        remedy="See who it is with /conns/top?by=client. Raise max_conn_per_client of the service, or deny the client.",
    )
    return service_full, servers_full, client_full
