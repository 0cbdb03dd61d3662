import type { Theme } from "../numbers/palette.js";

/** Tell the theme that the notebook or the system asks for, now and whenever it changes. Returns how to stop. */
export function followTheme(tell: (theme: Theme) => void): () => void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const now = () => {
    const notebook = document.body?.dataset.jpThemeLight;
    const dark = notebook === undefined ? system.matches : notebook === "false";
    tell(dark ? "dark" : "light");
  };
  now();
  system.addEventListener("change", now);
  const watch = new MutationObserver(now);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  return () => {
    system.removeEventListener("change", now);
    watch.disconnect();
  };
}
