"""Takes the README's picture of the documentation page: python docs/images/take_screenshot.py

Serves the example models meanwhile. Needs chromium, and requirements/development.txt.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.end_to_end.server import Server  # noqa: E402 (found by the path above)

# The port is another one each time.
SHOW_USUAL_PORT = """
([found, shown]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    texts.currentNode.data = texts.currentNode.data.replaceAll(found, shown);
  }
}
"""


def main() -> None:
    """Take the picture."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no chromium on the path.")
    picture = FOLDER / "docs-page.png"
    with Server(REPOSITORY / "rest_config.yaml") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1000, "height": 1000})
        page.goto(f"{server.url}/docs")
        response = try_out_iris(page)
        page.evaluate(SHOW_USUAL_PORT, [f":{server.port}", ":8000"])
        end = page.evaluate("scrollY") + (response.bounding_box() or {"y": 0})["y"]
        page.screenshot(
            path=picture,
            full_page=True,
            clip={"x": 0, "y": 0, "width": 1000, "height": end},
        )
        browser.close()
    print(f"{picture}: {picture.stat().st_size // 1000} kB")


def try_out_iris(page: Page) -> Locator:
    """Execute the offered request of the iris model; returns the place where the picture ends."""
    block = page.locator('[id$="-predict_iris"]')
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    # Only as much room as the body takes.
    block.locator("textarea").evaluate("area => { area.style.minHeight = '0'; area.rows = 8 }")
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response")).to_be_visible()
    return block.get_by_text("Response headers")


if __name__ == "__main__":
    main()
