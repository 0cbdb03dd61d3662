import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";
import { inlineStyle } from "./build/inline-style.js";
import { licences } from "./build/licences.js";

export default defineConfig({
  plugins: [
    // Styles are named by their content alone, so that the built file does not depend on where it was built.
    svelte({ configFile: false, compilerOptions: { cssHash: ({ hash, css }) => `hg-${hash(css)}` } }),
    inlineStyle(),
    licences(),
  ],
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  build: {
    target: "es2022",
    outDir: "../src/handgrad/explain/view",
    emptyOutDir: false,
    cssCodeSplit: false,
    modulePreload: false,
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
    // Not Vite's library mode, which would leave the white space in.
    rolldownOptions: {
      input: "src/main.ts",
      preserveEntrySignatures: "strict",
      output: { format: "es", entryFileNames: "page.js", assetFileNames: "page[extname]", codeSplitting: false },
      checks: { pluginTimings: false },
    },
  },
  test: { include: ["tests/**/*.test.ts"], css: true, testTimeout: 120_000 },
});
