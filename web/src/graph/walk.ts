import type { CacheItem, Edge, Frame, Graph, Node, Tensor } from "../document/types.js";

/** What is found again and again about a graph: nodes by name, edges by their ends. */
export interface Index {
  nodes: Map<string, Node>;
  into: Map<string, Edge[]>;
  outOf: Map<string, Edge[]>;
  /** The order in which backward visits the nodes: that of forward, reversed. */
  backward: string[];
}

export function indexOf(graph: Graph): Index {
  const into = new Map<string, Edge[]>(graph.nodes.map((node) => [node.id, []]));
  const outOf = new Map<string, Edge[]>(graph.nodes.map((node) => [node.id, []]));
  for (const edge of graph.edges) {
    into.get(edge.target)?.push(edge);
    outOf.get(edge.source)?.push(edge);
  }
  return {
    nodes: new Map(graph.nodes.map((node) => [node.id, node])),
    into,
    outOf,
    backward: graph.nodes.map((node) => node.id).reverse(),
  };
}

/** What flows on along an edge: kept for it, or, where it is all that the source receives, the source's gradient. */
export function downstreamOf(edge: Edge, frame: Frame): Tensor | null {
  const found = frame.edges[edge.id]?.downstream ?? null;
  return found === "gradient" ? (frame.nodes[edge.source]?.gradient ?? null) : found;
}

/** One step of the backward pass, in words: what arrives, what leaves, which caches are used. */
export interface Step {
  node: Node;
  /** Of backward's first step: nothing arrives there, the gradient of the loss by itself is 1. */
  first: boolean;
  arrives: boolean;
  to: Edge[];
  uses: CacheItem[];
}

export function stepAt(index: Index, frame: Frame, step: number): Step | null {
  const node = index.nodes.get(index.backward[step]);
  if (!node) return null;
  const to = (index.into.get(node.id) ?? []).filter((edge) => downstreamOf(edge, frame) !== null);
  return { node, first: step === 0, arrives: frame.nodes[node.id]?.gradient != null, to, uses: node.cache };
}

/** A name that is not longer than a sentence can bear. */
const cut = (name: string): string => (name.length > 60 ? `${name.slice(0, 59)}…` : name);

/** What a cache is, and its name. */
const cached = (item: CacheItem): string =>
  !item.what ? cut(item.name) : item.what.endsWith(` ${item.name}`) ? item.what : `${item.what} ${cut(item.name)}`;

/** The sentence that a step is announced with. */
export function sentence(step: Step, index: Index): string {
  const labels = [...index.nodes.values()].map((node) => node.label);
  /** Its label; where others have the same, its id too. */
  const name = (id: string) => {
    const label = index.nodes.get(id)?.label ?? id;
    return labels.filter((one) => one === label).length > 1 ? `${cut(label)} (${id})` : cut(label);
  };
  const parts: string[] = [];
  if (step.first && !step.node.shape.length) parts.push("Backward starts here: the gradient of the output by itself is 1.");
  else if (!step.arrives) parts.push(step.node.kind === "constant" ? "Data: nothing is derived by it." : "No gradient is kept here.");
  else {
    const from = (index.outOf.get(step.node.id) ?? []).map((edge) => name(edge.target));
    parts.push(from.length > 1 ? `Gradients arrive from ${from.join(" and ")} and are summed.` : from.length ? `The gradient arrives from ${from[0]}.` : "The gradient starts here.");
  }
  if (step.uses.length) parts.push(`Uses the cache: ${step.uses.map(cached).join("; ")}.`);
  const targets = step.to.map((edge) => name(edge.source));
  if (targets.length) parts.push(`Times the local derivative, it flows on to ${targets.join(" and ")}.`);
  const own = step.node.parameters.map((parameter) => parameter.name);
  if (own.length) parts.push(`It gives the gradient of ${own.join(" and ")}.`);
  return parts.join(" ");
}
