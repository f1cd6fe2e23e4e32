"""rest/ui_page.py: the page and its files; nothing on it comes from elsewhere, and nothing that it shows can become markup."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.model.verdicts import VERDICTS
from appliance.rest import ui_page
from appliance.rest.ui_page import FOLDER, OWN, REASONS, UPLOT
from tests.support.api_answers import Client

TESTS_OF_CODE = sorted((Path(__file__).parent / "ui").glob("*.test.mjs"))
CODE = [name for name in OWN if name.endswith(".mjs")]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uPlot is looked for; it is not there."""
    monkeypatch.setattr(ui_page.UiHandlers.__init__, "__defaults__", ((tmp_path,),))
    return tmp_path


async def test_the_page_loads_only_what_the_api_has(client: Client) -> None:
    response = await client.get("/ui/")
    text = await response.text()
    assert (response.status, response.content_type) == (200, "text/html")
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert {"/ui/app.mjs", "/ui/style.css"} <= set(loaded)
    for file in loaded:
        assert file.startswith("/")
        assert (await client.get(file)).status == 200
    assert not re.search(r"<script>|<script(?! type=\"module\" src=)|<style>| style=| on[a-z]+=|javascript:", text)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_without_its_slash_the_page_is_found_too(client: Client, method: str) -> None:
    response = await client.request(method, "/ui", allow_redirects=False)
    assert (response.status, response.headers["Location"], response.headers["Cache-Control"]) == (308, "/ui/", "no-store")
    assert str((await client.request(method, "/ui")).url).endswith("/ui/")


@pytest.mark.parametrize("path", ["/ui/", *(f"/ui/{name}" for name in (*OWN, REASONS))])
async def test_browsers_are_told_to_run_and_show_nothing_else(client: Client, path: str) -> None:
    response = await client.get(path)
    assert response.status == 200
    policy = response.headers["Content-Security-Policy"]
    assert policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"


def test_every_file_of_the_folder_is_given_out_and_every_module_is_there() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {*OWN, "index.html"}
    for name in CODE:
        for imported in re.findall(r'(?:from|import\()\s*"([^"]+)"', (FOLDER / name).read_text()):
            assert imported.removeprefix("./") in OWN or imported.removeprefix("/ui/") in (*UPLOT, REASONS)


@pytest.mark.parametrize("name", CODE)
def test_code_makes_no_markup_and_stores_no_secret(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function|setHTML", text)
    assert not re.search(r"https?://(?!api\.invalid|www\.w3\.org/2000/svg)", text)
    assert ("localStorage" in text) == (name == "theme.mjs")
    assert not re.search(r"sessionStorage|indexedDB|document\.cookie", text)


def test_every_element_that_the_code_looks_for_is_on_the_page() -> None:
    page = (FOLDER / "index.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for name in CODE:
        for wanted in re.findall(r'byId\("([^"]+)"\)', (FOLDER / name).read_text()):
            assert wanted in ids, f"{name} looks for {wanted}"


def test_every_field_has_a_label() -> None:
    page = (FOLDER / "index.html").read_text()
    fields = re.findall(r'<(?:input|select) id="([^"]+)"', page)
    assert fields
    assert set(fields) == set(re.findall(r'<label for="([^"]+)"', page))


async def test_uplot_is_given_out_when_it_is_installed(client: Client, place: Path) -> None:
    for name, kind in UPLOT.items():
        missing = await client.get(f"/ui/{name}")
        assert missing.status == 404
        assert "make ui" in await missing.text()
        (place / name).write_text(f"/* {name} */")
        response = await client.get(f"/ui/{name}")
        assert (response.content_type, await response.text()) == (kind, f"/* {name} */")


@pytest.mark.parametrize(
    "name", ["..%2fui_page.py", "..%2f..%2f__init__.py", "index.html", "LICENSE", "app.mjs%00", "package.json"]
)
async def test_no_other_file_is_given_out(client: Client, place: Path, name: str) -> None:
    (place / "LICENSE").write_text("x")
    assert (await client.get(f"/ui/{name}")).status == 404


async def test_each_reason_of_a_drop_is_explained(client: Client) -> None:
    text = await (await client.get(f"/ui/{REASONS}")).text()
    found = json.loads(text.removeprefix("export default "))
    assert set(found) == {verdict.name for verdict in VERDICTS}
    assert all(reason["summary"] and reason["remedy"] for reason in found.values())


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed (Debian: nodejs)")
@pytest.mark.parametrize("tests", TESTS_OF_CODE, ids=lambda tests: tests.name)
def test_what_needs_no_browser(tests: Path) -> None:
    done = subprocess.run(["node", "--test", "--test-reporter=tap", tests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE)
