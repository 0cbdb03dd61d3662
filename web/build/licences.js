import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The folder of the package that a module belongs to, or null for a module of ours. */
function packageOf(id) {
  const path = id.split("?")[0].replace(/^\0/, "");
  if (!path.includes("node_modules")) return null;
  let folder = dirname(path);
  while (folder !== dirname(folder)) {
    const file = join(folder, "package.json");
    if (existsSync(file) && JSON.parse(readFileSync(file, "utf8")).version) return folder;
    folder = dirname(folder);
  }
  return null;
}

function licenceOf(folder) {
  const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).sort().find((name) => /^licen[cs]e/i.test(name));
  const text = file ? readFileSync(join(folder, file), "utf8") : "";
  const copyright = text.split("\n").map((line) => line.trim()).filter((line) => /^copyright/i.test(line));
  return { name: `${about.name} ${about.version}`, licence: about.license, copyright, text: text.trim() };
}

/** Heads the module with the names, copyrights and licences of all packages whose code is in it. */
export function licences() {
  return {
    name: "licences",
    enforce: "post",
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type !== "chunk") continue;
        const folders = new Set(Object.keys(file.modules).map(packageOf).filter(Boolean));
        const found = [...folders].map(licenceOf).sort((a, b) => (a.name < b.name ? -1 : 1));
        const lines = found.map((one) => `${one.name} (${one.licence}). ${one.copyright.join(" ")}`.trim());
        const texts = [...new Set(found.map((one) => one.licence))].sort().map((licence) => {
          const { text } = found.find((one) => one.licence === licence && one.text) ?? { text: "" };
          return `${licence}:\n${text.replace(/^\s*copyright.*\n?/gim, "").replaceAll("*/", "* /").trim()}`;
        });
        file.code = `/*!\nHandgrad's page, built from web/. It holds code of:\n\n${lines.join("\n")}\n\n${texts.join("\n\n")}\n*/\n${file.code}`;
      }
    },
  };
}
