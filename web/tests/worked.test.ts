import { describe, expect, test } from "vitest";
import { readDocument } from "../src/document/read.js";
import type { Frame, Node } from "../src/document/types.js";
import { boxLines } from "../src/graph/sizes.js";
import { downstream, sumText, valueOf } from "../src/panel/worked.js";
import { charts } from "../src/report/curves.js";
import { rowsOf } from "../src/strip/rows.js";
import { base64, document, measured } from "./documents.js";

const tensor = (shape: number[], ...values: number[]) => ({ shape, dtype: "float64", data: base64(new Float64Array(values)) });

/** Z = X W + b with X of 2 rows, and y = -Z. */
function linear(layout: string): { nodes: Node[]; frame: Frame } {
  const given = document(["X", "0", "1"], [["X", "0"], ["0", "1"]]);
  const [variant] = given.variants;
  Object.assign(variant.graph.nodes[1], { worked: { kind: "linear", text: layout, of: ["X", "0.weight", "0.bias"] } });
  Object.assign(variant.graph.nodes[2], { worked: { kind: "sign", text: "-", of: ["0"] } });
  const weight = layout === "in_out" ? tensor([2, 3], 1, 2, 3, 4, 5, 6) : tensor([3, 2], 1, 4, 2, 5, 3, 6);
  Object.assign(variant.frames[0], {
    nodes: {
      X: { value: tensor([2, 2], 1, -1, 0.5, 2), gradient: null },
      "0": { value: tensor([2, 3], -3, -3, -2, 8.5, 11, 14.5), gradient: tensor([2, 3], 1, 0, -1, 2, 1, 0) },
      "1": { value: tensor([2, 3], 3, 3, 2, -8.5, -11, -14.5), gradient: null },
    },
    parameters: { "0.weight": { value: weight }, "0.bias": { value: tensor([3], 0, 0, 1) } },
  });
  const read = readDocument(given).collection!.documents[0].variants[0];
  return { nodes: read.graph.nodes, frame: read.frames[0] };
}

const nothing = { local: null, diagonal: null, whole: true };

describe("a formula with its numbers", () => {
  for (const layout of ["in_out", "out_in"]) {
    const { nodes, frame } = linear(layout);
    test(`of a linear layer kept as ${layout}, forward and back`, () => {
      expect(valueOf(nodes[1], frame)!(0, 2)).toBe("1 · 3 + (-1) · 6 + 1 = -2");
      const to = (shape: number[], ...values: number[]) => ({ ...nothing, downstream: tensor(shape, ...values) });
      expect(downstream(nodes[1], frame, { source: "X" }, to([2, 2], -2, -2, 4, 13))!(0, 1)).toBe("1 · 4 + (-1) · 6 = -2");
      const own = layout === "in_out" ? to([2, 3], 2, 0.5, -1, 3, 2, 1) : to([3, 2], 2, 3, 0.5, 2, -1, 1);
      const [row, col] = layout === "in_out" ? [1, 0] : [0, 1];
      expect(downstream(nodes[1], frame, { parameter: "0.weight" }, own)!(row, col)).toBe("-1 · 1 + 2 · 2 = 3");
      expect(downstream(nodes[1], frame, { parameter: "0.bias" }, to([3], 3, 1, -1))!(0, 2)).toBe("-1 = -1");
    });
    test(`of a sign before a negative number, ${layout}`, () => expect(valueOf(nodes[2], frame)!(0, 0)).toBe("-(-3) = 3"));
  }

  test("of each element, and of a Jacobian's terms that are not zero", () => {
    const { nodes, frame } = linear("in_out");
    const up = { ...frame, nodes: { ...frame.nodes, "1": { ...frame.nodes["1"], gradient: tensor([2], 2, -3) } } } as Frame;
    const down = tensor([2], 4, 3);
    expect(downstream(nodes[2], up, { source: "0" }, { ...nothing, diagonal: tensor([2], 2, -1), downstream: down })!(0, 1)).toBe("-3 · (-1) = 3");
    expect(downstream(nodes[2], up, { source: "0" }, { ...nothing, local: tensor([2, 2], 2, 0, 0, -1), downstream: down })!(0, 0)).toBe("2 · 2 = 4");
  });

  test("is left out where numbers are", () => {
    const { nodes, frame } = linear("in_out");
    const pooled = { shape: [2, 3], dtype: "float64", pooled: { rows: 1, cols: 1, mean: "AAAAAA==", low: "AAAAAA==", high: "AAAAAA==" } };
    const parameters = { ...frame.parameters, "0.weight": { ...frame.parameters["0.weight"], value: pooled } };
    expect(valueOf(nodes[1], { ...frame, parameters })).toBeUndefined();
    expect(valueOf(nodes[0], frame)).toBeUndefined();
    expect(downstream(nodes[1], frame, { source: "X" }, { ...nothing, downstream: null })).toBeUndefined();
  });

  test("long sums are cut, and what is not finite is said", () => {
    expect(sumText(Array.from({ length: 9 }, () => [1, 2]), -1, 17)).toBe("1 · 2 + 1 · 2 + 1 · 2 + … 6 more + (-1) = 17");
    expect(sumText([[NaN, 1], [Infinity, 0]], null, NaN)).toBe("nan · 1 + inf · 0 = nan");
    expect(sumText([], null, 0)).toBe("0 = 0");
  });
});

test("each parameter has a line of its own in its node, where there are few", () => {
  const node = (many: number) => ({ parameters: Array.from({ length: many }, (_, i) => ({ name: `p${i}`, letter: "W", shape: [2] })), patterns: ["add"] }) as unknown as Node;
  expect(boxLines(node(2)).map((line) => line.of)).toEqual([["p0"], ["p1"], []]);
  expect(boxLines(node(3))).toEqual([{ text: "3 parameters", of: ["p0", "p1", "p2"] }, { text: "add", of: [] }]);
});

test("rows of one label have their places", () => {
  const { graph, frames } = readDocument(measured([{ ratio: 1, gradient: 1 }, { ratio: 1, gradient: 1 }])).collection!.documents[0].variants[0];
  expect(rowsOf(graph, frames[0]).map((row) => row.place)).toEqual([null, null, null, null]);
  const same = { ...graph, nodes: graph.nodes.map((node) => ({ ...node, label: "ReLU" })) };
  expect(rowsOf(same, frames[0]).map((row) => row.place)).toEqual(["0", null, "1", null]);
});

test("metrics are written as they are", () => {
  expect(charts({ validation_rmse: [2, 1] })[0]).toMatchObject({ name: "RMSE", series: [{ name: "validation RMSE" }] });
});
