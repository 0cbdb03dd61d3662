/** The one scale of all norms, ratios and spreads: 1e-10 to 1e4, by decades, the same for every network. */
export const LOW = -10;
export const HIGH = 4;

export interface Mark {
  /** From 0 at 1e-10 to 1 at 1e4. */
  at: number;
  kind: "in" | "below" | "above" | "zero" | "nan";
}

/** Where a non-negative number stands on the scale; null where there is none. */
export function mark(value: number | null): Mark | null {
  if (value === null) return null;
  if (Number.isNaN(value)) return { at: 0.5, kind: "nan" };
  if (value === 0) return { at: 0, kind: "zero" };
  const at = (Math.log10(Math.abs(value)) - LOW) / (HIGH - LOW);
  if (at < 0) return { at: 0, kind: "below" };
  if (at > 1) return { at: 1, kind: "above" };
  return { at, kind: "in" };
}

/** Round numbers between two ends, about `many` of them, for an axis. */
export function ticks(low: number, high: number, many = 5): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / many;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
  const out: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) out.push(Number((i * step).toPrecision(12)));
  return out;
}

/** Powers of ten between two positive ends. */
export function decades(low: number, high: number): number[] {
  const out: number[] = [];
  for (let e = Math.ceil(Math.log10(low) - 1e-9); e <= Math.log10(high) + 1e-9; e++) out.push(10 ** e);
  return out;
}
