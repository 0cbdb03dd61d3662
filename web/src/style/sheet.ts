/** The page's whole style sheet; the build puts its text here. */
const SHEET = "__HANDGRAD_STYLE__";

/** A style element that belongs to the page's own root and goes away with it. */
export function styleElement(): HTMLStyleElement {
  const element = document.createElement("style");
  element.textContent = SHEET;
  return element;
}
