import { describe, expect, test } from "vitest";
import { brief, bytesText, exact, percent, shapeText, shortest32 } from "../src/numbers/format.js";

/** Reproducible bits. */
function* bits(seed: number, many: number): Generator<number> {
  let state = seed;
  for (let i = 0; i < many; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state;
  }
}

const float = (pattern: number): number => new Float32Array(new Uint32Array([pattern]).buffer)[0];
const digits = (text: string): number => text.replace(/e.*/, "").replace(/[-.]/g, "").replace(/^0+|0+$/g, "").length;

describe("exact digits", () => {
  test("of any float32 read back as the same float32, and no shorter decimal does", () => {
    for (const pattern of bits(7, 20_000)) {
      const x = float(pattern);
      if (!Number.isFinite(x) || x === 0) continue;
      const text = shortest32(x);
      expect(Math.fround(Number(text))).toBe(x);
      const fewer = digits(text) - 1;
      if (fewer > 0) expect(Math.fround(Number(x.toPrecision(fewer)))).not.toBe(x);
    }
  });

  test("are those that NumPy prints", () => {
    // repr(np.float32(...)) of 0.1, 1/3, 2**-44, 2**90, the smallest, the largest
    const known: [number, number][] = [
      [0.1, 0.1], [1 / 3, 0.33333334], [2 ** -44, 5.684342e-14], [2 ** 90, 1.2379401e27],
      [2 ** -149, 1e-45], [3.4028234663852886e38, 3.4028235e38],
    ];
    for (const [x, printed] of known) expect(Number(shortest32(Math.fround(x)))).toBe(printed);
  });

  test("of float64 are JavaScript's, and zero keeps its sign", () => {
    expect(exact(0.1 + 0.2)).toBe("0.30000000000000004");
    expect(exact(-0)).toBe("-0");
    expect(exact(-0, "float32")).toBe("-0");
    expect(exact(0.30000001192092896, "float32")).toBe("0.3");
    expect([exact(NaN), exact(Infinity), exact(-Infinity)]).toEqual(["nan", "inf", "-inf"]);
    expect(exact(123n, "int64")).toBe("123");
  });
});

test("brief numbers", () => {
  const cases: [number | null, string][] = [
    [0, "0"], [1, "1"], [-12, "-12"], [0.012345, "0.01235"], [1.2346e-7, "1.235e-7"], [123456.7, "1.235e5"],
    [NaN, "nan"], [-Infinity, "-inf"], [null, "–"], [1e-10, "1e-10"],
  ];
  for (const [x, text] of cases) expect(brief(x)).toBe(text);
  expect(brief(0.000159, 3, 1e-3)).toBe("1.59e-4");
});

test("shapes, shares and sizes", () => {
  expect(shapeText([64, 10])).toBe("64 × 10");
  expect(shapeText([])).toBe("scalar");
  expect([percent(0), percent(0.0001), percent(0.256), percent(1)]).toEqual(["0%", "<0.1%", "25.6%", "100%"]);
  expect([bytesText(0), bytesText(999), bytesText(65536), bytesText(3.2e6)]).toEqual(["0 B", "999 B", "65.5 kB", "3.2 MB"]);
});
