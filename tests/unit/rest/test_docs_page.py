"""rest/docs_page.py: the page with swagger-ui and without it; nothing on it comes from elsewhere."""

import re
from pathlib import Path

import pytest

from appliance.rest import docs_page
from appliance.rest.docs_page import ASSETS
from appliance.rest.routes import ROUTES
from tests.support.api_answers import Client

UI = [name for name in ASSETS if name.startswith("swagger-ui")]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where swagger-ui is looked for; it is not there."""
    monkeypatch.setattr(docs_page.DocsHandlers.__init__, "__defaults__", ((tmp_path,),))
    return tmp_path


def install(place: Path) -> None:
    for name in UI:
        (place / name).write_text(f"/* {name} */")


async def test_without_swagger_ui_the_page_lists_all_routes_and_says_how_to_get_it(client: Client) -> None:
    response = await client.get("/docs")
    text = await response.text()
    assert (response.status, response.content_type) == (200, "text/html")
    assert all(f"<code>{route.path}</code>" in text for route in ROUTES)
    assert "make swagger-ui" in text
    for name in UI:
        assert (await client.get(f"/docs/{name}")).status == 404


async def test_with_swagger_ui_the_page_shows_the_document(client: Client, place: Path) -> None:
    install(place)
    text = await (await client.get("/docs")).text()
    assert 'id="api"' in text
    for name in UI:
        response = await client.get(f"/docs/{name}")
        assert (response.content_type, await response.text()) == (ASSETS[name], f"/* {name} */")
    assert '"/openapi.json"' in await (await client.get("/docs/start.js")).text()


@pytest.mark.parametrize("missing", UI)
async def test_half_of_swagger_ui_is_none(client: Client, place: Path, missing: str) -> None:
    install(place)
    (place / missing).unlink()
    assert "make swagger-ui" in await (await client.get("/docs")).text()


@pytest.mark.parametrize("installed", [True, False])
async def test_all_that_the_page_loads_is_there_and_nothing_runs_inside_of_it(
    client: Client, place: Path, installed: bool
) -> None:
    if installed:
        install(place)
    response = await client.get("/docs")
    text = await response.text()
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    loaded = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert loaded
    for path in loaded:
        answer = await client.get(path)
        assert path.startswith("/")
        assert answer.status == 200
        if path.startswith("/docs/"):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script>|<style>| style=| on[a-z]+=", text)


@pytest.mark.parametrize("name", ["..%2f__init__.py", "other.js", "swagger-ui.css%00", "LICENSE"])
async def test_no_other_file_is_given_out(client: Client, place: Path, name: str) -> None:
    install(place)
    (place / "LICENSE").write_text("x")
    assert (await client.get(f"/docs/{name}")).status == 404
