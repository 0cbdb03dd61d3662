import { describe, expect, test } from "vitest";
import { readDocument } from "../src/document/read.js";
import type { Graph } from "../src/document/types.js";
import { flipped } from "../src/graph/flip.js";
import { flowText, scalarEdges, shapeLines } from "../src/graph/flow.js";
import { layered, plan, scaleIn, type Box, type Wish } from "../src/graph/layout.js";
import { neighbour } from "../src/graph/move.js";
import { crossings } from "../src/graph/order.js";
import { labelSize, letterText, lines, nodeSize } from "../src/graph/sizes.js";
import { downstreamOf, indexOf, sentence, stepAt } from "../src/graph/walk.js";
import { base64, document, scalar } from "./documents.js";

const graphOf = (nodes: string[], edges: [string, string][]): Graph =>
  readDocument(document(nodes, edges)).collection!.documents[0].variants[0].graph;

const wishOf = (graph: Graph, groups: Record<string, string> = {}): Wish => ({
  nodes: graph.nodes.map((node) => ({ id: node.id, group: groups[node.id] ?? null, ...nodeSize(node) })),
  edges: graph.edges.map((edge) => ({ id: edge.id, source: edge.source, target: edge.target, ...labelSize(shapeLines(edge)) })),
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

describe("the order of a node's inputs", () => {
  const height = (graph: Graph, id: string) => layered(wishOf(graph), "LR").boxes.get(id)!.y;
  test("is that of its arguments, whatever the order in which nodes are given", () => {
    for (const nodes of [["x", "y", "z", "q", "f"], ["y", "x", "q", "z", "f"], ["z", "y", "x", "q", "f"]]) {
      const graph = graphOf(nodes, [["x", "q"], ["y", "q"], ["q", "f"], ["z", "f"]]);
      expect(height(graph, "x")).toBeLessThan(height(graph, "y"));
      expect(height(graph, "q")).toBeLessThan(height(graph, "z"));
    }
  });

  test("gives way where it would cost a crossing, and where two nodes want opposite orders", () => {
    const twisted = graphOf(["a", "b", "m", "p", "q", "f"], [["a", "p"], ["a", "m"], ["b", "m"], ["b", "q"], ["q", "f"], ["p", "f"]]);
    const found = layered(wishOf(twisted), "LR");
    expect(crossings(found)).toBe(0);
    const ordered = [["a", "b"], ["q", "p"]].filter(([one, other]) => found.boxes.get(one)!.y < found.boxes.get(other)!.y);
    expect(ordered).toHaveLength(1); // both would cost a crossing
    const against = graphOf(["a", "b", "m", "n"], [["a", "m"], ["b", "m"], ["b", "n"], ["a", "n"]]);
    expect(height(against, "a")).toBeLessThan(height(against, "b"));
  });

  test("a leaf moves to the other side of what stands before it", () => {
    const ends: [string, string][] = [["x", "a"], ["a", "b"], ["b", "c"], ["x", "c"], ["c", "d"], ["d", "loss"], ["y", "loss"]];
    const given = wishOf(graphOf(["x", "y", "a", "b", "c", "d", "loss"], ends));
    for (const direction of ["LR", "TB"] as const) {
      const raw = layered(given, direction);
      const at = (id: string) => (direction === "LR" ? raw.boxes.get(id)!.y : raw.boxes.get(id)!.x);
      expect(at("d")).toBeLessThan(at("y"));
      const other = flipped(raw, "y", "d")!;
      expect(crossings(other)).toBe(crossings(raw));
      for (const box of other.boxes.values()) {
        expect(box.x >= 0 && box.y >= 0 && box.x + box.width <= other.width && box.y + box.height <= other.height).toBe(true);
        for (const one of other.boxes.values()) if (one !== box) expect(apart(one, box)).toBe(true);
      }
      expect(flipped(raw, "a", "b")).toBeNull(); // is no leaf
    }
  });

  test("is kept in a group", () => {
    const graph = graphOf(["x", "c", "g", "out"], [["x", "g"], ["x", "c"], ["c", "out"], ["g", "out"]]);
    const raw = layered(wishOf(graph, { c: "0", g: "0", out: "0" }), "LR");
    expect(raw.boxes.get("c")!.y).toBeLessThan(raw.boxes.get("g")!.y);
  });
});

describe("what an edge says", () => {
  const read = readDocument(scalar).collection!.documents[0].variants[0];
  const local = { text: "y", latex: null, structure: "dense", shape: [], note: null, parameter: null };
  const graph = { ...read.graph, edges: read.graph.edges.map((edge) => ({ ...edge, local })) };

  test("upstream · local = downstream between single numbers", () => {
    expect([...scalarEdges(graph)]).toEqual(["x → f", "y → f"]);
    expect(graph.edges.map((edge) => flowText(edge, read.frames[0]))).toEqual([["1 · 3 = 3"], ["1 · 2 = 2"]]);
  });

  test("in three lines where one would be long", () => {
    const long = { shape: [], dtype: "float64" as const, data: base64(new Float64Array([-0.123456789])) };
    const { nodes, edges } = read.frames[0];
    const frame = {
      ...read.frames[0], nodes: { x: { ...nodes.x, gradient: long }, f: { ...nodes.f, gradient: long } },
      edges: { "x → f": { ...edges["x → f"], local: long } },
    };
    expect(flowText(graph.edges[0], frame)).toEqual(["-0.1235", "· -0.1235", "= -0.1235"]);
  });

  test("a shape between arrays, to data, and in a large graph", () => {
    expect(scalarEdges(read.graph).size).toBe(0); // no local derivative: data
    expect(scalarEdges(diamond).size).toBe(0);
    const many = Array.from({ length: 31 }, (_, i) => ({ ...graph.nodes[0], id: `n${i}` }));
    expect(scalarEdges({ ...graph, nodes: [...graph.nodes, ...many] }).size).toBe(0);
    expect(shapeLines({ ...diamond.edges[0], letter: "X" })).toEqual(["X  4 × 3"]);
    expect(shapeLines(graph.edges[0])).toEqual([]);
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

  test("tells nodes of one label apart by their ids", () => {
    const nodes = read.graph.nodes.map((node) => (node.id === "f" ? node : { ...node, label: "gate" }));
    const twins = indexOf({ ...read.graph, nodes });
    expect(sentence(stepAt(twins, read.frames[0], 0)!, twins)).toContain("flows on to gate (x) and gate (y)");
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
