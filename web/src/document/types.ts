/** The document that a page shows, version 1, as `handgrad.view` writes it. */

/** A number; "nan", "inf" or "-inf" where it is not finite, since JSON has no such numbers. */
export type Num = number | "nan" | "inf" | "-inf";

export interface Exact {
  shape: number[];
  dtype: string;
  data: string;
}

export interface Pooled {
  shape: number[];
  dtype: string;
  pooled: { rows: number; cols: number; mean: string; low: string; high: string };
  why?: string;
}

export interface Omitted {
  shape: number[];
  dtype: string;
  omitted: true;
  why: string;
}

export type Tensor = Exact | Pooled | Omitted;

export type Role = "weights" | "activation" | "sum" | "product" | "data" | "loss" | "plain";

export interface ParameterRef {
  name: string;
  letter: string;
  shape: number[];
  /** The nodes that read it. */
  shared: string[];
  local: Local | null;
}

export interface CacheItem {
  name: string;
  shape: number[];
  bytes: number;
  what: string;
  alias: string | null;
}

export interface Node {
  id: string;
  label: string;
  kind: string;
  role: Role;
  group: string | null;
  shape: number[];
  formula: string | null;
  local: string | null;
  patterns: string[];
  derivation: string | null;
  /** How each entry of its value is made of entries of nodes and parameters. */
  worked: { kind: string; text: string; of: string[] } | null;
  parameters: ParameterRef[];
  cache: CacheItem[];
}

export interface Local {
  text: string;
  latex: string | null;
  structure: string;
  shape: number[];
  note: string | null;
  /** The parameter that it is made of. */
  parameter: string | null;
}

export interface Edge {
  id: string;
  source: string;
  target: string;
  letter: string | null;
  shape: number[];
  /** null for data, such as labels, by which nothing is derived. */
  local: Local | null;
}

export interface Product {
  latex: string;
  shapes: string;
  fits: boolean;
  chosen: boolean;
  why: string;
}

export type Item =
  | { kind: "equation"; label: string; latex: string }
  | { kind: "matching"; label: string; products: Product[]; verdict: string }
  | { kind: "note"; label: string; text: string };

export interface Part {
  wrt: string;
  shape: string;
  items: Item[];
}

export interface Section {
  formula: string;
  elements: string | null;
  where: string[];
  parts: Part[];
}

export interface Derivation {
  title: string;
  sections: Section[];
}

export interface Graph {
  nodes: Node[];
  edges: Edge[];
  equations: Record<string, Derivation>;
}

export interface Stats {
  mean: Num;
  std: Num;
  min: Num;
  max: Num;
  quantiles: Num[];
  zeros: Num;
  /** How many numbers are NaN or infinite; all else is of the others. */
  bad: number;
  gradient_norm: Num;
  dead: number | null;
  units: number | null;
  saturation: Num | null;
  cache_bytes: number;
}

export interface NodeValues {
  value: Tensor | null;
  gradient: Tensor | null;
  numbers: string | null;
  stats: Stats | null;
  check: Check | null;
  /** This place's own part of the gradient of a parameter, where that is not all of it. */
  parts: Record<string, Tensor>;
}

export interface EdgeValues {
  local: Tensor | null;
  /** Of a diagonal Jacobian: the derivative of each element, in the node's own shape. */
  diagonal: Tensor | null;
  /** "gradient": it is the source's whole gradient. */
  downstream: Tensor | "gradient" | null;
}

export interface Check {
  error: Num;
  method: string;
  entries: number;
  passed: boolean;
}

export interface ParameterValues {
  value: Tensor | null;
  gradient: Tensor | null;
  update: Tensor | null;
  update_ratio: Num | null;
  gradient_norm: Num | null;
  check: Check | null;
}

export interface Frame {
  label: string;
  loss: Num | null;
  gradient_norm: Num | null;
  nodes: Record<string, NodeValues>;
  edges: Record<string, EdgeValues>;
  parameters: Record<string, ParameterValues>;
}

export interface Variant {
  label: string;
  graph: Graph;
  frames: Frame[];
}

export interface Finding {
  title: string;
  evidence: string;
  cause: string;
  advice: string;
}

export interface Report {
  title: string;
  task: string;
  history: Record<string, (Num | null)[]>;
  best_epoch: number | null;
  confusion: { labels: string[]; counts: number[][] } | null;
  residuals: { predicted: (Num | null)[]; actual: (Num | null)[] } | null;
  baselines: { name: string; metrics: Record<string, Num | null> }[];
  metrics: Record<string, Num | null>;
  findings: Finding[];
  facts: Record<string, string>;
}

/** One network, or several variants of it. */
export interface Document {
  format: "handgrad.view";
  version: 1;
  library: string;
  title: string;
  variants: Variant[];
  report: Report | null;
}

/** All that was given: one document, or several with a title over them. */
export interface Collection {
  title: string;
  documents: Document[];
}
