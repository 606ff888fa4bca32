"""How well the texts of a page can be told from what is behind them, as WCAG 2.2 measures it."""

from __future__ import annotations

from playwright.sync_api import Page

_LOW_CONTRASTS = """() => {
  const numbers = (colour) => {
    const [red, green, blue, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
    return [red, green, blue, alpha];
  };
  const over = (front, back) =>
    [0, 1, 2].map((part) => front[part] * front[3] + back[part] * (1 - front[3]));
  const luminance = (colour) => {
    const [red, green, blue] = colour.map((part) =>
      part <= 10 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ancestors = (element) =>
    element ? [...ancestors(element.parentElement), element] : [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  let count = 0;
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim();
    const element = texts.currentNode.parentElement;
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    const isShown = range.getBoundingClientRect().width > 0
      && element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
    if (!text || !isShown) {
      continue;
    }
    count += 1;
    const around = ancestors(element).map((each) => getComputedStyle(each));
    const back = around.reduce(
      (below, style) => over(numbers(style.backgroundColor), below), [255, 255, 255]);
    const front = numbers(around.at(-1).color);
    front[3] *= around.reduce((opacity, style) => opacity * style.opacity, 1);
    const [low, high] = [luminance(back), luminance(over(front, back))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(around.at(-1).fontSize);
    const isLarge = size >= 24 || (size > 18.6 && around.at(-1).fontWeight >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) {
      found.push(`${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
  }
  return [count, [...new Set(found)]];
}"""


def hard_to_read(page: Page) -> list[str]:
    """Return the visible texts of less than level AA's contrast, each with its ratio.

    What lies behind a text is what its ancestors paint: another element under it does not count.
    """
    count, found = page.evaluate(_LOW_CONTRASTS)
    assert count > 20, f"the page shows only {count} texts"
    return list(found)
