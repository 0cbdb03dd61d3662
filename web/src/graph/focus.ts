import { tick } from "svelte";

/** Give the keyboard to a node of the graph; one out of sight is drawn once the view has moved to it. */
export async function focusNode(within: Element | null | undefined, id: string): Promise<void> {
  for (let i = 0; i < 20; i++) {
    await tick();
    const node = within?.querySelector<HTMLElement>(`[data-node="${CSS.escape(id)}"]`);
    if (node) return node.focus({ preventScroll: true });
    await new Promise((done) => requestAnimationFrame(done));
  }
}
