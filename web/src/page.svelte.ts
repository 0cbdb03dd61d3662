import { getContext, setContext } from "svelte";
import { readDocument, type Problem } from "./document/read.js";
import type { Collection, Document } from "./document/types.js";
import { indexOf, stepAt } from "./graph/walk.js";
import type { Theme } from "./numbers/palette.js";

export type View = "network" | "compare" | "report";

/** What the page shows now. One object, read by every component; the document itself is never changed. */
export class Page {
  collection = $state.raw<Collection | null>(null);
  problem = $state.raw<Problem | null>(null);
  view = $state<View>("network");
  theme = $state<Theme>("light");
  documentAt = $state(0);
  variantAt = $state(0);
  frameAt = $state(0);
  /** The node whose panel is open. */
  open = $state<string | null>(null);
  /** The step of the backward pass, from 0; -1 where no walk is under way. */
  step = $state(-1);
  /** The node that is pointed at; the one that had the keyboard last; and whether the keyboard is in the graph. */
  near = $state<string | null>(null);
  focus = $state<string | null>(null);
  focused = $state(false);
  /** What the live region says. */
  news = $state("");

  document = $derived<Document | null>(this.collection?.documents[this.documentAt] ?? null);
  variant = $derived(this.document!.variants[Math.min(this.variantAt, this.document!.variants.length - 1)]);
  graph = $derived(this.variant.graph);
  /** What the drawing of the graph depends on: it stays as it is while values change. */
  drawing = $derived(
    JSON.stringify([
      this.graph.nodes.map((node) => [node.id, node.label, node.shape, node.group, node.patterns, node.parameters]),
      this.graph.edges.map((edge) => [edge.id, edge.source, edge.target, edge.letter, edge.shape]),
    ]),
  );
  index = $derived(indexOf(this.graph));
  frame = $derived(this.variant.frames[Math.min(this.frameAt, this.variant.frames.length - 1)]);
  /** What all gradients are of. */
  goal = $derived(this.graph.nodes.some((node) => node.kind === "loss") ? "loss" : "output");
  /** The one node that the Tab key leads to; arrow keys lead on from there. */
  reach = $derived([this.focus, this.open].find((id) => id !== null && this.index.nodes.has(id)) ?? this.graph.nodes[0]?.id);
  now = $derived(this.step < 0 ? null : stepAt(this.index, this.frame, this.step));
  /** Nodes whose gradient is known at this step of the walk; null where no walk is under way. */
  visited = $derived(this.step < 0 ? null : new Set(this.index.backward.slice(0, this.step + 1)));
  views = $derived<View[]>([
    "network",
    ...(this.document!.variants.length > 1 ? (["compare"] as const) : []),
    ...(this.document!.report ? (["report"] as const) : []),
  ]);

  /** Show another document; what is open stays open where it is still there. */
  load(given: unknown): void {
    const { collection, problem } = readDocument(given);
    const atEnd = !this.document || this.frameAt >= this.variant.frames.length - 1;
    this.collection = collection;
    this.problem = problem;
    if (!collection) return;
    this.documentAt = Math.min(this.documentAt, collection.documents.length - 1);
    const document = this.document!;
    this.variantAt = Math.min(this.variantAt, document.variants.length - 1);
    const last = this.variant.frames.length - 1;
    this.frameAt = atEnd ? last : Math.min(this.frameAt, last);
    if (this.open !== null && !this.index.nodes.has(this.open)) this.close();
    if (!this.views.includes(this.view)) this.view = "network";
  }

  /** Turn to another document of the collection. */
  turn(to: number): void {
    this.close();
    this.documentAt = to;
    this.variantAt = 0;
    this.frameAt = this.variant.frames.length - 1;
    this.view = "network";
  }

  select(id: string): void {
    this.open = id;
    if (this.step >= 0) this.step = this.index.backward.indexOf(id);
  }

  close(): void {
    this.open = null;
    this.step = -1;
  }

  /** Go to a step of the backward pass; before its first one the walk ends. */
  walk(step: number): void {
    const last = this.index.backward.length - 1;
    this.step = Math.min(step, last);
    if (this.step < 0) this.step = -1;
    else this.open = this.index.backward[this.step];
  }

  choose(variant: number): void {
    const atEnd = this.frameAt >= this.variant.frames.length - 1;
    this.variantAt = variant;
    const last = this.variant.frames.length - 1;
    this.frameAt = atEnd ? last : Math.min(this.frameAt, last);
    if (this.open !== null && !this.index.nodes.has(this.open)) this.close();
  }
}

const KEY = Symbol("handgrad");

export const providePage = (page: Page): Page => setContext(KEY, page);
export const usePage = (): Page => getContext<Page>(KEY);
