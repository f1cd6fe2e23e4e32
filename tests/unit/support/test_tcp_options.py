"""The TCP options of the tests, as dpkt reads them."""

import dpkt

from tests.support.tcp_options import LINUX_SYN, MSS_1460, SACK_PERMITTED, TIMESTAMP, TOA_KIND, WSCALE_7, sack


def test_each_option_is_what_its_name_says() -> None:
    assert dpkt.tcp.parse_opts(MSS_1460) == [(dpkt.tcp.TCP_OPT_MSS, (1460).to_bytes(2, "big"))]
    assert dpkt.tcp.parse_opts(SACK_PERMITTED) == [(dpkt.tcp.TCP_OPT_SACKOK, b"")]
    assert dpkt.tcp.parse_opts(TIMESTAMP) == [(dpkt.tcp.TCP_OPT_TIMESTAMP, b"\0\0\0\1\0\0\0\0")]
    assert dpkt.tcp.parse_opts(WSCALE_7) == [(dpkt.tcp.TCP_OPT_WSCALE, b"\7")]


def test_the_syn_of_linux_has_all_four_and_is_a_whole_number_of_words() -> None:
    assert [kind for kind, _ in dpkt.tcp.parse_opts(LINUX_SYN)] == [2, 4, 8, 1, 3]
    assert len(LINUX_SYN) == 20


def test_a_sack_option_has_its_edges_in_order() -> None:
    assert dpkt.tcp.parse_opts(sack(1, 2)) == [(dpkt.tcp.TCP_OPT_SACK, b"\0\0\0\1\0\0\0\2")]


def test_the_kind_of_the_client_address_is_an_experimental_one() -> None:
    """RFC 4727: 253 and 254."""
    assert TOA_KIND in (253, 254)
