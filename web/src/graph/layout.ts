import dagre from "@dagrejs/dagre";
import { inOrder, type Before } from "./order.js";
import { wrap } from "./wrap.js";

export interface Box {
  id: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Line {
  id: string;
  path: string;
  label: { x: number; y: number };
}

export interface Plan {
  width: number;
  height: number;
  boxes: Map<string, Box>;
  lines: Line[];
  groups: Box[];
  direction: "LR" | "TB";
}

export interface Wish {
  nodes: { id: string; width: number; height: number; group: string | null }[];
  edges: { id: string; source: string; target: string; width: number; height: number }[];
}

/** A layout as dagre gives it: boxes by their corner, edges by the points that they pass. */
export interface Raw {
  direction: "LR" | "TB";
  width: number;
  height: number;
  boxes: Map<string, Box>;
  routes: { id: string; source: string; target: string; points: Point[]; label: Point }[];
  groups: Map<string, string[]>;
}

export interface Point {
  x: number;
  y: number;
}

const GROUP_PAD = 14;

/** Layered layout, in which the inputs of a node stand in the order of its arguments where that costs no crossing. */
export const layered = (wish: Wish, direction: "LR" | "TB"): Raw => inOrder(wish, (before) => placed(wish, direction, before));

/** dagre's layout; edges' labels have a place of their own. before: nodes of one rank, which stands before which. */
function placed(wish: Wish, direction: "LR" | "TB", before: Before[]): Raw {
  const graph = new dagre.graphlib.Graph({ compound: true, multigraph: true });
  graph.setGraph({
    rankdir: direction, nodesep: 22, edgesep: 14, ranksep: direction === "LR" ? 34 : 26, marginx: 16, marginy: 16,
    ranker: wish.nodes.length > 250 ? "longest-path" : "network-simplex",
  });
  const groups = new Map<string, string[]>();
  for (const node of wish.nodes) {
    graph.setNode(`n:${node.id}`, { width: node.width, height: node.height });
    if (node.group !== null) groups.set(node.group, [...(groups.get(node.group) ?? []), node.id]);
  }
  for (const [group, members] of groups) {
    if (members.length < 2) continue;
    graph.setNode(`g:${group}`, {});
    for (const member of members) graph.setParent(`n:${member}`, `g:${group}`);
  }
  for (const edge of wish.edges) {
    const label = { width: edge.width, height: edge.height, labelpos: "c", weight: 1, minlen: 1 };
    graph.setEdge(`n:${edge.source}`, `n:${edge.target}`, label, edge.id);
  }
  dagre.layout(graph, { constraints: before.map(([left, right]) => ({ left: `n:${left}`, right: `n:${right}` })) });
  const boxes = new Map<string, Box>();
  for (const { id, width, height } of wish.nodes) {
    const { x, y } = graph.node(`n:${id}`) as Point;
    boxes.set(id, { id, width, height, x: x - width / 2, y: y - height / 2 });
  }
  const routes = wish.edges.map(({ id, source, target }) => {
    const found = graph.edge({ v: `n:${source}`, w: `n:${target}`, name: id }) as { points: Point[]; x: number; y: number };
    return { id, source, target, points: found.points, label: { x: found.x, y: found.y } };
  });
  const size = graph.graph() as { width: number; height: number };
  const finite = (n: number) => (Number.isFinite(n) ? n : 0);
  return { direction, width: finite(size.width), height: finite(size.height), boxes, routes, groups };
}

/** How large a drawing can be shown in an area; never larger than life, or than `most`. */
export const scaleIn = (width: number, height: number, area: Area, most = 1): number =>
  Math.min(most, area.width / Math.max(1, width), area.height / Math.max(1, height));

/** Pixels above the drawing, in which stand the buttons and the line about a node that is pointed at; and beside it. */
export const BAND = 54;
const MARGIN = 12;
/** How large a small drawing is shown. */
export const LARGEST = 1.35;

/** What an area has room for. */
export const roomIn = (area: Area): Area => ({
  width: Math.max(1, area.width - 2 * MARGIN), height: Math.max(1, area.height - BAND - MARGIN),
});

export interface Area {
  width: number;
  height: number;
}

const READABLE = 0.72;

/**
 * The drawing that is read best in an area: from left to right or from the top down, whichever is shown larger; a long
 * chain that would be too small either way is broken into rows, as text is.
 */
export function plan(wish: Wish, area: Area, layouts: (direction: "LR" | "TB") => Raw = (d) => layered(wish, d)): Plan {
  const across = layouts("LR");
  const size = (raw: Raw) => scaleIn(raw.width, raw.height, area);
  if (size(across) >= READABLE) return drawn(across);
  const down = layouts("TB");
  const wrapped = wrap(across, area);
  const best = [across, down, wrapped].reduce((a, b) => (size(b) > size(a) * 1.1 ? b : a));
  return drawn(best);
}

function drawn(raw: Raw): Plan {
  const ports = portsOf(raw);
  const lines = raw.routes.map((route, i) => ({
    id: route.id, label: route.label, path: curve([ports[i].from, ...route.points.slice(1, -1), ports[i].to], raw.direction),
  }));
  return { width: raw.width, height: raw.height, boxes: raw.boxes, lines, groups: groupBoxes(raw), direction: raw.direction };
}

/** Where each edge leaves and enters: on the facing sides, side by side where there are several, in their order. */
function portsOf(raw: Raw): { from: Point; to: Point }[] {
  const across = raw.direction === "LR";
  const other = (p: Point) => (across ? p.y : p.x);
  const spread = (box: Box, rank: number, many: number, end: boolean): Point => {
    const share = many === 1 ? 0.5 : 0.5 + ((rank + 0.5) / many - 0.5) * Math.min(0.8, 0.28 * many);
    return across
      ? { x: box.x + (end ? box.width : 0), y: box.y + box.height * share }
      : { x: box.x + box.width * share, y: box.y + (end ? box.height : 0) };
  };
  const side = (key: "source" | "target", point: (route: Raw["routes"][number]) => Point) => {
    const groups = new Map<string, number[]>();
    raw.routes.forEach((route, i) => groups.set(route[key], [...(groups.get(route[key]) ?? []), i]));
    const out: Point[] = [];
    for (const [id, members] of groups) {
      const box = raw.boxes.get(id)!;
      members.sort((a, b) => other(point(raw.routes[a])) - other(point(raw.routes[b])));
      members.forEach((member, rank) => (out[member] = spread(box, rank, members.length, key === "source")));
    }
    return out;
  };
  const from = side("source", (route) => route.points[1] ?? route.label);
  const to = side("target", (route) => route.points[route.points.length - 2] ?? route.label);
  return raw.routes.map((_, i) => ({ from: from[i], to: to[i] }));
}

/** A smooth line through points, level where it passes each. */
export function curve(points: Point[], direction: "LR" | "TB"): string {
  const at = (p: Point) => `${round(p.x)} ${round(p.y)}`;
  let path = `M${at(points[0])}`;
  for (let i = 1; i < points.length; i++) {
    const a = points[i - 1], b = points[i];
    const returned = i > 1 && a.x < points[i - 2].x - 1;
    if (direction === "LR" && b.x < a.x - 1) path += back(a, b);
    else if (direction === "LR" && returned) path += into(a, b);
    else if (direction === "LR") path += `C${round((a.x + b.x) / 2)} ${round(a.y)} ${round((a.x + b.x) / 2)} ${round(b.y)} ${at(b)}`;
    else path += `C${round(a.x)} ${round((a.y + b.y) / 2)} ${round(b.x)} ${round((a.y + b.y) / 2)} ${at(b)}`;
  }
  return path;
}

/** From the end of one row to the start of the next: a straight line with rounded corners, like a carriage return. */
function back(a: Point, b: Point): string {
  const r = 8;
  return b.y > a.y
    ? `Q${round(a.x + r)} ${round(a.y)} ${round(a.x + r)} ${round(a.y + r)}V${round(b.y - r)}`
      + `Q${round(a.x + r)} ${round(b.y)} ${round(a.x)} ${round(b.y)}H${round(b.x)}`
    : `L${round(b.x)} ${round(b.y)}`;
}

/** On from there, down into the row. */
function into(a: Point, b: Point): string {
  const r = 8, x = a.x - r;
  return b.y > a.y + 2 * r
    ? `Q${round(x)} ${round(a.y)} ${round(x)} ${round(a.y + r)}V${round(b.y - r)}Q${round(x)} ${round(b.y)} ${round(a.x)} ${round(b.y)}H${round(b.x)}`
    : `L${round(b.x)} ${round(b.y)}`;
}

const round = (n: number): number => Math.round(10 * n) / 10;

function groupBoxes(raw: Raw): Box[] {
  const out: Box[] = [];
  for (const [id, members] of raw.groups) {
    if (members.length < 2) continue;
    const boxes = members.map((member) => raw.boxes.get(member)!);
    const x = Math.min(...boxes.map((box) => box.x)) - GROUP_PAD, y = Math.min(...boxes.map((box) => box.y)) - GROUP_PAD;
    const right = Math.max(...boxes.map((box) => box.x + box.width)) + GROUP_PAD;
    const bottom = Math.max(...boxes.map((box) => box.y + box.height)) + GROUP_PAD;
    out.push({ id, x, y, width: right - x, height: bottom - y });
  }
  return out;
}
