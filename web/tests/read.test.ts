import { describe, expect, test } from "vitest";
import { readDocument } from "../src/document/read.js";
import { mathml } from "../src/parts/tex.js";
import { document, scalar } from "./documents.js";

const problem = (given: unknown) => readDocument(given).problem!;

describe("documents", () => {
  test("text and object read alike", () => {
    expect(readDocument(JSON.stringify(scalar))).toEqual(readDocument(scalar));
    expect(readDocument(scalar).collection!.documents[0].variants[0].frames[0].loss).toBe(6);
  });

  test("several in one", () => {
    const found = readDocument({ ...scalar, variants: undefined, title: "both", documents: [scalar, document(["a"], [])] });
    expect(found.collection).toMatchObject({ title: "both" });
    expect(found.collection!.documents).toHaveLength(2);
  });

  test("what is optional may be missing, and kinds that are not known are kept", () => {
    const bare = { format: "handgrad.view", version: 1, variants: [{ graph: { nodes: [{ id: "a", kind: "new" }], edges: [] }, frames: [{}] }] };
    const [variant] = readDocument(bare).collection!.documents[0].variants;
    expect(variant.graph.nodes[0]).toMatchObject({ label: "a", kind: "new", shape: [], patterns: [], parameters: [] });
    expect(variant.frames[0]).toMatchObject({ loss: null, nodes: {}, parameters: {} });
  });

  test("what is wrong is named", () => {
    const text = JSON.stringify(scalar);
    expect(problem(text.slice(0, text.length / 2)).title).toBe("The document is cut short");
    expect(problem("").title).toBe("The document is empty");
    expect(problem("{]}").title).toBe("The document is not JSON");
    expect(problem({ ...scalar, version: 3 }).detail).toContain("this page reads version 1");
    expect(problem({ ...scalar, format: "other" }).detail).toContain('"other"');
    expect(problem({ ...scalar, variants: [] }).detail).toContain("variants is empty");
    expect(problem({ ...scalar, variants: [{}] }).detail).toContain("variants[0].graph should be an object, got missing");
    expect(problem([1]).detail).toContain("should be an object");
    expect(problem(null).detail).toContain("should be an object");
    expect(problem(undefined).detail).toContain("should be an object");
    expect(problem(document(["a", "a"], [])).title).toBe("Two nodes have one name");
    expect(problem(document(["a"], [["a", "b"]])).detail).toContain('names the node "b"');
  });

  test("a name that is markup stays text", () => {
    const found = readDocument(document(["<script>alert(1)</script>"], []));
    expect(found.collection!.documents[0].variants[0].graph.nodes[0].label).toBe("<script>alert(1)</script>");
  });

  test("a name of Object's own does no harm", () => {
    const { variants } = readDocument(document(["__proto__", "constructor"], [["__proto__", "constructor"]])).collection!.documents[0];
    expect(variants[0].graph.nodes.map((node) => node.id)).toEqual(["__proto__", "constructor"]);
  });
});

describe("formulas", () => {
  test("become MathML alone", () => {
    const found = mathml("\\frac{\\partial L}{\\partial W} = X^\\top G")!;
    expect(found).toContain("<math");
    expect(found).not.toMatch(/katex-html|style=/);
  });

  test("that KaTeX cannot read are null", () => {
    expect(mathml("\\frac{1")).toBeNull();
    expect(mathml("\\nosuchcommand{1}")).toBeNull();
  });

  test("bring no markup or link of their own", () => {
    expect(mathml("\\text{<img src=x onerror=alert(1)>}")).not.toContain("<img");
    expect(mathml("\\href{javascript:alert(1)}{x}") ?? "").not.toContain("href=");
    expect(mathml("\\htmlClass{a}{x}") ?? "").not.toContain('class="a"');
  });
});
