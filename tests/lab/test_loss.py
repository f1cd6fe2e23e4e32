"""Big transfers under loss, carried by selective acknowledgements that the gateway has translated."""

import json
from collections.abc import Iterator

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.loss_rules import loss_behind_the_gateway, tcp_ext_of_all

GIB = 1 << 30
SEGMENTS = GIB // 1460
PER_MILLE = 10


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    yield from running_lab("--shards", "2")


@pytest.mark.parametrize(
    ("direction", "senders", "way"),
    [
        pytest.param("download", ("rs1", "rs2"), "from gateway to client", id="download"),
        pytest.param(
            "upload", ("client",), "from gateway to server", id="upload, where SACK blocks are in the gateway's numbers"
        ),
    ],
)
def test_a_gibibyte_arrives_whole_under_one_percent_loss(
    lab: RunningLab, direction: str, senders: tuple[str, ...], way: str
) -> None:
    """The sender repairs losses by SACK, and never gets a block that it cannot have sent.

    A block in the numbers of the other side would count as TCPSACKDiscard, and each lost segment would wait for a timeout.
    """
    before = tcp_ext_of_all(lab, senders)

    def growth(name: str) -> int:
        return tcp_ext_of_all(lab, senders)[name] - before[name]

    with loss_behind_the_gateway(lab, PER_MILLE) as lost, lab.start("client", "bulk.py", direction, str(GIB)) as transfer:
        lab.wait_until("it is over, or never will be", lambda: transfer.poll() is not None or growth("TCPSACKDiscard") > 0)
        transfer.kill()
        said, _ = transfer.communicate()
        assert growth("TCPSACKDiscard") == 0
        assert lost()[way] > SEGMENTS * PER_MILLE / 1000 / 2
        assert min(lost().values()) > 100, "acknowledgements were lost, too"
    result = json.loads(said)
    assert result["got"] == result["expected"]
    assert growth("TCPSackRecovery") > 500
    assert growth("TCPTimeouts") < growth("TCPSackRecovery") / 10
    assert growth("TCPSACKReneging") == 0
