import { BadTensor, decode, type Grid } from "../document/tensor.js";
import type { Frame, Node, Tensor } from "../document/types.js";
import { brief } from "../numbers/format.js";

/** A formula with the numbers of one entry plugged in, "0.5 · 2 + 1 · 3 = 4"; null where some of them are not there. */
export type Worked = (row: number, col: number) => string | null;

/** Products of a long sum that are written out. */
const MOST = 3;
const DIGITS = 3;
const known = new WeakMap<Tensor, Grid | null>();

/** The exact numbers of a tensor, row by row; null where they are not on the page. */
function exactly(tensor: Tensor | null | undefined): Grid | null {
  if (!tensor || typeof tensor !== "object") return null;
  if (!known.has(tensor)) {
    try {
      const grid = decode(tensor);
      known.set(tensor, grid.blocks ? null : grid);
    } catch (error) {
      if (!(error instanceof BadTensor)) throw error;
      known.set(tensor, null);
    }
  }
  return known.get(tensor)!;
}

const said = (x: number): string => brief(x, DIGITS);
/** A number that stands after a sign. */
const held = (x: number): string => (x < 0 || Object.is(x, -0) ? `(${said(x)})` : said(x));

/**
 * a · b + c · d + … = sum: the first products that are not 0, how many more there are, and what is added to them in
 * the end.
 */
export function sumText(given: number[][], tail: number | null, total: number): string {
  const terms = given.filter((factors) => factors.reduce((product, x) => product * x, 1) !== 0);
  const shown = terms.length > MOST + 1 ? terms.slice(0, MOST) : terms;
  const parts = shown.map((factors, i) => factors.map((x, k) => (i || k ? held(x) : said(x))).join(" · "));
  if (shown.length < terms.length) parts.push(`… ${terms.length - shown.length} more`);
  if (tail !== null) parts.push(held(tail));
  return `${parts.length ? parts.join(" + ") : "0"} = ${said(total)}`;
}

/** Where entry (row, col) of a weight that takes `k` to `j` stands, by its layout. */
const weight = (grid: Grid, layout: string, k: number, j: number): number =>
  layout === "out_in" ? grid.values[j * grid.cols + k] : grid.values[k * grid.cols + j];

interface Linear {
  x: Grid;
  w: Grid;
  b: Grid | null;
  layout: string;
  inputs: number;
  outputs: number;
}

function linearOf(node: Node, frame: Frame): Linear | null {
  if (node.worked?.kind !== "linear") return null;
  const { of, text: layout } = node.worked;
  const x = exactly(frame.nodes[of[0]]?.value), w = exactly(frame.parameters[of[1]]?.value);
  const b = of.length > 2 ? exactly(frame.parameters[of[2]]?.value) : null;
  if (!x || !w || (of.length > 2 && !b)) return null;
  const [inputs, outputs] = layout === "out_in" ? [w.cols, w.rows] : [w.rows, w.cols];
  return x.cols === inputs ? { x, w, b, layout, inputs, outputs } : null;
}

const each = <T>(many: number, make: (i: number) => T): T[] => Array.from({ length: many }, (_, i) => make(i));

/** How each entry of a node's value comes about. */
export function valueOf(node: Node, frame: Frame): Worked | undefined {
  const value = exactly(frame.nodes[node.id]?.value);
  if (!node.worked || !value) return undefined;
  const { kind, text, of } = node.worked;
  if (kind === "linear") {
    const found = linearOf(node, frame);
    if (!found || found.outputs !== value.cols || found.x.rows !== value.rows) return undefined;
    const { x, w, b, layout, inputs } = found;
    return (row, col) =>
      sumText(
        each(inputs, (k) => [x.values[row * x.cols + k], weight(w, layout, k, col)]),
        b && b.values[col], value.values[row * value.cols + col],
      );
  }
  const taken = of.map((name) => exactly(frame.nodes[name]?.value ?? frame.parameters[name]?.value));
  const grids = taken.filter((grid) => grid !== null);
  if (grids.length < of.length || grids.some((grid) => grid.values.length !== value.values.length && grid.values.length !== 1)) return undefined;
  return (row, col) => {
    const at = row * value.cols + col;
    const numbers = grids.map(({ values }) => values[values.length === 1 ? 0 : at]);
    const left = kind === "call" ? `${text}(${numbers.map(said).join(", ")})`
      : numbers.length === 1 ? `${text}${held(numbers[0])}` : `${said(numbers[0])} ${text} ${held(numbers[1])}`;
    return `${left} = ${said(value.values[at])}`;
  };
}

/** How each entry of what flows on comes about: upstream times local, to an input or to a parameter of a node. */
export function downstream(
  node: Node, frame: Frame, to: { source?: string; parameter?: string },
  given: { local: Tensor | null; diagonal: Tensor | null; downstream: Tensor | null; whole: boolean },
): Worked | undefined {
  const up = exactly(frame.nodes[node.id]?.gradient), down = exactly(given.downstream);
  if (!up || !down) return undefined;
  const total = (row: number, col: number) => down.values[row * down.cols + col];
  const diagonal = exactly(given.diagonal);
  if (diagonal && diagonal.values.length === up.values.length && down.values.length === up.values.length) {
    return (row, col) => {
      const at = row * down.cols + col;
      return `${said(up.values[at])} · ${held(diagonal.values[at])} = ${said(total(row, col))}`;
    };
  }
  const linear = linearOf(node, frame);
  if (linear && up.rows === linear.x.rows && up.cols === linear.outputs) {
    const { x, w, layout, inputs, outputs } = linear, [, own, bias] = node.worked!.of;
    const upward = (row: number, col: number) => up.values[row * up.cols + col];
    if (to.source !== undefined && down.cols === inputs && down.rows === up.rows) {
      return (row, col) => sumText(each(outputs, (j) => [upward(row, j), weight(w, layout, col, j)]), null, total(row, col));
    }
    if (to.parameter === own && down.values.length === inputs * outputs) {
      return (row, col) => {
        const [k, j] = layout === "out_in" ? [col, row] : [row, col];
        return sumText(each(up.rows, (m) => [x.values[m * x.cols + k], upward(m, j)]), null, total(row, col));
      };
    }
    if (to.parameter !== undefined && to.parameter === bias && down.values.length === outputs) {
      return (row, col) => sumText(each(up.rows, (m) => [upward(m, row * down.cols + col)]), null, total(row, col));
    }
  }
  const jacobian = given.whole ? exactly(given.local) : null;
  if (!jacobian || jacobian.values.length !== up.values.length * down.values.length) return undefined;
  return (row, col) => {
    const at = row * down.cols + col;
    return sumText(each(up.values.length, (i) => [up.values[i], jacobian.values[i * down.values.length + at]]), null, total(row, col));
  };
}
