import type { Area, Box, Point, Raw } from "./layout.js";

const GUTTER = 34;

/**
 * A long drawing from left to right, broken into rows of about one width, read like text. Breaks fall between columns
 * of nodes, and never inside a group.
 */
export function wrap(raw: Raw, area: Area): Raw {
  const columns = columnsOf(raw);
  if (columns.length < 4) return raw;
  const fit = (rows: number) =>
    Math.min(area.width / (raw.width / rows + 60), area.height / (rows * (raw.height + GUTTER)));
  let rows = 1;
  while (rows < columns.length && fit(rows + 1) > fit(rows)) rows++;
  return rows === 1 ? raw : broken(raw, columns, rows);
}

interface Column {
  left: number;
  right: number;
  members: string[];
}

/** Columns of nodes that may not be parted: those whose spans overlap, and those that one group holds together. */
function columnsOf(raw: Raw): Column[] {
  const spans = [...raw.boxes.values()].map((box) => ({ left: box.x, right: box.x + box.width, members: [box.id] }));
  for (const members of raw.groups.values()) {
    const boxes = members.map((id) => raw.boxes.get(id)!);
    spans.push({
      left: Math.min(...boxes.map((box) => box.x)), right: Math.max(...boxes.map((box) => box.x + box.width)), members: [],
    });
  }
  spans.sort((a, b) => a.left - b.left);
  const columns: Column[] = [];
  for (const span of spans) {
    const last = columns[columns.length - 1];
    if (last && span.left < last.right) {
      last.right = Math.max(last.right, span.right);
      last.members.push(...span.members);
    } else columns.push({ ...span, members: [...span.members] });
  }
  return columns;
}

function broken(raw: Raw, columns: Column[], rows: number): Raw {
  const target = raw.width / rows;
  const rowOf = new Map<string, number>(), starts: number[] = [], ends: number[] = [];
  let row = -1, start = -Infinity;
  for (const column of columns) {
    const room = row < rows - 1 && (column.left + column.right) / 2 - start > target;
    if (row < 0 || room) {
      row++;
      start = starts[row] = column.left;
    }
    ends[row] = column.right;
    for (const member of column.members) rowOf.set(member, row);
  }
  const pitch = raw.height + GUTTER;
  const shift = (row: number): Point => ({ x: 30 - starts[row], y: row * pitch });
  const moved = (p: Point, row: number): Point => ({ x: p.x + shift(row).x, y: p.y + shift(row).y });
  const boxes = new Map<string, Box>();
  for (const [id, box] of raw.boxes) boxes.set(id, { ...box, ...moved(box, rowOf.get(id)!) });
  const wide = Math.max(...ends.map((end, i) => end - starts[i])) + 60;
  const routes = raw.routes.map((route) => {
    const from = rowOf.get(route.source)!, to = rowOf.get(route.target)!;
    if (from === to) {
      return { ...route, points: route.points.map((p) => moved(p, from)), label: moved(route.label, from) };
    }
    const a = boxes.get(route.source)!, b = boxes.get(route.target)!;
    const leave = { x: a.x + a.width, y: a.y + a.height / 2 }, enter = { x: b.x, y: b.y + b.height / 2 };
    const gap = shift(to).y - GUTTER / 2;
    const right = { x: Math.max(leave.x + 8, ends[from] + shift(from).x + 8), y: leave.y };
    const points = [leave, right, { x: 12, y: gap }, enter];
    return { ...route, points, label: { x: (right.x + 12) / 2, y: gap } };
  });
  return { ...raw, width: wide, height: (row + 1) * pitch - GUTTER, boxes, routes };
}
