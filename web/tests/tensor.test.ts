import { describe, expect, test } from "vitest";
import { BadTensor, decode, flat, jacobianShape, num, Omission, place, summarize } from "../src/document/tensor.js";
import type { Tensor } from "../src/document/types.js";
import { base64 } from "./documents.js";

const exactly = (dtype: string, shape: number[], values: (number | bigint)[]): Tensor => ({
  shape, dtype,
  data: base64(
    dtype === "float32" ? new Float32Array(values as number[])
      : dtype === "float64" ? new Float64Array(values as number[])
      : new BigInt64Array(values as bigint[]),
  ),
});

describe("decode", () => {
  test("float32, row by row", () => {
    const grid = decode(exactly("float32", [2, 3], [1, 2, 3, 4, 5, 0.1]));
    expect([grid.rows, grid.cols]).toEqual([2, 3]);
    expect(grid.text(1, 2)).toBe("0.1");
    expect(grid.text(0, 1)).toBe("2");
  });

  test("NaN and infinities are told apart and counted, and do not stretch the colours", () => {
    const grid = decode(exactly("float64", [5], [NaN, Infinity, -Infinity, -3, 2]));
    expect(grid.summary).toEqual({ low: -3, high: 2, limit: 3, nan: 1, positive: 1, negative: 1 });
    expect([0, 1, 2].map((col) => grid.text(0, col))).toEqual(["nan", "inf", "-inf"]);
  });

  test("nothing but NaN has no limit", () => {
    expect(decode(exactly("float32", [2], [NaN, NaN])).summary.limit).toBe(0);
  });

  test("int64 keeps all its digits", () => {
    const grid = decode(exactly("int64", [2], [9007199254740993n, -1n]));
    expect(grid.text(0, 0)).toBe("9007199254740993");
    expect(grid.text(0, 1)).toBe("-1");
  });

  test("scalars, vectors and more axes than two become rows and columns", () => {
    expect(flat([])).toEqual([1, 1]);
    expect(flat([7])).toEqual([1, 7]);
    expect(flat([2, 3, 4])).toEqual([6, 4]);
    const grid = decode(exactly("float32", [2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7]));
    expect(place(grid, 3, 1)).toEqual([1, 1, 1]);
    expect(place(grid, 2, 0)).toEqual([1, 0, 0]);
  });

  test("an empty tensor has no values", () => {
    expect(decode(exactly("float32", [0, 3], [])).values).toHaveLength(0);
  });

  test("blocks give their mean, and how many rows and columns they hold", () => {
    const part = (values: number[]) => base64(new Float32Array(values));
    const grid = decode({
      shape: [10, 7], dtype: "float64", why: "70 values; blocks of 5 by 4 are shown",
      pooled: { rows: 2, cols: 2, mean: part([1, 2, 3, 4]), low: part([0, 0, 0, -9]), high: part([5, 5, 5, 9]) },
    });
    expect([grid.rows, grid.cols]).toEqual([2, 2]);
    expect(grid.blocks).toMatchObject({ height: 5, width: 4 });
    expect(grid.blocks!.low[3]).toBe(-9);
    expect(grid.why).toContain("blocks of 5 by 4");
  });

  test("what cannot be read says why", () => {
    const good = exactly("float32", [3], [1, 2, 3]) as { data: string };
    expect(() => decode({ ...good, shape: [4], dtype: "float32" })).toThrow("holds 12 bytes where 16 were expected");
    expect(() => decode({ shape: [1], dtype: "float32", data: "?" })).toThrow("not base64");
    expect(() => decode({ shape: [1], dtype: "float16", data: "" })).toThrow("float16");
    expect(() => decode({ shape: [1], dtype: "float32" } as unknown as Tensor)).toThrow(BadTensor);
    for (const none of [3, "abc", null]) {
      expect(() => decode(none as unknown as Tensor)).toThrow(new BadTensor(`it is ${JSON.stringify(none)}, no tensor`));
    }
    expect(() => decode({ shape: [9], dtype: "float32", omitted: true, why: "no room" })).toThrow(Omission);
  });
});

test("a Jacobian's axes are those of the target, then those of the source", () => {
  expect(jacobianShape([4, 3, 4, 5], [4, 3], [4, 5])).toEqual([12, 20]);
  expect(jacobianShape([3, 5], [4, 3], [4, 5])).toEqual([3, 5]); // one sample's
  expect(jacobianShape([64, 10], [], [64, 10])).toEqual([1, 640]);
  expect(jacobianShape([], [], [])).toEqual([1, 1]);
  expect(jacobianShape([64, 10, 10], [64, 10], [10])).toEqual([640, 10]);
});

test("numbers of the document, also those that JSON has no words for", () => {
  expect([num(1.5), num("inf"), num("-inf"), num(null), num(undefined)]).toEqual([1.5, Infinity, -Infinity, null, null]);
  expect(num("nan")).toBeNaN();
});

test("the limit of the colours is the largest magnitude", () => {
  expect(summarize(new Float64Array([-1, 4])).limit).toBe(4);
});
