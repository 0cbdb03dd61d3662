/**
 * Colours of signed values: blue below zero, orange above, the paper's own colour at zero, symmetric in lightness, so
 * that people who see red and green as one still read it. NaN and infinities stand outside it, hatched.
 */
type RGB = [number, number, number];

const LIGHT: { negative: RGB[]; zero: RGB; positive: RGB[] } = {
  negative: [[9, 44, 92], [33, 102, 172], [103, 169, 219], [190, 220, 240]],
  zero: [250, 249, 247],
  positive: [[250, 214, 178], [240, 158, 84], [200, 88, 16], [108, 38, 4]],
};

const DARK: { negative: RGB[]; zero: RGB; positive: RGB[] } = {
  negative: [[214, 238, 255], [120, 190, 245], [50, 122, 190], [28, 66, 104]],
  zero: [22, 25, 29],
  positive: [[98, 56, 20], [178, 96, 24], [244, 160, 72], [255, 228, 196]],
};

export const STEPS = 256;

function table(stops: { negative: RGB[]; zero: RGB; positive: RGB[] }): Uint32Array {
  const all = [...stops.negative, stops.zero, ...stops.positive];
  return Uint32Array.from({ length: 2 * STEPS + 1 }, (_, i) => {
    const at = (i / (2 * STEPS)) * (all.length - 1);
    const left = Math.min(Math.floor(at), all.length - 2);
    const [r, g, b] = all[left].map((from, k) => Math.round(from + (all[left + 1][k] - from) * (at - left)));
    return pack([r, g, b]);
  });
}

const pack = ([r, g, b]: RGB): number => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

const TABLES = { light: table(LIGHT), dark: table(DARK) };

/** Pairs of colours for hatching, for NaN, +inf and -inf. */
const HATCHES = {
  light: { nan: [pack([214, 20, 160]), pack([255, 214, 244])], inf: [pack([124, 58, 196]), pack([226, 208, 250])] },
  dark: { nan: [pack([255, 92, 214]), pack([96, 12, 76])], inf: [pack([186, 140, 255]), pack([58, 28, 96])] },
};

export type Theme = "light" | "dark";

/** The colour of a finite value as packed little-endian RGBA; `limit` is the magnitude of the palette's ends. */
export function colour(value: number, limit: number, theme: Theme): number {
  const share = limit > 0 ? Math.max(-1, Math.min(1, value / limit)) : 0;
  return TABLES[theme][STEPS + Math.round(share * STEPS)];
}

/** The colour of one pixel of NaN or an infinity: stripes, rising for +inf and NaN, falling for -inf. */
export function hatch(value: number, x: number, y: number, theme: Theme): number {
  const [line, ground] = Number.isNaN(value) ? HATCHES[theme].nan : HATCHES[theme].inf;
  const along = value === -Infinity ? x - y : x + y;
  return (((along % 6) + 6) % 6) < 3 ? line : ground;
}

export function css(packed: number): string {
  return `rgb(${packed & 255} ${(packed >> 8) & 255} ${(packed >> 16) & 255})`;
}

/** The palette as a CSS gradient, from -limit to limit. */
export function gradient(theme: Theme): string {
  const stops = [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1].map((share) => css(colour(share, 1, theme)));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
