"""Takes the picture of a report that the documentation shows: `python -m tests.simulations.report.picture HTML PNG`.

Its head, the verdict and the first plots, on a light page; tables are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.simulations.report.browser import Browser, program

WIDTH = 1120
LEFT_OUT = (
    "for (const each of document.querySelectorAll('section > .card:not(.verdict), .plots > .card.wide, #prices, "
    "details, footer, #theme')) each.remove(); document.querySelector('main').style.paddingBottom = '8px';"
)


def main(report: Path, picture: Path) -> None:
    """Raises SystemExit where there is no browser."""
    if program() is None:
        raise SystemExit("Chromium is not installed (tests/install-system-packages does it)")
    with Browser() as browser:
        browser.show(report.resolve(), WIDTH)
        browser.evaluate(LEFT_OUT)
        browser.picture(picture, "body")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
