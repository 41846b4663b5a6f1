"""The page in a real browser: it asks for nothing, complains of nothing, fits a phone, and shows what it says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulations.report.sections import Section
from tests.simulations.report.browser import Browser, program

pytestmark = pytest.mark.skipif(
    program() is None or os.name != "posix", reason="Chromium is not installed (tests/install-system-packages does it)"
)

PHONE, SCREEN = 390, 1280
TEXT = "p, th, td, small, h1, h2, h3, figcaption, .ticks-y span, .ticks-x span, li, summary, button, .axis-title"
CONTRAST = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => sum + weight * linear(rgb[i] / 255), 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  for (const each of document.querySelectorAll(TEXT)) {
    if (!each.textContent.trim() || !each.offsetParent) continue;
    const pair = [light(parse(getComputedStyle(each).color)), light(behind(each))].sort((one, other) => other - one);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < worst[0]) worst = [ratio, `${each.tagName} ${each.className}: ${each.textContent.trim().slice(0, 40)}`];
  }
  return worst;
})()
""".replace("TEXT", repr(TEXT))
"""The least contrast of any text with what is behind it, as the Web Content Accessibility Guidelines define it."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, SCREEN])
def test_it_fits_and_asks_for_nothing(browser: Browser, report: Path, width: int, *, dark: bool) -> None:
    browser.requests.clear()
    browser.show(report, width, dark=dark)
    assert browser.complaints == []
    assert browser.requests == [report.as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    worst, where = browser.evaluate(CONTRAST)
    assert worst >= 4.5, f"contrast of {worst:.2f}: {where}"


def test_with_every_table_open_it_still_fits_a_phone(browser: Browser, report: Path) -> None:
    browser.show(report, PHONE)
    browser.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_every_panel_has_something_drawn(browser: Browser, report: Path, found: Section) -> None:
    browser.show(report, SCREEN)
    drawn = browser.evaluate(
        "[...document.querySelectorAll('.area')].map((area) => [area.closest('.card').id, "
        "[...area.querySelectorAll('path.line, path.dot, rect.run')].filter((mark) => mark.matches('.dot') || "
        "mark.getBoundingClientRect().width + mark.getBoundingClientRect().height > 1).length])"
    )
    assert len(drawn) == sum(len(plot.panels) for plot in found.plots)
    assert [key for key, marks in drawn if not marks] == []


def test_a_variant_can_be_switched_off_and_on(browser: Browser, report: Path) -> None:
    browser.show(report, SCREEN)
    seen = "[...document.querySelectorAll('#delay path.line')].filter((each) => each.getClientRects().length).length"
    before = browser.evaluate(seen)
    browser.evaluate("document.querySelector('.switches button').click()")
    assert browser.evaluate(seen) == before - 1
    assert browser.evaluate("document.querySelector('.switches button').getAttribute('aria-pressed')") == "false"
    browser.evaluate("document.querySelector('.switches button').click()")
    assert browser.evaluate(seen) == before


def test_pointing_at_a_plot_tells_its_values(browser: Browser, report: Path, found: Section) -> None:
    browser.show(report, SCREEN)
    box = "document.querySelector('#utilization .area').getBoundingClientRect()"
    browser.evaluate("document.querySelector('#utilization').scrollIntoView()")
    x, y = browser.evaluate(f"[{box}.x + {box}.width / 4, {box}.y + 20]")
    browser.point_at(x, y)
    told = browser.evaluate("document.querySelector('#utilization .tip').textContent")
    for variant in found.comparison.variants:
        assert variant.name in told
    assert "%" in told


def test_the_theme_can_be_chosen(browser: Browser, report: Path) -> None:
    browser.show(report, SCREEN)
    colour = "getComputedStyle(document.body).backgroundColor"
    light = browser.evaluate(colour)
    browser.evaluate("document.getElementById('theme').click()")
    assert browser.evaluate(colour) != light
    browser.evaluate("document.getElementById('theme').click()")
    assert browser.evaluate(colour) == light


def test_hostile_names_run_nothing(browser: Browser, hostile: Path) -> None:
    browser.complaints.clear()
    browser.requests.clear()
    browser.show(hostile, PHONE)
    assert browser.evaluate("document.scripts.length") == 1
    assert browser.complaints == []
    assert browser.requests == [hostile.as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= PHONE
    browser.show(hostile, SCREEN)
    browser.evaluate("document.querySelector('#gantt').scrollIntoView()")
    bar = "document.querySelector('#gantt rect.run').getBoundingClientRect()"
    x, y = browser.evaluate(f"[{bar}.x + {bar}.width / 2, {bar}.y + {bar}.height / 2]")
    browser.point_at(x, y)
    assert "<script>" in browser.evaluate("document.querySelector('#gantt .tip').textContent")
    assert browser.evaluate("document.scripts.length") == 1
