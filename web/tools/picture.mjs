// npm run picture -- page.html "Handwritten digits" 2 out.png : the picture of the README, 1400 by 900 in the light theme:
// the example whose title begins so, with that node open.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { launch } from "./browser.mjs";

const [file, title, node, out] = process.argv.slice(2);
if (!out) throw new Error("name a page, the title of an example, a node and the picture's file");
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1400, height: 900 }, colorScheme: "light" });
await page.goto(pathToFileURL(resolve(file)).href);
const choice = page.locator("header select");
const titles = await choice.locator("option").allTextContents();
const at = titles.findIndex((one) => one.startsWith(title));
if (at < 0) throw new Error(`no example begins with ${title}; there are ${titles.join("; ")}`);
await choice.selectOption({ index: at });
await page.click(`[data-node="${node}"]`);
await page.mouse.move(700, 880);
// Upstream, local, downstream are what the picture is for: below the panel's header, which stays.
await page.locator("[data-flow]").first().evaluate((flow) => {
  const panel = flow.closest("section.panel"), header = panel.querySelector("header");
  panel.scrollTop += flow.closest("div.panel > section").getBoundingClientRect().top - header.getBoundingClientRect().bottom;
});
await page.waitForTimeout(300);
await page.screenshot({ path: out });
await browser.close();
