import type { Exact, Num, Tensor } from "./types.js";
import { exact } from "../numbers/format.js";

/** A tensor made ready to be shown as rows and columns. */
export interface Grid {
  rows: number;
  cols: number;
  /** The tensor's own shape and type. */
  shape: number[];
  dtype: string;
  /** Row by row, as numbers; where blocks were pooled, their means. */
  values: Float32Array | Float64Array;
  /** The value's exact digits. */
  text: (row: number, col: number) => string;
  /** The lowest and highest of each block, where blocks were pooled; and how many rows and columns a block has. */
  blocks: { low: Float32Array; high: Float32Array; height: number; width: number } | null;
  why: string | null;
  summary: Summary;
}

export interface Summary {
  low: number;
  high: number;
  /** The largest finite magnitude: the limit of the colours. */
  limit: number;
  nan: number;
  positive: number;
  negative: number;
}

/** Why a tensor could not be read. */
export class BadTensor extends Error {}

/** Why a tensor was left out on purpose. */
export class Omission extends BadTensor {}

const WIDTHS: Record<string, number> = { float32: 4, float64: 8, int64: 8 };
const size = (shape: number[]): number => shape.reduce((product, n) => product * n, 1);

/** Rows and columns of an n-d shape: all axes but the last are rows. */
export function flat(shape: number[]): [number, number] {
  if (shape.length === 0) return [1, 1];
  const cols = shape[shape.length - 1];
  return [size(shape.slice(0, -1)), cols];
}

/**
 * Rows and columns of a Jacobian, whose axes are those of the target and then those of the source. Where one
 * sample's is shown, the batch is missing on both sides.
 */
export function jacobianShape(shape: number[], target: number[], source: number[]): [number, number] {
  for (const cut of [target.length, target.length - 1, shape.length - source.length, shape.length - source.length + 1]) {
    if (cut < 0 || cut > shape.length) continue;
    const rows = shape.slice(0, cut), cols = shape.slice(cut);
    if (ends(target, rows) && ends(source, cols)) return [size(rows), size(cols)];
  }
  const half = Math.ceil(shape.length / 2);
  return [size(shape.slice(0, half)), size(shape.slice(half))];
}

const ends = (whole: number[], part: number[]): boolean =>
  part.length <= whole.length && part.every((n, i) => n === whole[whole.length - part.length + i]);

function bytes(text: string, what: string, expected: number): ArrayBuffer {
  let raw: string;
  try {
    raw = atob(text);
  } catch {
    throw new BadTensor(`${what} is not base64`);
  }
  if (raw.length !== expected) throw new BadTensor(`${what} holds ${raw.length} bytes where ${expected} were expected`);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out.buffer;
}

/** Numbers from little-endian bytes, whatever this machine's own order is. */
function numbers(buffer: ArrayBuffer, dtype: string): Float32Array | Float64Array | BigInt64Array {
  if (LITTLE) {
    if (dtype === "float32") return new Float32Array(buffer);
    return dtype === "float64" ? new Float64Array(buffer) : new BigInt64Array(buffer);
  }
  const view = new DataView(buffer);
  const many = buffer.byteLength / WIDTHS[dtype];
  if (dtype === "float32") return Float32Array.from({ length: many }, (_, i) => view.getFloat32(4 * i, true));
  if (dtype === "float64") return Float64Array.from({ length: many }, (_, i) => view.getFloat64(8 * i, true));
  return BigInt64Array.from({ length: many }, (_, i) => view.getBigInt64(8 * i, true));
}

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Decode a tensor. layout: its rows and columns, where they are not those of `flat`. Throws BadTensor. */
export function decode(tensor: Tensor, layout?: [number, number]): Grid {
  if (typeof tensor !== "object" || tensor === null) throw new BadTensor(`it is ${JSON.stringify(tensor)}, no tensor`);
  const shape = Array.isArray(tensor.shape) ? tensor.shape.map(Number) : [];
  if ("omitted" in tensor) throw new Omission(tensor.why || "left out");
  if ("pooled" in tensor && tensor.pooled) {
    const { rows, cols, mean, low, high } = tensor.pooled;
    const blockOf = (text: string, what: string) =>
      numbers(bytes(text, what, 4 * rows * cols), "float32") as Float32Array;
    const values = blockOf(mean, "the blocks' means");
    const [all, wide] = layout ?? flat(shape);
    return {
      rows, cols, shape, dtype: tensor.dtype, values, why: tensor.why ?? null, summary: summarize(values),
      text: (row, col) => exact(values[row * cols + col], "float32"),
      blocks: {
        low: blockOf(low, "the blocks' lowest values"), high: blockOf(high, "the blocks' highest values"),
        height: Math.ceil(all / rows), width: Math.ceil(wide / cols),
      },
    };
  }
  const { dtype, data } = tensor as Exact;
  if (!(dtype in WIDTHS)) throw new BadTensor(`its type is ${String(dtype)}; this page reads float32, float64 and int64`);
  if (typeof data !== "string") throw new BadTensor("its values are missing");
  const raw = numbers(bytes(data, "its data", size(shape) * WIDTHS[dtype]), dtype);
  const values = raw instanceof BigInt64Array ? Float64Array.from(raw, Number) : raw;
  const [rows, cols] = layout && layout[0] * layout[1] === values.length ? layout : flat(shape);
  return {
    rows, cols, shape, dtype, values, blocks: null, why: null, summary: summarize(values),
    text: (row, col) => exact(raw[row * cols + col], dtype),
  };
}

export function summarize(values: Float32Array | Float64Array): Summary {
  let low = Infinity, high = -Infinity, nan = 0, positive = 0, negative = 0;
  for (const value of values) {
    if (Number.isNaN(value)) nan++;
    else if (value === Infinity) positive++;
    else if (value === -Infinity) negative++;
    else {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) low = high = NaN;
  const limit = Math.max(Math.abs(low), Math.abs(high));
  return { low, high, limit: Number.isNaN(limit) ? 0 : limit, nan, positive, negative };
}

/** A number of the document, which may be written as "nan", "inf" or "-inf". */
export function num(value: Num | null | undefined): number | null {
  if (value == null) return null;
  if (value === "nan") return NaN;
  if (value === "inf") return Infinity;
  if (value === "-inf") return -Infinity;
  return Number(value);
}

/** The index of an entry in the tensor's own axes: [sample, ..., unit]. */
export function place(grid: Grid, row: number, col: number): number[] {
  const axes = grid.shape.length ? grid.shape : [1];
  let at = row * grid.cols + col;
  const index: number[] = [];
  for (let axis = axes.length - 1; axis >= 0; axis--) {
    index.unshift(at % axes[axis]);
    at = Math.floor(at / axes[axis]);
  }
  return index;
}
