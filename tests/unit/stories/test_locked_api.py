"""The API with tokens and TLS, from the files of an operator to the commands of another one."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from appliance.__main__ import main
from appliance.api import make_app, serve
from appliance.config.loading import Api
from appliance.director.access import Access
from appliance.rest import identity
from tests.support.certificates import Authority, Files
from tests.support.gateway import FakeGateway


class Scene:
    """An operator with the files of the API, and a command line."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._directory = directory
        self._capsys = capsys
        self.authority = Authority(directory)
        self.files = self.authority.issue("127.0.0.1")
        self.tokens = directory / "tokens"
        self.tokens.touch(0o640)
        self.reads, self.writes = self.new("grafana", "--read-only"), self.new("deploy")
        self.address = ""

    def new(self, *words: str) -> Path:
        """Make a token, add its line to the file, and return a file with the token."""
        assert main(["token", "new", *words]) == 0
        line, token = self._capsys.readouterr()
        with self.tokens.open("a") as file:
            file.write(line)
        place = self._directory / f"{words[0]}.token"
        place.write_text(token)
        place.chmod(0o600)
        return place

    async def types(
        self, *words: str, token: Path | None = None, trusts: bool = True, shows: Files | None = None
    ) -> tuple[int, str]:
        """The exit code of a command, and what it printed."""
        options = ["--api", self.address]
        options += ["--token-file", str(token)] if token else []
        options += ["--ca-file", str(self.authority.file)] if trusts else []
        options += ["--cert-file", str(shows.certificate), "--key-file", str(shows.key)] if shows else []
        code = await asyncio.to_thread(main, [*words, *options])
        out, err = self._capsys.readouterr()
        return code, out + err


@pytest.fixture
def scene(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(identity, "DELAY_S", 0)
    return Scene(tmp_path, capsys)


async def started(scene: Scene, gateway: FakeGateway, client_ca: Path | None = None) -> web.AppRunner:
    """The API on an address that other hosts could reach."""
    listen = ("tls:0.0.0.0:1",)
    api = Api(
        listen=listen,
        tokens_file=str(scene.tokens),
        tls_certificate=str(scene.files.certificate),
        tls_key=str(scene.files.key),
        tls_client_ca=str(client_ca) if client_ca else None,
    )
    gateway.access = Access(api)  # type: ignore[assignment]
    runner = await serve(make_app(gateway), ["tls:0.0.0.0:0"], gateway.access.context)
    scene.address = f"https://127.0.0.1:{runner.addresses[0][1]}"
    return runner


@pytest.fixture
async def gateway(scene: Scene) -> AsyncIterator[FakeGateway]:
    gateway = FakeGateway()
    runner = await started(scene, gateway)
    yield gateway
    await runner.cleanup()


async def test_each_token_does_what_it_may(scene: Scene, gateway: FakeGateway) -> None:
    assert await scene.types("sysctl", "udp_timeout", token=scene.reads) == (0, "udp_timeout = 300000\n")
    assert await scene.types("sysctl", "udp_timeout=60000", token=scene.writes) == (0, "udp_timeout = 60000\n")
    code, said = await scene.types("sysctl", "udp_timeout=5000", token=scene.reads)
    assert (code, gateway.shared.tunable("udp_timeout")) == (1, 60_000)
    assert said.startswith("appliance: token grafana may read and not change anything")


async def test_without_a_token_or_with_a_wrong_one_nothing_is_answered(scene: Scene, gateway: FakeGateway) -> None:
    code, said = await scene.types("sysctl", "udp_timeout")
    assert (code, said.partition(";")[0]) == (
        1,
        "appliance: this address answers nobody without a token (Authorization: Bearer TOKEN)\n",
    )
    scene.reads.write_text("apl_other")
    assert await scene.types("conns", token=scene.reads) == (1, "appliance: this is not a token of this appliance\n")
    assert gateway.sessions.asked == ()


async def test_the_token_of_the_environment_is_sent(scene: Scene, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("APPLIANCE_API_TOKEN", scene.reads.read_text().strip())
    assert (await scene.types("sysctl", "udp_timeout"))[0] == 0


async def test_an_appliance_that_is_not_trusted_gets_no_token(scene: Scene, gateway: FakeGateway) -> None:  # noqa: ARG001
    code, said = await scene.types("sysctl", "udp_timeout", token=scene.writes, trusts=False)
    assert code == 1
    assert "its certificate is refused: unable to get local issuer certificate" in said


async def test_a_token_that_is_taken_away_is_gone_after_a_reload(scene: Scene, gateway: FakeGateway) -> None:
    lines = scene.tokens.read_text().splitlines(keepends=True)
    scene.tokens.write_text("".join(line for line in lines if not line.startswith("deploy ")))
    assert (await scene.types("sysctl", "udp_timeout=60000", token=scene.writes))[0] == 0
    await gateway.access.read_again()  # type: ignore[attr-defined]
    assert (await scene.types("sysctl", "udp_timeout=60000", token=scene.writes))[0] == 1
    assert (await scene.types("sysctl", "udp_timeout", token=scene.reads))[0] == 0


async def test_who_changed_what_is_in_the_log(scene: Scene, gateway: FakeGateway, caplog: pytest.LogCaptureFixture) -> None:  # noqa: ARG001
    caplog.set_level(logging.INFO, logger="appliance.audit")
    await scene.types("sysctl", "udp_timeout=60000", token=scene.writes)
    await scene.types("sysctl", "udp_timeout=5000", token=scene.reads)
    done, refused = caplog.messages
    assert 'by="token deploy"' in done
    assert 'before="300000" asked="60000" after="60000" outcome="200 OK"' in done
    assert 'by="token grafana"' in refused
    assert 'outcome="403 Forbidden"' in refused


async def test_clients_show_a_certificate_where_one_is_asked_for(scene: Scene) -> None:
    gateway = FakeGateway()
    runner = await started(scene, gateway, client_ca=scene.authority.file)
    assert (await scene.types("sysctl", "udp_timeout", token=scene.reads))[0] == 1
    assert (await scene.types("sysctl", "udp_timeout", token=scene.reads, shows=scene.files))[0] == 0
    assert (await scene.types("sysctl", "udp_timeout", shows=scene.files))[0] == 1, "and a token as well"
    await runner.cleanup()


def check(tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: str) -> tuple[int, str]:
    """The exit code of `appliance check`, and what it says of `[api]` with these keys."""
    text = (Path(__file__).parents[3] / "etc/lvs.toml").read_text()
    before, _, after = text.partition("[api]\n")
    file = tmp_path / "lvs.toml"
    file.write_text(f"{before}[api]\n{keys}\n{after[after.index(chr(10) + '[sysctl]') :]}")
    code = main(["check", str(file)])
    return code, capsys.readouterr().err.replace(f"{file}: ", "")


def test_the_check_reads_the_files_too(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = f'tls_certificate = "{scene.files.certificate}"\ntls_key = "{scene.files.key}"\ntokens_file = "{scene.tokens}"\n'
    keys = f'listen = ["tls:192.0.2.9:9443"]\n{files}'
    assert check(tmp_path, capsys, keys) == (0, "")
    scene.tokens.chmod(0o644)
    code, said = check(tmp_path, capsys, keys)
    assert (code, said) == (
        2,
        f'api.tokens_file: "{scene.tokens}" cannot be used: every user may read it (mode 0644); chmod o-rwx\n',
    )
    scene.tokens.chmod(0o640)
    scene.files.key.write_bytes(scene.authority.issue("other").key.read_bytes())
    code, said = check(tmp_path, capsys, keys)
    assert (code, said) == (2, f'api.tls_key: "{scene.files.key}" cannot be used: it is not the key of api.tls_certificate\n')
    assert check(tmp_path, capsys, 'listen = ["192.0.2.9:9380"]')[0] == 2
    assert check(tmp_path, capsys, 'listen = ["192.0.2.9:9380"]\nallow_remote_without_token = true') == (
        0,
        "warning: api.allow_remote_without_token is true: whoever reaches 192.0.2.9:9380 can change tunables and end sessions.\n"
        "warning: api.listen: on 192.0.2.9:9380 everything crosses the network in clear, tokens too, and whoever sees a token "
        "can use it. Put tls: in front of the address.\n",
    )
