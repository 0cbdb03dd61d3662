import katex from "katex";

const known = new Map<string, string | null>();

/** MathML of a formula, or null where KaTeX cannot read it (its text is shown then). Nothing in it is trusted. */
export function mathml(latex: string, display = false): string | null {
  const key = (display ? "d" : "i") + latex;
  let found = known.get(key);
  if (found === undefined) {
    try {
      found = katex.renderToString(latex, {
        output: "mathml", displayMode: display, trust: false, strict: "ignore", throwOnError: true, maxExpand: 500,
      });
    } catch {
      found = null;
    }
    known.set(key, found);
  }
  return found;
}
