import type {
  Collection, Document, Edge, EdgeValues, Frame, Graph, Local, Node, NodeValues, ParameterValues, Report, Variant,
} from "./types.js";

export const VERSION = 1;

/** What is wrong with a document, and what to do about it. */
export interface Problem {
  title: string;
  detail: string;
  advice: string;
}

export type Reading = { collection: Collection; problem: null } | { collection: null; problem: Problem };

const AGAIN = "Write the file again with this library: handgrad.view(...).to_html(path).";

class Fault extends Error {
  constructor(readonly title: string, detail: string, readonly advice = AGAIN) {
    super(detail);
  }
}

type Raw = Record<string, unknown>;

/** Read a document, or several in one, from its text or from an object already parsed. Never throws: what is wrong is in `problem`. */
export function readDocument(given: unknown): Reading {
  try {
    return { collection: check(typeof given === "string" ? parse(given) : given), problem: null };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return { collection: null, problem: { title: error.title, detail: error.message, advice: error.advice } };
  }
}

function parse(text: string): unknown {
  if (!text.trim()) throw new Fault("The document is empty", "There is no JSON in it.");
  try {
    return JSON.parse(text);
  } catch (error) {
    const end = text.trimEnd().slice(-1);
    const cut = text.trimStart().startsWith("{") && end !== "}";
    throw new Fault(
      cut ? "The document is cut short" : "The document is not JSON",
      cut ? `It stops after ${text.length} characters, in the middle of a value.` : (error as Error).message,
      cut ? "Copy the whole file, or write it again: handgrad.view(...).to_html(path)." : AGAIN,
    );
  }
}

function check(raw: unknown): Collection {
  const given = record(raw, "the document");
  if (given.format !== "handgrad.view") {
    throw new Fault("This is not a document of handgrad.view", `Its "format" is ${show(given.format)}.`);
  }
  if (given.version !== VERSION) {
    throw new Fault(
      `The document is of version ${show(given.version)}`,
      `It was made by handgrad ${text(given.library).slice(0, 80) || "of unknown release"} in version ${show(given.version)} of the format; this page reads version ${VERSION}.`,
      "Open it with the page of the library that made it, or make it again with this one.",
    );
  }
  if (given.documents === undefined) return { title: text(given.title), documents: [documentOf(given, "")] };
  const documents = list(given.documents, "documents").map((one, i) =>
    documentOf(record(one, `documents[${i}]`), `documents[${i}].`),
  );
  if (!documents.length) throw new Fault("There is nothing to show", 'Its "documents" is empty.');
  return { title: text(given.title), documents };
}

function documentOf(given: Raw, at: string): Document {
  const place = `${at}variants`;
  const variants = list(given.variants, place).map((one, i) => variantOf(one, `${place}[${i}]`));
  if (!variants.length) throw new Fault("There is nothing to show", `${place} is empty.`);
  return {
    format: "handgrad.view",
    version: VERSION,
    library: text(given.library),
    title: text(given.title),
    variants,
    report: given.report == null ? null : reportOf(record(given.report, "report")),
  };
}

function variantOf(raw: unknown, place: string): Variant {
  const given = record(raw, place);
  const graph = graphOf(record(given.graph, `${place}.graph`), `${place}.graph`);
  const frames = list(given.frames, `${place}.frames`).map((one, i) => frameOf(record(one, `${place}.frames[${i}]`)));
  if (!frames.length) throw new Fault("There are no values to show", `${place}.frames is empty.`);
  return { label: text(given.label), graph, frames };
}

function graphOf(given: Raw, place: string): Graph {
  const nodes = list(given.nodes, `${place}.nodes`).map((one, i) => nodeOf(record(one, `${place}.nodes[${i}]`), place, i));
  const known = new Set(nodes.map((node) => node.id));
  if (known.size < nodes.length) throw new Fault("Two nodes have one name", `The ids in ${place}.nodes must differ.`);
  const edges = list(given.edges, `${place}.edges`).map((one, i) => edgeOf(record(one, `${place}.edges[${i}]`), place, i));
  for (const edge of edges) {
    for (const end of [edge.source, edge.target]) {
      if (!known.has(end)) {
        throw new Fault("An edge ends nowhere", `The edge ${show(edge.id)} names the node ${show(end)}, which is not there.`);
      }
    }
  }
  return { nodes, edges, equations: maybe(given.equations) as Graph["equations"] };
}

function nodeOf(given: Raw, place: string, index: number): Node {
  if (typeof given.id !== "string") throw new Fault("A node has no name", `${place}.nodes[${index}].id is missing.`);
  return {
    id: given.id,
    label: text(given.label) || given.id,
    kind: text(given.kind) || "op",
    role: (text(given.role) || "plain") as Node["role"],
    group: textOrNull(given.group),
    shape: shape(given.shape),
    formula: textOrNull(given.formula),
    local: textOrNull(given.local),
    patterns: items(given.patterns).map(text),
    derivation: textOrNull(given.derivation),
    worked: workedOf(given.worked),
    parameters: items(given.parameters).map(maybe).map((one) => ({
      name: text(one.name), letter: text(one.letter), shape: shape(one.shape), shared: items(one.shared).map(text),
      local: localOf(one.local),
    })),
    cache: items(given.cache).map(maybe).map((one) => ({
      name: text(one.name), shape: shape(one.shape), bytes: Number(one.bytes ?? 0), what: text(one.what),
      alias: textOrNull(one.alias),
    })),
  };
}

function edgeOf(given: Raw, place: string, index: number): Edge {
  if (typeof given.source !== "string" || typeof given.target !== "string") {
    throw new Fault("An edge has no ends", `${place}.edges[${index}] needs a "source" and a "target".`);
  }
  return {
    id: text(given.id) || `${given.source}>${given.target}#${index}`,
    source: given.source,
    target: given.target,
    letter: textOrNull(given.letter),
    shape: shape(given.shape),
    local: localOf(given.local),
  };
}

function workedOf(raw: unknown): Node["worked"] {
  const given = maybe(raw), of = items(given.of).map(text);
  return of.length ? { kind: text(given.kind), text: text(given.text), of } : null;
}

function localOf(raw: unknown): Local | null {
  if (raw == null) return null;
  const given = maybe(raw);
  return {
    text: text(given.text), latex: textOrNull(given.latex), structure: text(given.structure),
    shape: shape(given.shape), note: textOrNull(given.note), parameter: textOrNull(given.parameter),
  };
}

const NO_VALUES: NodeValues = { value: null, gradient: null, numbers: null, stats: null, check: null, parts: {} };

function frameOf(given: Raw): Frame {
  return {
    label: text(given.label),
    loss: (given.loss ?? null) as Frame["loss"],
    gradient_norm: (given.gradient_norm ?? null) as Frame["gradient_norm"],
    nodes: each(given.nodes, NO_VALUES),
    edges: each(given.edges, { local: null, diagonal: null, downstream: null } as EdgeValues),
    parameters: each(given.parameters, {
      value: null, gradient: null, update: null, update_ratio: null, gradient_norm: null, check: null,
    } as ParameterValues),
  };
}

function reportOf(given: Raw): Report {
  const baselines = items(given.baselines).map(maybe);
  return {
    title: text(given.title),
    task: text(given.task),
    history: maybe(given.history) as Report["history"],
    best_epoch: typeof given.best_epoch === "number" ? given.best_epoch : null,
    confusion: (given.confusion ?? null) as Report["confusion"],
    residuals: (given.residuals ?? null) as Report["residuals"],
    baselines: baselines.map((one) => ({ name: text(one.name), metrics: maybe(one.metrics) as Report["metrics"] })),
    metrics: maybe(given.metrics) as Report["metrics"],
    facts: Object.fromEntries(Object.entries(maybe(given.facts)).map(([name, one]) => [name, text(one)])),
    findings: items(given.findings).map(maybe).map((one) => ({
      title: text(one.title), evidence: text(one.evidence), cause: text(one.cause), advice: text(one.advice),
    })),
  };
}

/** Each entry of a mapping, with what is missing in it filled in. */
function each<T extends object>(raw: unknown, missing: T): Record<string, T> {
  return Object.fromEntries(Object.entries(maybe(raw)).map(([key, one]) => [key, { ...missing, ...maybe(one) }]));
}

function record(value: unknown, place: string): Raw {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Raw;
  throw new Fault("The document lacks something", `${place} should be an object, got ${show(value)}.`);
}

function list(value: unknown, place: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new Fault("The document lacks something", `${place} should be a list, got ${show(value)}.`);
}

const maybe = (value: unknown): Raw => (typeof value === "object" && value !== null ? (value as Raw) : {});
const items = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const shape = (value: unknown): number[] => items(value).map(Number);
const text = (value: unknown): string => (value == null ? "" : String(value));
const textOrNull = (value: unknown): string | null => (value == null || value === "" ? null : String(value));
const show = (value: unknown): string => (value === undefined ? "missing" : JSON.stringify(value).slice(0, 80));
