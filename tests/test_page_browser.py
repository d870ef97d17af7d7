"""The page in a real browser, headless: what it shows and says, by keyboard, on narrow screens, and what it keeps out.

Skipped where there is no Chromium; `make browser` runs these alone and fails there.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.cli.ask import ask
from gateway.config import Config
from gateway.deadline import Deadline
from gateway.errors import Overloaded
from gateway.rpc.server import Ports, Server
from gateway.telemetry.metrics import Metrics, Rejection
from gateway.types import Answer, Criticality, Question
from tests.browser import PATIENCE, Page, chromium, tab
from tests.fakes import ABSTENTION, ANSWER, CITATION, FakeGateway

pytestmark = pytest.mark.timeout(4 * PATIENCE)

HOSTILE = '<img src=x onerror="window.wasHere=1"><script>window.wasHere=1</script>"\'&amp;{{7*7}}'
WIDTHS = (360, 768, 1440)
TRUSTED = "require-trusted-types-for"
ELSEWHERE = "{rel: 'stylesheet', href: 'http://127.0.0.2/x.css'}"
TARGET = "{ address: '0.0.0.0:50051', options: ['--tls'] }"
FOCUSED = "document.activeElement.id || document.activeElement.tagName"
IS_SHOWN = "document.querySelector('#routes').children.length > 0"


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as browser:
        yield browser


@pytest.fixture
async def page(browser: str) -> AsyncIterator[Page]:
    async with tab(browser) as page:
        await page.size(1440)
        yield page


def address(ports: Ports, at: str = "") -> str:
    return f"http://127.0.0.1:{ports.admin}/{at}"


async def text(page: Page, selector: str) -> str:
    """As it is seen, without empty lines."""
    shown: str = await page.value(f"document.querySelector({selector!r}).innerText")
    return "\n".join(line for line in shown.splitlines() if line.strip())


async def asked(page: Page, question: str) -> None:
    await page.value("document.querySelector('#question').focus(), document.querySelector('#question').value = ''")
    await page.write(question)
    await page.press("Enter")
    await page.until("document.querySelector('#answer .badge') !== null")


async def test_what_is_live_is_shown_as_it_comes(page: Page, ports: Ports, metrics: Metrics) -> None:
    await page.open(address(ports))
    await page.until(IS_SHOWN)
    # Empty as yet, and it says so.
    assert await text(page, "#state") == "Ready"
    assert "Nothing was timed" in await text(page, "#latency")
    assert "None in the last" in await text(page, "#troubles")
    for _ in range(3):
        metrics.observe(ANSWER, 0.003)
    metrics.observe(ABSTENTION, 0.004)
    metrics.reject(Rejection.SHED, Criticality.SHEDDABLE)
    await page.until("document.querySelector('#routes').innerText.includes('75')")
    assert "model: confident" in await text(page, "#routes")
    assert "Received\n4 100" in (await text(page, "#funnel")).replace("\u00a0%", "")
    assert "1 abstained" in await text(page, "#funnel")
    assert "infer" in await text(page, "#latency")
    assert "refused: shed\t1" in await text(page, "#troubles")
    assert "Certificate valid" in await text(page, "#trust")
    assert "banking\t3\t7" in await text(page, "#knowledge")
    label = await page.value("document.querySelector('.histogram').getAttribute('aria-label')")
    assert label.startswith("Confidences of 4 answers")
    assert page.problems == []


async def test_a_question_is_answered_with_all_that_it_rests_on(page: Page, ports: Ports) -> None:
    await page.open(address(ports, "#ask"))
    await asked(page, "Why are my cards late?")
    shown = await text(page, "#answer")
    assert shown.startswith("model\nconfident\nlabel card_arrival")
    assert ANSWER.text in shown
    assert "threshold, 0.750" in shown
    assert "[1] When will my card arrive? https://help.example/card-arrival" in shown
    assert "similarity 0.750 · characters 0 to 5 · version 5" in shown
    assert "tokenize" in shown
    assert await text(page, "mark.asked") == "Cards"  # of "my cards"
    assert "model, confident, confidence 0.94." in await page.value("document.querySelector('#said').textContent")
    at = await page.value("getComputedStyle(document.querySelector('.threshold')).getPropertyValue('--at')")
    assert float(at) == ANSWER.threshold
    line = f"gateway ask 'Why are my cards late?' --target 127.0.0.1:{ports.grpc}"
    assert await text(page, "#line") == line
    assert page.problems == []


async def test_an_abstention_and_a_refusal_say_what_they_are(page: Page, ports: Ports, gateway: FakeGateway) -> None:
    async def abstains(question: Question, deadline: Deadline) -> Answer:
        return ABSTENTION

    async def is_full(question: Question, deadline: Deadline) -> Answer:
        raise Overloaded("7 questions in flight, limit 4")

    gateway.behaviour = abstains
    await page.open(address(ports, "#ask"))
    await asked(page, "How tall is the moon?")
    shown = await text(page, "#answer")
    assert shown.startswith("abstain\nno evidence\nNo answer was good enough to give.")
    assert "Hand-off\ncard-arrival" in shown
    gateway.behaviour = is_full
    await asked(page, "And now?")
    await page.until("document.querySelector('#answer').innerText.startsWith('UNAVAILABLE')")
    assert "7 questions in flight, limit 4" in await text(page, "#answer")
    assert page.problems == []


async def test_what_a_document_says_is_never_markup(page: Page, ports: Ports, gateway: FakeGateway) -> None:
    citation = CITATION._replace(
        title=HOSTILE, quote=f"{HOSTILE} hostile {HOSTILE}", document_id=HOSTILE, uri="javascript:wasHere=1"
    )
    answer = dataclasses.replace(ANSWER, text=HOSTILE, label=HOSTILE, citations=(citation,), bundle=HOSTILE)

    async def hostile(question: Question, deadline: Deadline) -> Answer:
        return answer

    gateway.behaviour = hostile
    await page.open(address(ports, "#ask"))
    await asked(page, f"a hostile {HOSTILE} img onerror")
    assert (await text(page, "#answer")).count(HOSTILE) >= 5
    assert await page.value("document.querySelectorAll('#answer img, #answer script, #answer a').length") == 0
    assert await page.value("window.wasHere === undefined")
    assert "hostile" in await page.value("[...document.querySelectorAll('mark.asked')].map((one) => one.innerText)")
    assert page.problems == []


async def test_the_policy_keeps_out_what_is_not_ours(page: Page, ports: Ports) -> None:
    await page.open(address(ports))
    await page.until(IS_SHOWN)
    kept_out = """new Promise((done) => {
      addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
      %s
      setTimeout(() => done("let in"), 5000);
    })"""
    for attempt, directive in (
        (
            "document.body.append(document.createElement('script').appendChild(new Text('1')).parentNode)",
            TRUSTED,
        ),
        ("document.body.setAttribute('style', 'color: red')", "style-src-attr"),
        ("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.2/x.png'}))", "img-src"),
        ("fetch('http://127.0.0.2/').catch(() => 0)", "connect-src"),
        ("try { document.body.innerHTML = '<b>' } catch {}", TRUSTED),
        (f"document.head.append(Object.assign(document.createElement('link'), {ELSEWHERE}))", "style-src-elem"),
    ):
        assert await page.value(kept_out % attempt) == directive


async def test_a_keyboard_is_enough(page: Page, ports: Ports) -> None:
    await page.open(address(ports))
    await page.until(IS_SHOWN)
    order = []
    for _ in range(3):
        await page.press("Tab")
        order.append(await page.value(FOCUSED))
    assert order == ["A", "tab-live", "INPUT"]
    assert await page.value("document.activeElement.matches(':focus-visible')")
    await page.press("ArrowRight")  # the other span
    assert await page.value("document.querySelector('input[name=span]:checked').value") == "300"
    await page.press("Tab", shift=True)
    await page.press("ArrowRight")
    assert await page.value(FOCUSED) == "tab-ask"
    assert await page.value("location.hash") == "#ask"
    assert await page.value("document.querySelector('#live').hidden && !document.querySelector('#ask').hidden")
    order = []
    for _ in range(8):
        await page.press("Tab")
        order.append(await page.value(FOCUSED))
        outline = await page.value("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", order[-1]
    assert order == ["question", "collection", "policy", "timeout_ms", "SUMMARY", "submit", "line", "copy"]
    await page.value("document.querySelector('#question').focus()")
    await page.write("Where is my card?")
    await page.press("Enter")
    await page.until("document.querySelector('#answer .badge') !== null")
    assert await page.value(FOCUSED) == "question"
    assert page.problems == []


async def test_everything_has_a_name(page: Page, ports: Ports) -> None:
    """As a screen reader has it: the browser's own tree of accessibility."""
    await page.open(address(ports, "#ask"))
    await asked(page, "Where is my card?")
    for name in ("ask", "live"):
        await page.value(f"document.querySelector('#tab-{name}').click()")
        tree = await page.send("Accessibility.getFullAXTree")
        nameless = [
            node["role"]["value"]
            for node in tree["nodes"]
            if not node["ignored"]
            and node["role"]["value"]
            in {
                "button",
                "textbox",
                "combobox",
                "spinbutton",
                "tab",
                "tabpanel",
                "image",
                "link",
                "radio",
                "table",
                "form",
            }
            and not node.get("name", {}).get("value")
        ]
        assert nameless == []
    regions = "[...document.querySelectorAll('[role=status], [role=alert]')].map((one) => one.id)"
    assert await page.value(regions) == ["state", "notice", "said"]
    assert await page.value("document.documentElement.lang") == "en"
    ids = await page.value("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    dangling = """["aria-labelledby", "aria-controls", "aria-describedby", "for"]
      .flatMap((name) => [...document.querySelectorAll(`[${name}]`)].map((one) => one.getAttribute(name)))
      .filter((id) => !document.getElementById(id))"""
    assert await page.value(dangling) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_every_screen_in_both_schemes(page: Page, ports: Ports, metrics: Metrics, scheme: str) -> None:
    metrics.observe(ANSWER, 0.003)
    await page.prefer(prefers_color_scheme=scheme)
    await page.open(address(ports))
    await page.until(IS_SHOWN)
    await page.value("document.querySelector('#tab-ask').click()")
    await asked(page, "x" * 500)
    for width in WIDTHS:
        await page.size(width)
        for name in ("live", "ask"):
            await page.value(f"document.querySelector('#tab-{name}').click()")
            assert await page.value("document.documentElement.scrollWidth") == width, name
    assert await page.value(CONTRAST) == []
    assert page.problems == []


CONTRAST = """(() => {
  const light = ([r, g, b]) => {
    const part = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = rgb(getComputedStyle(element).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return rgb(getComputedStyle(document.body).backgroundColor);
  };
  return [...document.querySelectorAll("main *, header *, footer")]
    .filter((one) => one.checkVisibility())
    .filter((one) => [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .map((one) => {
      const [a, b] = [light(rgb(getComputedStyle(one).color)), light(ground(one))];
      return [one.outerHTML.slice(0, 80), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    })
    .filter(([, ratio]) => ratio < 4.5);
})()"""
"""Texts that are hard to read: below 4.5 to 1, which WCAG 2.2 AA asks for."""


async def test_a_point_is_divided_among_the_bins_that_it_spans(page: Page, ports: Ports) -> None:
    await page.open(address(ports))
    point = """{ at: 102, seconds: 9, routes: { model: 9 }, latency: { p50: 1, p99: 2 }, lag: { p99: 3 },
      in_flight: 4, waiting: 5, shed_level: 0.5 }"""
    bins = f"import('/page/series.js').then(({{ binned }}) => binned([{point}], 102).slice(-4))"
    before, *found = await page.value(bins)
    assert before is None
    assert [(one["routes"]["model"], one["seconds"], one["p99"], one["waiting"]) for one in found] == [
        (2, 2, 2, 5),
        (5, 5, 2, 5),
        (2, 2, 2, 5),
    ]


async def test_what_is_selected_stays_selected(page: Page, ports: Ports, metrics: Metrics) -> None:
    metrics.observe(ANSWER, 0.003)
    await page.open(address(ports))
    await page.until("document.querySelector('#trust .verdict') !== null")
    await page.value("getSelection().selectAllChildren(document.querySelector('#trust .verdict'))")
    for _ in range(3):
        metrics.observe(ABSTENTION, 0.004)
    await page.until("document.querySelector('#funnel').innerText.includes('3 abstained')")
    assert await page.value("getSelection().toString()") == "✓ Certificate valid"


async def test_nothing_moves_for_who_wants_no_motion(page: Page, ports: Ports, metrics: Metrics) -> None:
    metrics.observe(ANSWER, 0.003)
    await page.open(address(ports))
    await page.until("document.querySelector('.track > span') !== null")
    moves = "parseFloat(getComputedStyle(document.querySelector('.track > span')).transitionDuration)"
    assert await page.value(moves) > 0
    await page.prefer(prefers_reduced_motion="reduce")
    assert await page.value(moves) == 0


async def test_a_server_that_is_gone_is_said_to_be(
    page: Page, config: Config, metrics: Metrics, gateway: FakeGateway
) -> None:
    server = Server(gateway, config, metrics)
    ports = await server.start()
    await page.open(address(ports))
    await page.until(IS_SHOWN)
    await server.stop()
    await page.until("!document.querySelector('#notice').hidden")
    assert f"Nothing answers at 127.0.0.1:{ports.admin}. Trying again. What is shown is from" in await text(
        page, "#notice"
    )
    assert await text(page, "#state") == "Unreachable"
    assert "banking" in await text(page, "#knowledge")  # what was last heard stays, faded
    await page.value("document.querySelector('#tab-ask').click()")
    await asked(page, "Anybody there?")
    assert "Nothing answers at" in await text(page, "#answer")
    later = Server(
        gateway,
        config.model_copy(update={"server": config.server.model_copy(update={"admin_port": ports.admin})}),
        Metrics(),
    )
    try:
        await later.start()
        await page.until(
            "document.querySelector('#notice').hidden && document.querySelector('#state').innerText === 'Ready'"
        )
    finally:
        await later.stop()


async def test_a_server_that_drains_is_not_ready(page: Page, server: Server, ports: Ports) -> None:
    await page.open(address(ports))
    await page.until("document.querySelector('#state').innerText === 'Ready'")
    await server.drain()
    await page.until("document.querySelector('#state').innerText === 'Not ready'")
    assert page.problems == []


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"question": "it's"}, r"gateway ask 'it'\''s' --tls"),
        ({"question": "plain", "timeout_ms": 1000}, "gateway ask plain --tls"),
        (
            {"question": "a b", "policy": "routing", "timeout_ms": 50},
            "gateway ask 'a b' --tls --policy routing --timeout-ms 50",
        ),
        ({"question": "$(rm -rf /)", "groups": "a, b"}, "gateway ask '$(rm -rf /)' --tls --group a --group b"),
        ({"question": "-x", "tenant": "t;t"}, "gateway ask --tls --tenant 't;t' -- -x"),
    ],
)
async def test_the_line_is_safe_to_paste(page: Page, ports: Ports, asked: dict[str, object], line: str) -> None:
    await page.open(address(ports))
    made = f"import('/page/command.js').then(({{ command }}) => command({asked!r}, {TARGET}))"
    assert await page.value(made) == line
    understood = ask.make_context("ask", shlex.split(line)[2:]).params
    assert (understood["question"], understood["wants_tls"]) == (asked["question"], True)
