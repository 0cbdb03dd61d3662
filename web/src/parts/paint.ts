import type { Grid } from "../document/tensor.js";
import { brief } from "../numbers/format.js";
import { colour, css, hatch, type Theme } from "../numbers/palette.js";

/** How large a tensor is drawn, in CSS pixels, and how: as numbers in cells, as colours, or as bars. */
export interface Figure {
  kind: "cells" | "heat" | "bars";
  width: number;
  height: number;
}

const WIDE = 300, TALL = 240, CELL_WIDTH = 50, CELL_HEIGHT = 26;

export function figureOf(rows: number, cols: number, most = WIDE): Figure {
  if (cols * CELL_WIDTH <= most && rows <= 8) return { kind: "cells", width: cols * CELL_WIDTH, height: rows * CELL_HEIGHT };
  if (Math.min(rows, cols) === 1) return { kind: "bars", width: Math.min(most, Math.max(120, 14 * rows * cols)), height: 84 };
  const cell = Math.min(24, most / cols, TALL / rows);
  const width = Math.max(cell * cols, Math.min(most, 24 * cols, 90));
  return { kind: "heat", width: Math.round(width), height: Math.round(Math.max(cell * rows, Math.min(TALL, 24 * rows, 64))) };
}

/** Which cells stand under one pixel of `many`: from the first to before the last. */
const span = (pixel: number, pixels: number, many: number): [number, number] => {
  const from = Math.floor((pixel * many) / pixels);
  return [from, Math.max(from + 1, Math.floor(((pixel + 1) * many) / pixels))];
};

const odder = (a: number, b: number): number => {
  if (Number.isNaN(a) || Number.isNaN(b)) return NaN;
  return Math.abs(b) > Math.abs(a) ? b : a;
};

/** The value that one pixel shows: where several cells share it, the one of largest magnitude, and NaN before all. */
function shown(grid: Grid, [top, bottom]: [number, number], [left, right]: [number, number]): number {
  let found = grid.values[top * grid.cols + left];
  for (let row = top; row < bottom; row++) {
    for (let col = left; col < right; col++) found = odder(found, grid.values[row * grid.cols + col]);
  }
  return found;
}

export function paintHeat(context: CanvasRenderingContext2D, grid: Grid, theme: Theme, ratio: number): void {
  const { width, height } = context.canvas;
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const columns = Array.from({ length: width }, (_, x) => span(x, width, grid.cols));
  let before = -1, start = 0;
  for (let y = 0; y < height; y++) {
    const rows = span(y, height, grid.rows);
    const plain = grid.summary.nan + grid.summary.positive + grid.summary.negative === 0;
    if (plain && rows[0] === before) {
      pixels.copyWithin(y * width, start, start + width);
      continue;
    }
    before = rows[0];
    start = y * width;
    let last = -1, value = 0;
    for (let x = 0; x < width; x++) {
      if (columns[x][0] !== last) {
        last = columns[x][0];
        value = shown(grid, rows, columns[x]);
      }
      pixels[start + x] = Number.isFinite(value)
        ? colour(value, grid.summary.limit, theme)
        : hatch(value, Math.floor(x / ratio), Math.floor(y / ratio), theme);
    }
  }
  context.putImageData(image, 0, 0);
}

/** The numbers themselves, on the colours, for a grid small enough. */
export function paintNumbers(context: CanvasRenderingContext2D, grid: Grid, theme: Theme, ratio: number, font: string): void {
  const width = context.canvas.width / grid.cols, height = context.canvas.height / grid.rows;
  context.font = `${11 * ratio}px ${font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let row = 0; row < grid.rows; row++) {
    for (let col = 0; col < grid.cols; col++) {
      const value = grid.values[row * grid.cols + col];
      const text = grid.dtype === "int64" ? grid.text(row, col) : brief(value, 3);
      const x = (col + 0.5) * width, y = (row + 0.54) * height;
      if (!Number.isFinite(value)) {
        context.fillStyle = theme === "dark" ? "#1a1d21" : "#ffffff";
        context.fillRect(x - 14 * ratio, y - 8 * ratio, 28 * ratio, 15 * ratio);
        context.fillStyle = theme === "dark" ? "#ff8fe0" : "#b5128a";
      } else context.fillStyle = ink(colour(value, grid.summary.limit, theme));
      context.fillText(text, x, y, width - 4 * ratio);
    }
  }
}

/** Black or white, whichever reads better on a colour. */
function ink(packed: number): string {
  const light = [packed & 255, (packed >> 8) & 255, (packed >> 16) & 255]
    .map((c) => ((c / 255) <= 0.04 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  return light > 0.18 ? "#14171a" : "#ffffff";
}

/** A vector as bars from its zero line, each in its value's colour. */
export function paintBars(context: CanvasRenderingContext2D, grid: Grid, theme: Theme, ratio: number, rule: string): void {
  const { width, height } = context.canvas;
  const many = grid.values.length;
  const { low, high, limit } = grid.summary;
  const top = Math.max(0, high || 0), bottom = Math.min(0, low || 0);
  const room = height - 2 * ratio;
  const level = (value: number) => ratio + (top === bottom ? 0.5 : (top - value) / (top - bottom)) * room;
  const zero = Math.round(level(0));
  context.clearRect(0, 0, width, height);
  const gap = width / many > 5 * ratio ? Math.round(ratio) : 0;
  for (let x = 0; x < Math.min(width, many); x++) {
    const [from, to] = many > width ? span(x, width, many) : [x, x + 1];
    let value = grid.values[from];
    for (let i = from + 1; i < to; i++) value = odder(value, grid.values[i]);
    const left = many > width ? x : Math.round((x * width) / many);
    const right = many > width ? x + 1 : Math.round(((x + 1) * width) / many) - gap;
    if (Number.isFinite(value)) {
      const y = Math.round(level(value));
      context.fillStyle = css(deep(value, limit, theme));
      context.fillRect(left, Math.min(y, zero), Math.max(1, right - left), Math.max(1, Math.abs(y - zero)));
    } else {
      for (let y = 0; y < height; y++) {
        for (let px = left; px < Math.max(left + 1, right); px++) {
          context.fillStyle = css(hatch(value, Math.floor(px / ratio), Math.floor(y / ratio), theme));
          context.fillRect(px, y, 1, 1);
        }
      }
    }
  }
  context.fillStyle = rule;
  context.fillRect(0, zero, width, Math.max(1, Math.round(ratio / 2)));
}

/** A value's colour, kept away from the paper's own, so that short bars are seen. */
const deep = (value: number, limit: number, theme: Theme): number =>
  colour(Math.sign(value) * (0.45 * limit + 0.45 * Math.abs(value)), limit, theme);
