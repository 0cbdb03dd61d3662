import { expect, test } from "vitest";
import { readDocument } from "../src/document/read.js";
import { rowsOf, sorted } from "../src/strip/rows.js";
import { charts, smallerIsBetter } from "../src/report/curves.js";
import { measured, scalar } from "./documents.js";

const rows = (given: object) => {
  const { graph, frames } = readDocument(given).collection!.documents[0].variants[0];
  return rowsOf(graph, frames[0]);
};

const layers = rows(measured([
  { ratio: null, gradient: 0.5, dead: 2 }, { ratio: "nan", gradient: "nan" }, { ratio: null, gradient: 1e-9, dead: 8 },
]));
const keys = (found: typeof layers) => found.map((row) => row.key);

test("each layer, then its parameters, in the network's order", () => {
  expect(keys(layers)).toEqual(["n:0", "p:0.weight", "n:1", "p:1.weight", "n:2", "p:2.weight"]);
  expect(layers[0].dead).toBe(0.25);
  expect(layers[0].deadOf).toBe("2 of 8 units");
});

test("the ratio to weights that are all 0 says nothing", () => {
  expect(layers[1].ratio).toBeNull();
  expect(layers[3].ratio).toBeNaN();
});

test("sorting: NaN is the largest, and rows without the number come last, both ways", () => {
  const parameters = layers.filter((row) => row.kind === "layer");
  expect(keys(sorted(parameters, { by: "gradient", down: true }))).toEqual(["n:1", "n:0", "n:2"]);
  expect(keys(sorted(parameters, { by: "gradient", down: false }))).toEqual(["n:2", "n:0", "n:1"]);
  expect(keys(sorted(parameters, { by: "dead", down: true }))).toEqual(["n:2", "n:0", "n:1"]);
  expect(keys(sorted(parameters, { by: "dead", down: false }))).toEqual(["n:0", "n:2", "n:1"]);
});

test("sorting changes nothing that it was given, and keeps the order of equals", () => {
  const before = keys(layers);
  sorted(layers, { by: "ratio", down: true });
  expect(keys(layers)).toEqual(before);
  expect(keys(sorted(layers, { by: "check", down: true }))).toEqual(before);
  expect(keys(sorted(layers, { by: "order", down: true }))).toEqual([...before].reverse());
});

test("rows need statistics", () => {
  expect(rows(scalar)).toEqual([]);
});

test("curves of one quantity share a chart; log where the range is wide", () => {
  const found = charts({
    epoch: [1, 2, 3], loss: [2, 0.5, 0.01], validation_loss: [2, null, 0.02], validation_accuracy: [0.1, 0.5, "nan"],
    learning_rate: [0.1, 0.1, 0.1], seconds: [1, 1, 1],
  });
  expect(found.map((chart) => [chart.name, chart.series.map((one) => one.name), chart.log])).toEqual([
    ["loss", ["loss", "validation loss"], true], ["accuracy", ["validation accuracy"], false],
  ]);
  expect([smallerIsBetter("RMSE"), smallerIsBetter("cross-entropy"), smallerIsBetter("accuracy"), smallerIsBetter("R2")])
    .toEqual([true, true, false, false]);
});
