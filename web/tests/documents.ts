/** The bytes of an array as a document holds them. */
export const base64 = (array: Float32Array | Float64Array | BigInt64Array): string =>
  btoa(String.fromCharCode(...new Uint8Array(array.buffer, array.byteOffset, array.byteLength)));

const one = (value: number) => ({ shape: [], dtype: "float64", data: base64(new Float64Array([value])) });

const node = (id: string, more: object = {}) => ({
  id, label: id, kind: "op", role: "plain", group: null, shape: [4, 3], formula: null, local: null, patterns: [],
  derivation: null, parameters: [], cache: [], ...more,
});

const edge = ([source, target]: [string, string], more: object = {}) => ({
  id: `${source} → ${target}`, source, target, letter: null, shape: [4, 3], local: null, ...more,
});

const stats = (more: object = {}) => ({
  mean: 0, std: 1, min: -1, max: 1, quantiles: [-1, -0.5, 0, 0.5, 1], zeros: 0, gradient_norm: 1, dead: null, units: null,
  saturation: null, cache_bytes: 0, ...more,
});

/** A document with nothing but a graph. */
export function document(nodes: string[], edges: [string, string][]) {
  return {
    format: "handgrad.view", version: 1, library: "0.1", title: "test", report: null,
    variants: [{
      label: "", graph: { nodes: nodes.map((id) => node(id)), edges: edges.map((ends) => edge(ends)), equations: {} },
      frames: [{ label: "", loss: 1, gradient_norm: 1, nodes: {}, edges: {}, parameters: {} }],
    }],
  };
}

/** f = x * y at x = 2, y = 3. */
export const scalar = {
  ...document([], []),
  variants: [{
    label: "",
    graph: {
      nodes: [
        node("x", { kind: "input", shape: [] }), node("y", { kind: "input", shape: [] }),
        node("f", { label: "x * y", shape: [], cache: [{ name: "x", shape: [], bytes: 0, what: "its input", alias: "x" }] }),
      ],
      edges: [edge(["x", "f"], { shape: [] }), edge(["y", "f"], { shape: [] })],
      equations: {},
    },
    frames: [{
      label: "", loss: 6, gradient_norm: Math.sqrt(13),
      nodes: {
        x: { value: one(2), gradient: one(3) }, y: { value: one(3), gradient: one(2) },
        f: { value: one(6), gradient: one(1), numbers: "2 · 3 = 6" },
      },
      edges: { "x → f": { local: one(3), downstream: "gradient" }, "y → f": { local: one(2), downstream: "gradient" } },
      parameters: {},
    }],
  }],
};

/** A layer, its parameters and an activation, with the numbers that the strip shows. */
export function measured(layers: { ratio: number | string | null; gradient: number | string; dead?: number }[]) {
  const nodes = layers.map((_, i) => node(`${i}`, {
    kind: "layer", parameters: [{ name: `${i}.weight`, letter: "W", shape: [], shared: [`${i}`], local: null }],
  }));
  const given = document([], []);
  const [variant] = given.variants;
  return {
    ...given,
    variants: [{
      ...variant,
      graph: { nodes, edges: [], equations: {} },
      frames: [{
        ...variant.frames[0],
        nodes: Object.fromEntries(layers.map((layer, i) => [
          `${i}`, { value: null, gradient: null, stats: stats({ gradient_norm: layer.gradient, dead: layer.dead ?? null, units: 8 }) },
        ])),
        parameters: Object.fromEntries(layers.map((layer, i) => [
          `${i}.weight`, { value: one(i === 0 ? 0 : 1), gradient: one(1), update_ratio: layer.ratio, gradient_norm: layer.gradient },
        ])),
      }],
    }],
  };
}
