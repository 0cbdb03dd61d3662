import type { Index } from "./walk.js";
import type { Box, Plan } from "./layout.js";

export type Arrow = "ArrowLeft" | "ArrowRight" | "ArrowUp" | "ArrowDown";

const WAY: Record<Arrow, [number, number]> = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

const centre = (box: Box): [number, number] => [box.x + box.width / 2, box.y + box.height / 2];

/**
 * The node that an arrow key leads to. With or against the flow: the nearest neighbour by an edge, in any row; across
 * it: the nearest box that way.
 */
export function neighbour(plan: Plan, index: Index, from: string, key: Arrow): string | null {
  const along = plan.direction === "LR" ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
  const here = plan.boxes.get(from);
  if (!here) return null;
  if (along.includes(key)) {
    const forward = key === along[1];
    const edges = (forward ? index.outOf : index.into).get(from) ?? [];
    const near = edges.map((edge) => (forward ? edge.target : edge.source));
    if (near.length) return closest(plan, here, near);
  }
  const [dx, dy] = WAY[key], [x, y] = centre(here);
  const that = [...plan.boxes.values()].filter((box) => {
    const [bx, by] = centre(box);
    const ahead = (bx - x) * dx + (by - y) * dy;
    return ahead > 4 && ahead >= Math.abs((bx - x) * dy) + Math.abs((by - y) * dx) * 0.5;
  });
  return that.length ? closest(plan, here, that.map((box) => box.id)) : null;
}

function closest(plan: Plan, here: Box, among: string[]): string {
  const [x, y] = centre(here);
  const far = (id: string) => {
    const [bx, by] = centre(plan.boxes.get(id)!);
    return Math.hypot(bx - x, by - y);
  };
  return among.reduce((a, b) => (far(b) < far(a) ? b : a));
}
