import type { Check, Frame, Graph, Node } from "../document/types.js";
import { num } from "../document/tensor.js";

/** One row of the strip: a layer, or a parameter. null where a column says nothing about it. */
export interface Row {
  key: string;
  label: string;
  kind: "layer" | "parameter";
  /** Where it is in the network, if other rows have the same label. */
  place: string | null;
  /** The node that a click opens. */
  node: string;
  gradient: number | null;
  ratio: number | null;
  spread: number | null;
  dead: number | null;
  deadOf: string;
  saturated: number | null;
  check: Check | null;
}

export type Column = "order" | "gradient" | "ratio" | "spread" | "dead" | "saturated" | "check";

export interface Sort {
  by: Column;
  down: boolean;
}

/** Data and the loss itself say nothing of the network; an input whose gradient was checked does. */
const shown = (node: Node, checked: boolean): boolean =>
  checked || !(["input", "constant", "loss"].includes(node.kind) || node.role === "data");

/** Rows of a frame in the network's order: each layer, then its parameters. */
export function rowsOf(graph: Graph, frame: Frame): Row[] {
  const rows: Row[] = [];
  const seen = new Set<string>();
  for (const node of graph.nodes) {
    const values = frame.nodes[node.id], stats = values?.stats;
    const single = node.shape.reduce((product, n) => product * n, 1) === 1;
    if (stats && shown(node, values.check !== null)) {
      const units = stats.units ?? 0;
      rows.push({
        key: `n:${node.id}`, label: node.label, kind: "layer", place: null, node: node.id,
        gradient: num(stats.gradient_norm), ratio: null, spread: single ? null : num(stats.std),
        dead: stats.dead == null || !units ? null : stats.dead / units,
        deadOf: stats.dead == null ? "" : `${stats.dead} of ${units} units`,
        saturated: num(stats.saturation), check: values.check,
      });
    }
    for (const { name } of node.parameters) {
      const one = frame.parameters[name];
      if (!one || seen.has(name)) continue;
      seen.add(name);
      rows.push({
        key: `p:${name}`, label: name, kind: "parameter", place: null, node: node.id, gradient: num(one.gradient_norm),
        ratio: num(one.update_ratio), spread: null, dead: null, deadOf: "", saturated: null, check: one.check,
      });
    }
  }
  const labels = new Map<string, number>();
  for (const { label } of rows) labels.set(label, (labels.get(label) ?? 0) + 1);
  return rows.map((row) => (labels.get(row.label)! > 1 ? { ...row, place: row.node } : row));
}

const keyOf = (row: Row, by: Column): number | null => {
  if (by === "order") return null;
  if (by === "check") return row.check ? num(row.check.error) : null;
  return row[by];
};

/** Sorted rows. NaN counts as the largest, being what is looked for; rows without the number come last either way. */
export function sorted(rows: Row[], sort: Sort): Row[] {
  if (sort.by === "order") return sort.down ? [...rows].reverse() : rows;
  const rank = (row: Row): number | null => {
    const value = keyOf(row, sort.by);
    return value !== null && Number.isNaN(value) ? Infinity : value;
  };
  return rows
    .map((row, i) => ({ row, i, rank: rank(row) }))
    .sort((a, b) => {
      if (a.rank === null || b.rank === null) return a.rank === b.rank ? a.i - b.i : a.rank === null ? 1 : -1;
      return a.rank === b.rank ? a.i - b.i : (a.rank < b.rank ? -1 : 1) * (sort.down ? -1 : 1);
    })
    .map(({ row }) => row);
}
