import { describe, expect, test } from "vitest";
import { readDocument } from "../src/document/read.js";
import type { Graph } from "../src/document/types.js";
import { layered, plan, scaleIn, type Box, type Wish } from "../src/graph/layout.js";
import { neighbour } from "../src/graph/move.js";
import { labelSize, letterText, lines, nodeSize } from "../src/graph/sizes.js";
import { downstreamOf, indexOf, sentence, stepAt } from "../src/graph/walk.js";
import { document, scalar } from "./documents.js";

const graphOf = (nodes: string[], edges: [string, string][]): Graph =>
  readDocument(document(nodes, edges)).collection!.documents[0].variants[0].graph;

const wishOf = (graph: Graph, groups: Record<string, string> = {}): Wish => ({
  nodes: graph.nodes.map((node) => ({ id: node.id, group: groups[node.id] ?? null, ...nodeSize(node) })),
  edges: graph.edges.map((edge) => ({ id: edge.id, source: edge.source, target: edge.target, ...labelSize(edge) })),
});

const chain = (many: number): Graph => {
  const names = Array.from({ length: many }, (_, i) => `n${i}`);
  return graphOf(names, names.slice(1).map((name, i) => [names[i], name]));
};

const apart = (a: Box, b: Box) => a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;

const diamond = graphOf(["x", "a", "b", "sum"], [["x", "a"], ["x", "b"], ["a", "sum"], ["b", "sum"]]);

describe("layout", () => {
  for (const [name, graph, area] of [
    ["a diamond in a wide place", diamond, { width: 1400, height: 400 }],
    ["a diamond in a tall place", diamond, { width: 300, height: 700 }],
    ["a chain of 100 in a wide place", chain(100), { width: 1400, height: 400 }],
    ["one node", chain(1), { width: 400, height: 300 }],
  ] as const) {
    test(`${name}: boxes lie apart, inside the drawing, and every edge has a line`, () => {
      const found = plan(wishOf(graph), area);
      const boxes = [...found.boxes.values()];
      expect(boxes).toHaveLength(graph.nodes.length);
      expect(found.lines).toHaveLength(graph.edges.length);
      for (const [i, a] of boxes.entries()) {
        expect(a.x).toBeGreaterThanOrEqual(0);
        expect(a.x + a.width).toBeLessThanOrEqual(found.width);
        expect(a.y + a.height).toBeLessThanOrEqual(found.height + 1);
        for (const b of boxes.slice(i + 1)) expect(apart(a, b)).toBe(true);
      }
      for (const line of found.lines) expect(line.path).not.toMatch(/NaN|undefined|Infinity/);
    });
  }

  test("a long chain is broken into rows, and so shown larger than in one", () => {
    const wish = wishOf(chain(100)), area = { width: 1400, height: 400 };
    const one = layered(wish, "LR"), found = plan(wish, area);
    expect(scaleIn(found.width, found.height, area)).toBeGreaterThan(3 * scaleIn(one.width, one.height, area));
  });

  test("breaks never part a group", () => {
    const graph = chain(40);
    const groups = Object.fromEntries(graph.nodes.slice(10, 20).map((node) => [node.id, "gate"]));
    const found = plan(wishOf(graph, groups), { width: 1400, height: 400 });
    const [box] = found.groups;
    const inside = [...found.boxes.values()].filter((one) => !apart(one, box)).map((one) => one.id);
    expect(inside.sort()).toEqual(Object.keys(groups).sort());
  });

  test("an empty graph is an empty drawing", () => {
    expect(plan({ nodes: [], edges: [] }, { width: 100, height: 100 }).boxes.size).toBe(0);
  });

  test("two edges of one node end at different places", () => {
    const found = plan(wishOf(diamond), { width: 1400, height: 400 });
    const ends = found.lines.filter((line) => diamond.edges.find((edge) => edge.id === line.id)!.target === "sum")
      .map((line) => line.path.split(" ").slice(-2).join(" "));
    expect(new Set(ends).size).toBe(2);
  });
});

describe("arrow keys", () => {
  const found = plan(wishOf(diamond), { width: 1400, height: 400 });
  const index = indexOf(diamond);
  test("lead along the edges, and across to the box beside", () => {
    const forward = neighbour(found, index, "x", "ArrowRight")!;
    expect(["a", "b"]).toContain(forward);
    expect(neighbour(found, index, forward, "ArrowRight")).toBe("sum");
    expect(neighbour(found, index, forward, "ArrowLeft")).toBe("x");
    const across = [neighbour(found, index, "a", "ArrowUp"), neighbour(found, index, "a", "ArrowDown")];
    expect(across).toContain("b");
    expect(neighbour(found, index, "sum", "ArrowRight")).toBeNull();
  });
});

describe("the backward walk", () => {
  const read = readDocument(scalar).collection!.documents[0].variants[0];
  const index = indexOf(read.graph);

  test("visits all nodes, each after all that it feeds", () => {
    expect(index.backward).toEqual([...read.graph.nodes].reverse().map((node) => node.id));
    const at = new Map(index.backward.map((id, i) => [id, i]));
    for (const edge of read.graph.edges) expect(at.get(edge.target)!).toBeLessThan(at.get(edge.source)!);
  });

  test("says what arrives, what is used and where it flows", () => {
    const first = stepAt(index, read.frames[0], 0)!;
    expect(first.node.id).toBe("f");
    expect(first.to.map((edge) => edge.source)).toEqual(["x", "y"]);
    expect(sentence(first, index)).toContain("Backward starts here");
    expect(sentence(first, index)).toContain("flows on to x and y");
    expect(sentence(stepAt(index, read.frames[0], 1)!, index)).toContain("arrives from x * y");
    expect(stepAt(index, read.frames[0], 9)).toBeNull();
  });

  test('a downstream "gradient" is the gradient of the source', () => {
    const [edge] = read.graph.edges;
    expect(downstreamOf(edge, read.frames[0])).toBe(read.frames[0].nodes.x.gradient);
  });
});

test("what a box says", () => {
  const [node] = diamond.nodes;
  const weights = { name: "0.weight", letter: "\\gamma", shape: [8], shared: ["0"], local: null };
  expect(lines({ ...node, parameters: [weights], patterns: ["add distributes"] })).toEqual(["γ 8", "add distributes"]);
  expect(letterText("W_{in}")).toBe("W_in");
  expect(nodeSize({ ...node, label: "a".repeat(500) }).width).toBeLessThan(300);
});
