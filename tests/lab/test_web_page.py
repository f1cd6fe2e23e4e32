"""The page /ui/ in a browser, at a gateway with traffic: what it shows, what it changes and for whom, and who can use it."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.browser import READS, WRITES, config_with_tokens, page_url, patient, started, why_no, why_not
from tests.lab.conftest import RunningLab, running_lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.skipif(os.environ.get("LANE") == "off", reason="once is enough: nothing in it is about the lane"),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

AXE = Path(__file__).parents[2] / "build/axe-core/axe.min.js"
VIEWS = ("services", "sessions", "drops", "attacks", "tunables")
FIRST = "192.0.2.101:8080"
DRAIN = f"/services/web/real_servers/{FIRST}/drain"
TUNABLE = "udp_timeout"
IS_LIVE = "document.getElementById('stream').textContent === 'live'"
LOOKS = 1200
"""Looks, 0.1 s apart, before a wait gives up."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab whose API has tokens, with some requests a second."""
    directory = tmp_path_factory.mktemp("page")
    for running in running_lab("--config", str(config_with_tokens(directory)), "--shards", "2"):
        with running.start("client", "load_until_told.py", "2", "0.1") as clients:
            assert clients.stdin is not None
            assert clients.stdout is not None
            assert clients.stdout.readline() == "loading\n"
            yield running
            clients.stdin.close()
            assert not json.loads(clients.stdout.read())["errors"]


@pytest.fixture(scope="module")
def url(lab: RunningLab) -> Iterator[str]:
    with page_url(lab) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with started() as browser:
        yield browser


@contextmanager
def visited(browser: "Browser", url: str, **options: Any) -> "Iterator[Page]":
    """The page in a browser that has never seen it. What it says against itself, or loads from elsewhere, fails the test."""
    said: list[str] = []
    context = browser.new_context(**options)
    page = patient(context.new_page())
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("console", lambda message: said.append(f"console: {message.text}") if "Security Policy" in message.text else None)
    page.on("request", lambda request: None if request.url.startswith(url[:-3]) else said.append(f"loads {request.url}"))
    page.goto(url)
    try:
        yield page
    finally:
        context.close()
    assert said == []


@pytest.fixture
def page(browser: "Browser", url: str) -> "Iterator[Page]":
    with visited(browser, url) as page:
        yield page


def wait_for(page: "Page", what: str) -> None:
    """Wait until this JavaScript says something true. The page may not evaluate text itself, so it is asked again and again."""
    for _ in range(LOOKS):
        if page.evaluate(what):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"waited in vain until {what}")


def give_token(page: "Page", token: str) -> None:
    page.click("#token-button")
    page.fill("#token", token)
    page.click("#token-form button[type=submit]")
    page.wait_for_selector("#token-dialog", state="hidden")
    wait_for(page, "document.getElementById('rights').textContent === 'with a token'")


def row(page: "Page", name: str) -> Any:
    """The row of a table whose first cell has this name."""
    return page.locator("tr", has=page.locator(f'th:text-is("{name}")'))


def says(place: Any, text: str) -> None:
    """Wait until a place on the page says something."""
    place.get_by_text(text).first.wait_for()
    assert text in place.inner_text()


def drained(lab: RunningLab) -> bool:
    return bool(lab.api_json(DRAIN)["draining"])


def is_drained_no_more(lab: RunningLab, page: "Page") -> None:
    """Wait until the page says so: "Take back the drain ..." has that word in it as well."""
    row(page, FIRST).get_by_role("button", name=f"Drain {FIRST} of web", exact=True).wait_for()
    assert not drained(lab)


def test_services_appear_and_rates_move(page: "Page") -> None:
    says(row(page, FIRST), "up")
    wait_for(page, IS_LIVE)
    assert page.locator("#services-range").inner_text() == "1 to 1 of 1 services"
    for figure in ("conns", "packets", "bits"):
        wait_for(page, f"/^[0-9.]*[1-9]/.test(document.getElementById('figure-{figure}').textContent)")
    before = page.locator(".service .spark path").get_attribute("d")
    line = "document.querySelector('.service .spark path').getAttribute('d')"
    wait_for(page, f"{line}.split('L').length > 2 && {line} !== {json.dumps(before)}")
    if not why_no("uplot"):
        page.locator("#chart-packets canvas").wait_for()
        wait_for(page, "/now [0-9.]+ packets/.test(document.getElementById('chart-packets').getAttribute('aria-label'))")


def test_without_a_token_nothing_is_changed_and_with_one_that_may_only_read_the_api_refuses(
    lab: RunningLab, page: "Page"
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    drain = row(page, FIRST).get_by_role("button", name="Drain")
    drain.click()
    says(page.locator("#token-dialog"), "A change needs a token that may write. Nothing was changed.")
    page.fill("#token", "apl_other")
    page.keyboard.press("Enter")
    says(page.locator("#token-dialog"), "this is not a token of this appliance")
    page.keyboard.press("Escape")
    says(row(page, FIRST), "not changed: this page has no token")
    assert set(asked) <= {"GET"}

    give_token(page, READS)
    drain.click()
    says(row(page, FIRST), "token reader may read and not change anything")
    assert not drained(lab)


def test_a_real_server_is_drained_and_its_weight_is_set(lab: RunningLab, page: "Page") -> None:
    give_token(page, WRITES)
    row(page, FIRST).get_by_role("button", name="Drain").click()
    says(row(page, FIRST), "up, drained")
    assert drained(lab)
    says(page.locator("#events-rows"), FIRST)
    row(page, FIRST).get_by_role("button", name="Take back").click()
    is_drained_no_more(lab, page)

    weight = page.get_by_label(f"Weight of {FIRST}")
    weight.fill("37")
    line = page.locator(".service .spark path").get_attribute("d")
    wait_for(page, f"document.querySelector('.service .spark path').getAttribute('d') !== {json.dumps(line)}")
    assert weight.input_value() == "37", "samples do not take away what somebody types"
    weight.press("Enter")
    lab.wait_until("the weight is set", lambda: lab.api_json(f"/services/web/real_servers/{FIRST}")["weight"] == 37)
    weight.fill("100")
    weight.press("Enter")
    lab.wait_until("it is set back", lambda: lab.api_json(f"/services/web/real_servers/{FIRST}")["weight"] == 100)

    page.reload()
    says(page.locator("#rights"), "read-only")


def test_a_tunable_is_changed_and_a_bad_value_gets_the_words_of_the_api(lab: RunningLab, page: "Page") -> None:
    page.click("#to-tunables")
    give_token(page, WRITES)
    known = lab.api_json(f"/sysctl/{TUNABLE}")
    tunable, value = row(page, TUNABLE), page.get_by_label(f"New value of {TUNABLE}", exact=True)
    says(tunable, f"{known['min']} to {known['max']}")
    value.fill("61000")
    value.press("Enter")
    says(tunable.locator("td").first, "61000")
    assert lab.api(f"/sysctl/{TUNABLE}") == "61000\n"
    for bad in ("999", "<b>1</b>"):
        value.fill(bad)
        value.press("Enter")
        refusal = lab.api_json(f"/sysctl/{TUNABLE}")
        tunable.locator(".said[data-state=down]").get_by_text(f"{refusal['min']}").wait_for()
        assert lab.api(f"/sysctl/{TUNABLE}") == "61000\n"
    lab.set_tunable(TUNABLE, known["value"])
    says(tunable.locator("td").first, str(known["value"]))


def test_sessions_are_listed_a_page_at_a_time(lab: RunningLab, page: "Page") -> None:
    page.click("#to-sessions")
    lab.wait_until("there is more than a page", lambda: lab.api_json("/conns/top")["conns"] > 60)
    page.fill("#sessions-service", "web")
    page.press("#sessions-service", "Enter")
    says(page.locator("#sessions-said"), "50 sessions on this page, and there are more")
    first = page.locator("#sessions-rows tr").first.inner_text()
    page.click("#sessions-next")
    wait_for(page, f"document.querySelector('#sessions-rows tr').innerText !== {json.dumps(first)}")
    page.fill("#sessions-client", "nobody")
    page.press("#sessions-client", "Enter")
    says(page.locator("#sessions-said"), "client:")


def brightness(page: "Page") -> float:
    """How bright the page is: 0 is black, 255 is white."""
    numbers: list[float] = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    )
    return sum(numbers) / 3


@pytest.mark.parametrize("system", ["light", "dark"])
def test_colours_are_those_of_the_system_until_the_switch_says_others(browser: "Browser", url: str, system: str) -> None:
    with visited(browser, url, color_scheme=system) as page:
        is_dark: Callable[[], bool] = lambda: brightness(page) < 128  # noqa: E731
        assert is_dark() == (system == "dark")
        for theme in ("light", "dark"):
            page.select_option("#theme", theme)
            assert is_dark() == (theme == "dark")
        page.reload()
        assert is_dark(), "the choice stays"
        page.select_option("#theme", "")
        assert is_dark() == (system == "dark")


def focused(page: "Page") -> str:
    """What has the focus: its id, or its name for readers of screens."""
    said: str = page.evaluate("document.activeElement.id || document.activeElement.getAttribute('aria-label') || ''")
    return said


def has_focus(page: "Page", wanted: str) -> None:
    """Wait until this has the focus: what a key or an address does, the page may do a moment later."""
    for _ in range(LOOKS):
        if focused(page) == wanted:
            return
        page.wait_for_timeout(100)
    pytest.fail(f"{focused(page)} has the focus, not {wanted}")


def tab_to(page: "Page", wanted: str) -> None:
    """Press Tab until this has the focus, and see that the focus shows."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if focused(page) == wanted:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    pytest.fail(f"Tab never comes to {wanted}")


def test_all_of_it_can_be_done_with_the_keyboard(lab: RunningLab, page: "Page") -> None:
    says(row(page, FIRST), "up")
    tab_to(page, "token-button")
    page.keyboard.press("Enter")
    has_focus(page, "token")
    page.keyboard.type(WRITES)
    page.keyboard.press("Enter")
    page.wait_for_selector("#token-dialog", state="hidden")
    tab_to(page, f"Drain {FIRST} of web")
    page.keyboard.press("Enter")
    says(row(page, FIRST), "up, drained")
    has_focus(page, f"Take back the drain of {FIRST} of web")
    page.keyboard.press("Enter")
    is_drained_no_more(lab, page)

    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    page.goto(page.url.partition("#")[0] + "#tunables")
    has_focus(page, "tunables-title")
    tab_to(page, "tunables-match")
    page.keyboard.type(TUNABLE)
    tab_to(page, f"New value of {TUNABLE}")
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    row(page, TUNABLE).locator(".said[data-state=down]").wait_for()


@pytest.mark.skipif(bool(why_no("axe-core")), reason=why_no("axe-core"))
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_no_barrier(browser: "Browser", url: str, colours: str) -> None:
    with visited(browser, url, color_scheme=colours) as page:
        says(row(page, FIRST), "up")
        page.evaluate(AXE.read_text())
        for view in VIEWS:
            page.click(f"#to-{view}")
            page.wait_for_selector(f"#{view}:not([hidden])")
            found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
            assert [(barrier["id"], barrier["nodes"][0]["html"]) for barrier in found] == [], view
        page.click("#token-button")
        assert page.evaluate("axe.run('#token-dialog')")["violations"] == []


HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"


def test_what_strangers_name_is_text(browser: "Browser", url: str) -> None:
    """Names, reasons, clients and sentences as nobody can configure them: were they markup, it would show here."""
    with visited(browser, url) as page:
        says(row(page, FIRST), "up")
        sample = page.evaluate("fetch('/samples?format=json').then(answer => answer.json())")
        gateway, services = sample["gateway"], sample["services"]
        gateway |= {"notes": [HOSTILE], "problems": [HOSTILE], "drops": {HOSTILE: 5}, "lane": HOSTILE, "last_event": 1}
        services["services"][0] |= {"name": HOSTILE, "scheduler": HOSTILE}
        services["services"][0]["real_servers"][0]["endpoint"] = HOSTILE
        attack: dict[str, Any] = {
            "kind": HOSTILE,
            "summary": HOSTILE,
            "began": HOSTILE,
            "ended": None,
            "lasted_s": 1,
            "dropped": 1,
            "rate_per_s": 1,
        }
        attack |= {"peak_per_s": 1, "rules": {HOSTILE: 1}, "sessions_per_s": 1, "sessions_per_s_before": 1}
        gateway["attacks"] = [attack]
        body = f"event: gateway\ndata: {json.dumps(gateway)}\n\nevent: services\ndata: {json.dumps(services)}\n\n"
        event = {"at_s": 0, "kind": HOSTILE, "service": HOSTILE, "real_server": HOSTILE, "text": HOSTILE}
        page.route("**/samples*", lambda route: route.fulfill(content_type="text/event-stream", body=body))
        page.route(re.compile(r"/events\?"), lambda route: route.fulfill(json={"events": [event]}))
        page.route(re.compile(r"/conns\?"), lambda route: route.fulfill(status=400, json={"detail": HOSTILE}))
        page.reload()
        says(page.locator("#sentences"), HOSTILE)
        says(page.locator("#services-table"), HOSTILE)
        says(page.locator("#events-rows"), HOSTILE)
        page.click("#to-drops")
        says(page.locator("#drops-rows"), HOSTILE)
        page.click("#to-attacks")
        says(page.locator("#attacks-rows"), HOSTILE)
        page.click("#to-sessions")
        page.fill("#sessions-client", HOSTILE)  # it waits for the field; a key alone may come before that is shown
        page.press("#sessions-client", "Enter")
        says(page.locator("#sessions-said"), HOSTILE)
        assert page.title() == "The appliance"
        assert page.locator("img, main script").count() == 0


def test_the_page_goes_on_when_the_stream_breaks_off(browser: "Browser", url: str) -> None:
    with visited(browser, url) as page:
        wait_for(page, IS_LIVE)
        page.route("**/samples*", lambda route: route.abort())
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        says(page.locator("#stream"), "not live: asking again")
        page.unroute("**/samples*")
        wait_for(page, IS_LIVE)


def test_where_a_token_is_needed_the_page_asks_for_it(browser: "Browser", url: str) -> None:
    with visited(browser, url) as page:

        def answer(route: Any) -> None:
            if "authorization" in route.request.headers:
                route.continue_()
            else:
                route.fulfill(status=401, json={"detail": "no token"})

        page.route("**/samples*", answer)
        page.reload()
        says(page.locator("#token-dialog"), "This address answers nobody without a token.")
        page.fill("#token", READS)
        page.keyboard.press("Enter")
        wait_for(page, IS_LIVE)


def test_the_listeners_themselves_have_the_page_too(lab: RunningLab) -> None:
    assert "default-src 'none'" in lab.api("/ui/", "--include")
    socket = lab.environment["APPLIANCE_API"].removeprefix("unix:")
    ask = f"curl -sN --unix-socket {socket} -H 'Accept: text/event-stream' http://localhost/samples"
    assert lab.run("client", "sh", "-c", f"{ask} | grep --max-count=1 '^event: services'")
