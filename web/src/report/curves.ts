import { num } from "../document/tensor.js";
import type { Num } from "../document/types.js";

export interface Chart {
  name: string;
  log: boolean;
  series: { name: string; values: (number | null)[] }[];
}

/** What stands on the other axis, or tells nothing of how well it went. */
const ASIDE = new Set(["epoch", "step", "seconds"]);

/** Metrics that are written in capitals. */
const CAPITALS = /\b(rmse|mse|mae|auc|r2)\b/g;
const spoken = (name: string): string => name.replaceAll("_", " ").replace(CAPITALS, (word) => word.toUpperCase());

/** Curves of one quantity in one chart: "loss" beside "validation_loss". Log scales where all is positive over a wide range. */
export function charts(history: Record<string, (Num | null)[]>): Chart[] {
  const found = new Map<string, Chart>();
  for (const [name, given] of Object.entries(history)) {
    if (ASIDE.has(name) || !Array.isArray(given)) continue;
    const values = given.map(num);
    const finite = values.filter((v): v is number => v !== null && Number.isFinite(v));
    if (!finite.length || (name === "learning_rate" && finite.every((v) => v === finite[0]))) continue;
    const key = name.replace(/^(validation|train|training|val)_/, "");
    const chart = found.get(key) ?? { name: spoken(key), log: false, series: [] };
    chart.series.push({ name: spoken(name), values });
    found.set(key, chart);
  }
  for (const chart of found.values()) {
    const all = chart.series.flatMap((one) => one.values).filter((v): v is number => v !== null && Number.isFinite(v));
    chart.log = Math.min(...all) > 0 && Math.max(...all) > 20 * Math.min(...all);
  }
  return [...found.values()];
}

/** Metrics of which a smaller number is the better one. */
export const smallerIsBetter = (name: string): boolean => /loss|error|entropy|rmse|mse|mae|deviance|brier|huber/i.test(name);
