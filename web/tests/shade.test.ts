import { describe, expect, test } from "vitest";
import { deep, shade } from "../src/report/shade.js";
import SHEET from "../src/style/base.css?raw";

type Colour = number[];

/** The colours of a theme, from the style sheet itself. */
function colours(theme: "light" | "dark"): Record<string, Colour> {
  const [light, dark] = SHEET.split('[data-theme="dark"]');
  const text = theme === "light" ? light : dark.slice(0, dark.indexOf("}"));
  const found = [...text.matchAll(/--([a-z-]+): #([0-9a-f]{6});/g)];
  return Object.fromEntries(found.map(([, name, hex]) => [name, [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16))]));
}

/** color-mix(in srgb, a percent, b) */
const mix = (a: Colour, percent: number, b: Colour): Colour => a.map((x, i) => (percent * x + (100 - percent) * b[i]) / 100);

/** WCAG 2.2, relative luminance and contrast ratio. */
function luminance(colour: Colour): number {
  const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const contrast = (a: Colour, b: Colour): number => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};

const SHARES = Array.from({ length: 1000 }, (_, i) => (i + 1) / 1000);

describe.each(["light", "dark"] as const)("the confusion matrix, %s", (theme) => {
  const { sunk, ink, accent, loss, "on-accent": white } = colours(theme);

  test("text is read on every cell: contrast 4.5 or more", () => {
    for (const share of SHARES) {
      const right = mix(accent, shade(share, true), sunk), wrong = mix(loss, shade(share, false), sunk);
      expect(contrast(right, deep(share) ? white : ink), `right, ${share}`).toBeGreaterThanOrEqual(4.5);
      expect(contrast(wrong, ink), `wrong, ${share}`).toBeGreaterThanOrEqual(4.5);
    }
  });
});

test("a fuller cell is never paler", () => {
  for (const right of [true, false]) {
    const shades = SHARES.map((share) => shade(share, right));
    expect(shades).toEqual([...shades].sort((a, b) => a - b));
    expect(Math.max(...shades)).toBeLessThanOrEqual(100);
  }
});
