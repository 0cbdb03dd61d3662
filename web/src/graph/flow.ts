import type { Edge, Frame, Graph } from "../document/types.js";
import { shapeText } from "../numbers/format.js";
import { scalarText } from "../parts/scalar.js";
import { isScalar, letterText } from "./sizes.js";
import { downstreamOf } from "./walk.js";

/** Nodes up to which numbers stand on edges; in a larger graph they would be too small to be read. */
const MOST = 30;
/** Letters that stand in one line; a longer product is broken at its signs. */
const WIDEST = 24;

/** Edges between single numbers with a derivative: there upstream times local is downstream in numbers. */
export function scalarEdges(graph: Graph): Set<string> {
  if (graph.nodes.length > MOST) return new Set();
  const single = new Set(graph.nodes.filter(isScalar).map((node) => node.id));
  const found = graph.edges.filter((edge) => edge.local && single.has(edge.source) && single.has(edge.target));
  return new Set(found.map((edge) => edge.id));
}

/** upstream · local = downstream along an edge between single numbers, as lines of text. */
export function flowText(edge: Edge, frame: Frame): string[] {
  const numbers = [frame.nodes[edge.target]?.gradient, frame.edges[edge.id]?.local, downstreamOf(edge, frame)];
  const [upstream, local, downstream] = numbers.map((tensor) => scalarText(tensor, 4));
  const short = `${upstream} · ${local} = ${downstream}`;
  return short.length <= WIDEST ? [short] : [upstream, `· ${local}`, `= ${downstream}`];
}

/** What an edge carries: its letter and its shape. */
export function shapeLines(edge: Edge): string[] {
  const line = [letterText(edge.letter ?? ""), edge.shape.length ? shapeText(edge.shape) : ""].filter(Boolean).join("  ");
  return line ? [line] : [];
}
