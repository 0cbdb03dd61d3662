import type { Box, Point, Raw } from "./layout.js";

const APART = 14, MARGIN = 16;

/**
 * A node that reads nothing and is read once, moved to the other side of one of its rank; its edge goes along. null
 * where something stands there.
 */
export function flipped(raw: Raw, leaf: string, other: string): Raw | null {
  const [route, ...more] = raw.routes.filter((one) => one.source === leaf || one.target === leaf);
  if (!route || route.target === leaf || more.length || [...raw.groups.values()].some((group) => group.includes(leaf))) return null;
  const across = raw.direction === "LR" ? "y" : "x", extent = raw.direction === "LR" ? "height" : "width";
  const axis = raw.boxes.get(other)!, middle = axis[across] + axis[extent] / 2;
  const turn = (p: Point): Point => ({ ...p, [across]: 2 * middle - p[across] });
  const box = raw.boxes.get(leaf)!, moved = { ...box, [across]: 2 * middle - box[across] - box[extent] };
  const others = [...raw.boxes.values()].filter((one) => one !== box);
  if ([...others, ...[...raw.groups.values()].map((group) => hull(raw, group))].some((one) => near(one, moved))) return null;
  const shift = Math.max(0, MARGIN - moved[across]);
  const down = <P extends Point>(p: P): P => ({ ...p, [across]: p[across] + shift });
  return {
    ...raw,
    [extent]: Math.max(raw[extent], moved[across] + moved[extent] + MARGIN) + shift,
    boxes: new Map([...raw.boxes].map(([id, one]) => [id, down(id === leaf ? moved : one)])),
    routes: raw.routes.map((one) => ({
      ...one, points: (one === route ? [...one.points.slice(0, -1).map(turn), one.points.at(-1)!] : one.points).map(down),
      label: down(one === route ? turn(one.label) : one.label),
    })),
  };
}

const near = (a: Box, b: Box): boolean =>
  a.x < b.x + b.width + APART && b.x < a.x + a.width + APART && a.y < b.y + b.height + APART && b.y < a.y + a.height + APART;

function hull(raw: Raw, members: string[]): Box {
  const boxes = members.map((id) => raw.boxes.get(id)!);
  const x = Math.min(...boxes.map((box) => box.x)), y = Math.min(...boxes.map((box) => box.y));
  const right = Math.max(...boxes.map((box) => box.x + box.width)), low = Math.max(...boxes.map((box) => box.y + box.height));
  return { id: "", x, y, width: right - x, height: low - y };
}
