import { mount as attach, unmount } from "svelte";
import App from "./App.svelte";
import { Page } from "./page.svelte.js";
import { styleElement } from "./style/sheet.js";

/** The page fills a window ("page"), or stands in a notebook's cell with a height of its own ("cell"). */
export type Setting = "page" | "cell";

export interface Handle {
  /** Show another document in the same page. */
  update(given: unknown): void;
  destroy(): void;
}

/** Show a document, its JSON text or the object, inside an element. What is wrong with it is said on the page. */
export function mount(element: HTMLElement, given: unknown, setting: Setting = "page"): Handle {
  const root = document.createElement("div");
  root.className = "handgrad";
  root.dataset.setting = setting;
  // JupyterLab's own shortcuts would take the arrow keys away.
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  root.append(styleElement());
  element.replaceChildren(root);
  const page = new Page();
  page.load(given);
  const app = attach(App, { target: root, props: { page, root } });
  return {
    update: (next) => page.load(next),
    destroy: () => {
      void unmount(app);
      root.remove();
    },
  };
}

interface Model {
  get(name: string): unknown;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

/** anywidget's entry: the document is the model's "document", a JSON text, shown anew whenever it changes. */
function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const handle = mount(el, model.get("document"), "cell");
  const changed = () => handle.update(model.get("document"));
  model.on("change:document", changed);
  return () => {
    model.off("change:document", changed);
    handle.destroy();
  };
}

export default { render };
