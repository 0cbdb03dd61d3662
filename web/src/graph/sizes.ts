import type { Frame, Node } from "../document/types.js";
import { num } from "../document/tensor.js";
import { brief, shapeText } from "../numbers/format.js";
import { scalarText } from "../parts/scalar.js";

/** The page's type, as a canvas names it; boxes are sized before they are drawn. */
const FAMILY = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif';
const PAD = 28, LINE = 17, MIN = 76, MAX = 236;
/** For "gradient" and a number of five digits, in a power of ten. */
const NUMBER = 118;

const pen = typeof document === "undefined" ? null : document.createElement("canvas").getContext("2d");

/** The width of a line of text in pixels; about that, where there is no canvas to measure it on. */
function widthOf(text: string, font: string): number {
  if (!pen) return text.length * 7;
  pen.font = `${font} ${FAMILY}`;
  return pen.measureText(text).width;
}

const GREEK: Record<string, string> = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", theta: "θ", lambda: "λ", mu: "μ", sigma: "σ", phi: "φ", omega: "ω",
};

/** A letter that is written in LaTeX, as plain text. */
export const letterText = (latex: string): string =>
  latex.replace(/\\([a-z]+)/g, (_, name: string) => GREEK[name] ?? name).replace(/[{}]/g, "");

/** What a node's box says below its label. */
export const lines = (node: Node): string[] => boxLines(node).map((row) => row.text);

/** The same, each line with the parameters that it speaks of. */
export function boxLines(node: Node): { text: string; of: string[] }[] {
  const out = node.parameters.map((one) => ({ text: `${letterText(one.letter) || one.name} ${shapeText(one.shape)}`, of: [one.name] }));
  const all = out.length > 2 ? [{ text: `${out.length} parameters`, of: node.parameters.map((one) => one.name) }] : out;
  return [...all, ...node.patterns.slice(0, 2).map((text) => ({ text, of: [] }))];
}

/** Numbers stand on the node itself where its value is one. */
export const isScalar = (node: Node): boolean => node.shape.reduce((product, n) => product * n, 1) === 1;

/** The size of a node's box, and of its label where the graph is seen from afar. */
export function nodeSize(node: Node): { width: number; height: number } {
  const widest = Math.max(
    widthOf(node.label, "600 13px"), ...boxLines(node).map((row) => widthOf(row.text, "11.5px") + (row.of.length ? 14 : 0)), isScalar(node) ? NUMBER : 0,
  );
  const rows = 1 + lines(node).length + (isScalar(node) ? 2 : 0);
  return { width: Math.ceil(Math.min(MAX, Math.max(MIN, widest + PAD))), height: 18 + rows * LINE };
}

/** How large a label can be and still fit its box, in pixels. */
export const largest = (node: Node): number =>
  Math.max(13, Math.min(20, Math.floor((13 * (nodeSize(node).width - PAD)) / widthOf(node.label, "600 13px"))));

/** Between two lines of an edge's label. */
export const LEADING = 13;

/** The room that the label of an edge takes, in lines. */
export function labelSize(lines: string[]): { width: number; height: number } {
  if (!lines.length) return { width: 8, height: 8 };
  const widest = Math.max(...lines.map((line) => widthOf(line, "11px")));
  return { width: Math.ceil(widest + 12), height: 5 + LEADING * lines.length };
}

/** One line about a node, for whoever points at it: its numbers in brief. */
export function about(node: Node, frame: Frame): string {
  const values = frame.nodes[node.id];
  const stats = values?.stats;
  if (isScalar(node)) return [`value ${scalarText(values?.value)}`, ...(values?.gradient ? [`gradient ${scalarText(values.gradient)}`] : [])].join(" · ");
  const parts = [shapeText(node.shape)];
  if (stats) {
    if (stats.bad) parts.push(`${stats.bad.toLocaleString("en")} not finite, of the others:`);
    parts.push(`mean ${brief(num(stats.mean))}`, `spread ${brief(num(stats.std))}`);
    parts.push(`${brief(num(stats.min))} to ${brief(num(stats.max))}`, ...(values.gradient ? [`gradient norm ${brief(num(stats.gradient_norm))}`] : []));
  }
  for (const parameter of node.parameters) {
    const ratio = num(frame.parameters[parameter.name]?.update_ratio);
    if (ratio !== null) parts.push(`${parameter.name} update ratio ${brief(ratio)}`);
  }
  return parts.join(" · ");
}
