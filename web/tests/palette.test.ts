import { expect, test } from "vitest";
import { colour, css, hatch } from "../src/numbers/palette.js";
import { decades, mark, ticks } from "../src/numbers/scale.js";

const parts = (packed: number) => [packed & 255, (packed >> 8) & 255, (packed >> 16) & 255];
const light = (packed: number) => {
  const [r, g, b] = parts(packed).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};

for (const theme of ["light", "dark"] as const) {
  test(`${theme}: zero is the paper, and both ways lightness moves away from it, step by step`, () => {
    const sign = theme === "light" ? -1 : 1;
    for (const side of [-1, 1]) {
      const steps = Array.from({ length: 21 }, (_, i) => light(colour((side * i) / 20, 1, theme)));
      for (let i = 1; i < steps.length; i++) expect(sign * (steps[i] - steps[i - 1])).toBeGreaterThan(0);
    }
  });

  test(`${theme}: blue below zero, orange above`, () => {
    const [below, above] = [parts(colour(-0.5, 1, theme)), parts(colour(0.5, 1, theme))];
    expect(below[2]).toBeGreaterThan(below[0]);
    expect(above[0]).toBeGreaterThan(above[2]);
  });

  test(`${theme}: what is not finite has colours that no finite value has`, () => {
    const finite = new Set(Array.from({ length: 2001 }, (_, i) => colour(i / 1000 - 1, 1, theme)));
    for (const value of [NaN, Infinity, -Infinity]) {
      for (let x = 0; x < 12; x++) expect(finite.has(hatch(value, x, 0, theme))).toBe(false);
    }
  });
}

test("beyond the limit the end's colour is kept; with no limit all is zero", () => {
  expect(colour(9, 1, "light")).toBe(colour(1, 1, "light"));
  expect(colour(9, 0, "light")).toBe(colour(0, 1, "light"));
  expect(css(colour(0, 1, "light"))).toBe("rgb(250 249 247)");
});

test("the one log scale", () => {
  expect(mark(1e-10)).toEqual({ at: 0, kind: "in" });
  expect(mark(1e4)!.at).toBeCloseTo(1);
  expect(mark(1)!.at).toBeCloseTo(10 / 14);
  expect(mark(1e-12)!.kind).toBe("below");
  expect(mark(Infinity)!.kind).toBe("above");
  expect(mark(0)!.kind).toBe("zero");
  expect(mark(NaN)!.kind).toBe("nan");
  expect(mark(null)).toBeNull();
});

test("ticks are round numbers between the ends", () => {
  expect(ticks(0, 1, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(ticks(-3, 3, 5)).toEqual([-2, 0, 2]);
  expect(ticks(2, 2)).toEqual([2]);
  expect(decades(0.02, 30)).toEqual([0.1, 1, 10]);
});
