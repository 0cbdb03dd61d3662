/** The shortest decimal that reads back as the same float32; of two as near as each other the even one, as NumPy has it. */
export function shortest32(x: number): string {
  for (let digits = 1; digits <= 9; digits++) {
    const near = Number(x.toPrecision(digits));
    const step = Math.sign(x) * 10 ** (Math.floor(Math.log10(Math.abs(x))) - digits + 1);
    const beside = (way: number) => Number((near + way * step).toPrecision(digits));
    if (Math.fround(near) === x) {
      const longer = x.toPrecision(digits + 1);
      const tie = /5(e|$)/.test(longer) && Number(longer) === x && /[13579](e|$)/.test(x.toPrecision(digits));
      return decimal(tie && Math.fround(beside(-1)) === x ? beside(-1) : near);
    }
    // At a power of two the gap below is half the gap above: a decimal farther off may still read back.
    if (Math.abs(near) < Math.abs(x) && Math.fround(beside(1)) === x) return decimal(beside(1));
  }
  return decimal(x);
}

const decimal = (x: number): string => (Object.is(x, -0) ? "-0" : String(x));

/** All digits of a value: the shortest decimal that reads back as the same float32, float64 or int64. */
export function exact(x: number | bigint, dtype = "float64"): string {
  if (typeof x === "bigint") return String(x);
  if (!Number.isFinite(x)) return special(x);
  return dtype === "float32" && x !== 0 ? shortest32(x) : decimal(x);
}

function special(x: number): string {
  return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
}

/** A number in a few digits, for tables and legends: 0.01234, 1.235e-7. least: below it, powers of ten are used. */
export function brief(x: number | null | undefined, digits = 4, least = 1e-4): string {
  if (x == null) return "–";
  if (!Number.isFinite(x)) return special(x);
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (Number.isInteger(x) && size < 1e6) return String(x);
  if (size >= least && size < 10 ** Math.max(digits, 5)) return String(Number(x.toPrecision(digits)));
  const [mantissa, exponent] = x.toExponential(digits - 1).split("e");
  return `${Number(mantissa)}e${Number(exponent)}`;
}

export const percent = (share: number): string =>
  share > 0 && share < 0.001 ? "<0.1%" : `${Number((100 * share).toPrecision(share >= 0.1 ? 3 : 2))}%`;

/** A shape as people write it: 64 × 10; a scalar's is "scalar". */
export const shapeText = (shape: number[]): string => (shape.length ? shape.join(" × ") : "scalar");

export function bytesText(n: number): string {
  if (n < 1000) return `${n} B`;
  const unit = n < 1e6 ? "kB" : n < 1e9 ? "MB" : "GB";
  const scale = n < 1e6 ? 1e3 : n < 1e9 ? 1e6 : 1e9;
  return `${Number((n / scale).toPrecision(3))} ${unit}`;
}

export const plural = (n: number, one: string, many = `${one}s`): string => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
