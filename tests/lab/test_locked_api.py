"""The API on an address that other hosts reach: a client of another host, tokens, TLS, and a reload by SIGHUP."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.model.token import line_of
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid, log_lines
from tests.support.certificates import Authority

pytestmark = pytest.mark.once

SHIPPED = (Path(__file__).parents[2] / "etc/lvs.toml").read_text()
LISTEN = 'listen = ["127.0.0.1:9380", "unix:/run/appliance/api.sock"]'
GATEWAY, PORT = "198.51.100.1", 9443
READS, WRITES = "apl_reader-token", "apl_writer-token"
NAMES = {READS: "reader", WRITES: "writer"}


class Scene:
    """A lab whose gateway has a listener with TLS, and the files of it."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.files = self.authority.issue(GATEWAY)
        self.tokens = directory / "tokens"
        self.allow(READS, WRITES)
        self.config = directory / "lvs.toml"
        keys = (
            f'listen = ["127.0.0.1:9380", "unix:/run/appliance/api.sock", "tls:{GATEWAY}:{PORT}"]\n'
            f'tokens_file = "{self.tokens}"\n'
            f'tls_certificate = "{self.files.certificate}"\n'
            f'tls_key = "{self.files.key}"'
        )
        assert LISTEN in SHIPPED
        self.config.write_text(SHIPPED.replace(LISTEN, keys))

    def allow(self, *tokens: str) -> None:
        self.tokens.write_text("".join(f"{line_of(NAMES[token], token, may_write=token == WRITES)}\n" for token in tokens))
        self.tokens.chmod(0o640)

    def asks(self, lab: RunningLab, path: str, token: str = "", *curl: str) -> str:
        """The status that a client on another host gets."""
        authorization = ("-H", f"Authorization: Bearer {token}") if token else ()
        trust = ("--cacert", str(self.authority.file))
        show = ("-sS", "-o", "/dev/null", "-w", "%{http_code}")
        return lab.run("client", "curl", *show, *trust, *authorization, *curl, f"https://{GATEWAY}:{PORT}{path}")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def lab(scene: Scene) -> Iterator[RunningLab]:
    yield from running_lab("--config", str(scene.config), "--shards", "1")


def read_again(lab: RunningLab) -> None:
    lines = len(log_lines(lab))
    os.kill(director_pid(lab), signal.SIGHUP)
    lab.wait_until("the reload is over", lambda: any("configuration read again" in line for line in log_lines(lab)[lines:]))


def test_another_host_has_the_rights_of_its_token_until_a_reload_takes_it_away(lab: RunningLab, scene: Scene) -> None:
    write = ("-X", "PUT", "-d", "60000")
    assert scene.asks(lab, "/healthz") == "401"
    assert scene.asks(lab, "/healthz", "apl_other") == "401"
    assert scene.asks(lab, "/healthz", READS) == "200"
    assert scene.asks(lab, "/sysctl/udp_timeout", READS, *write) == "403"
    assert scene.asks(lab, "/sysctl/udp_timeout", WRITES, *write) == "200"
    assert lab.api("/sysctl/udp_timeout") == "60000\n", "on the loopback address no token is needed"
    done = [line for line in log_lines(lab, "audit") if 'by="token ' in line]
    assert len(done) == 2

    scene.tokens.write_text("nonsense")
    read_again(lab)
    assert scene.asks(lab, "/healthz", WRITES) == "200", "a file with a mistake changes nothing"
    scene.allow(READS)
    read_again(lab)
    assert scene.asks(lab, "/healthz", WRITES) == "401"
    assert scene.asks(lab, "/healthz", READS) == "200"
    log = (Path(lab.environment["LAB_DIR"]) / "appliance.log").read_text()
    assert READS not in log
    assert WRITES not in log


def test_a_certificate_is_exchanged_while_the_appliance_runs(lab: RunningLab, scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    scene.authority = Authority(tmp_path / "other")
    for new, old in zip(scene.authority.issue(GATEWAY), scene.files, strict=True):
        os.replace(new, old)
    read_again(lab)
    assert scene.asks(lab, "/healthz", READS) == "200"
