/** Puts the one style sheet of the build into the module as a string, and leaves no other file. */
export function inlineStyle() {
  return {
    name: "inline-style",
    enforce: "post",
    generateBundle(_options, bundle) {
      const sheets = Object.values(bundle).filter((file) => file.type === "asset" && file.fileName.endsWith(".css"));
      const text = sheets.map((sheet) => String(sheet.source).trim()).join("\n");
      for (const sheet of sheets) delete bundle[sheet.fileName];
      for (const file of Object.values(bundle)) {
        if (file.type !== "chunk") continue;
        const places = file.code.split(/(["'`])__HANDGRAD_STYLE__\1/);
        if (places.length !== 3) this.error(`expected one place for the style sheet, found ${(places.length - 1) / 2}`);
        file.code = places[0] + JSON.stringify(text) + places[2];
      }
    },
  };
}
