import { flipped } from "./flip.js";
import type { Point, Raw, Wish } from "./layout.js";

/** Two nodes of one rank: the first stands above the second, or to its left. */
export type Before = [string, string];

/** Edges up to which crossings are counted: in larger graphs the layout is left as it is. */
const MOST = 120;
/** Pairs up to which each is tried by itself, where all at once cost a crossing. */
const SINGLY = 16;

/** A layout in which the sources of a node stand in the order of its edges, as far as no crossing arises by it. */
export function inOrder(wish: Wish, layout: (before: Before[]) => Raw): Raw {
  const plain = layout([]);
  if (wish.edges.length > MOST) return plain;
  const pairs = wishes(wish, plain);
  if (!pairs.length) return plain;
  const least = crossings(plain);
  const met = (raw: Raw) => pairs.filter(([a, b]) => across(raw, a) < across(raw, b)).length;
  let best = plain;
  const offer = (raw: Raw): boolean => {
    const free = crossings(raw) <= least;
    if (free && met(raw) > met(best)) best = raw;
    return free;
  };
  if (met(best) < pairs.length) offer(mirrored(plain));
  if (met(best) < pairs.length) offer(layout(pairs));
  for (const [a, b] of pairs) {
    if (across(best, a) < across(best, b)) continue;
    for (const raw of [flipped(best, a, b), flipped(best, b, a)]) if (raw) offer(raw);
  }
  if (met(best) === pairs.length || pairs.length > SINGLY) return best;
  const kept: Before[] = [];
  for (const pair of pairs) if (offer(layout([...kept, pair]))) kept.push(pair);
  return best;
}

/** Upside down, or left side right where it runs down: as good a drawing. */
function mirrored(raw: Raw): Raw {
  const turn = <P extends Point>(p: P, width = 0, height = 0): P =>
    raw.direction === "LR" ? { ...p, y: raw.height - p.y - height } : { ...p, x: raw.width - p.x - width };
  const boxes = [...raw.boxes].map(([id, box]) => [id, turn(box, box.width, box.height)] as const);
  const routes = raw.routes.map((route) => ({ ...route, points: route.points.map((p) => turn(p)), label: turn(route.label) }));
  return { ...raw, boxes: new Map(boxes), routes };
}

/** Neighbouring sources of equal rank and of one group, for each node; of wishes that contradict each other the first. */
function wishes(wish: Wish, raw: Raw): Before[] {
  const group = new Map(wish.nodes.map((node) => [node.id, node.group]));
  const into = new Map<string, string[]>();
  for (const edge of wish.edges) into.set(edge.target, [...(into.get(edge.target) ?? []), edge.source]);
  const after = new Map<string, Set<string>>();
  const found: Before[] = [];
  for (const sources of into.values()) {
    for (const [i, a] of sources.entries()) {
      const b = sources.slice(i + 1).find((one) => one !== a && rank(raw, one) === rank(raw, a) && group.get(one) === group.get(a));
      if (b === undefined || reaches(after, b, a)) continue;
      after.set(a, (after.get(a) ?? new Set()).add(b));
      found.push([a, b]);
    }
  }
  return found;
}

function reaches(after: Map<string, Set<string>>, from: string, to: string): boolean {
  const open = [from], seen = new Set(open);
  for (const one of open) {
    if (one === to) return true;
    for (const next of after.get(one) ?? []) if (!seen.has(next)) open.push(next), seen.add(next);
  }
  return false;
}

const centre = (raw: Raw, id: string): Point => {
  const box = raw.boxes.get(id)!;
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
};
const rank = (raw: Raw, id: string): number => Math.round(raw.direction === "LR" ? centre(raw, id).x : centre(raw, id).y);
const across = (raw: Raw, id: string): number => (raw.direction === "LR" ? centre(raw, id).y : centre(raw, id).x);

/** How often two edges cross, drawn straight from point to point; edges that meet at a node do not cross there. */
export function crossings(raw: Raw): number {
  const lines = raw.routes.map(({ source, target, points }) => [centre(raw, source), ...points.slice(1, -1), centre(raw, target)]);
  let count = 0;
  for (const [i, a] of lines.entries()) {
    for (const b of lines.slice(i + 1)) {
      for (let k = 1; k < a.length; k++) for (let l = 1; l < b.length; l++) if (cross(a[k - 1], a[k], b[l - 1], b[l])) count++;
    }
  }
  return count;
}

/** Whether two segments cross within both. */
function cross(a: Point, b: Point, c: Point, d: Point): boolean {
  const side = (p: Point, q: Point, r: Point) => Math.sign((q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x));
  return side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
}
