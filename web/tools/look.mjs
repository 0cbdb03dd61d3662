// npm run look -- page.html ... : opens each file in Chromium with both themes, wide and narrow, walks through it, writes
// pictures to pictures/ and says what the console, the network and axe-core have to say.
import axe from "axe-core";
import { mkdirSync } from "node:fs";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { launch } from "./browser.mjs";

const OUT = "pictures";
const SIZES = [[1400, 900], [420, 800]];

/** What can be seen: a name, and how to get there. false where this page has no such view. */
const VIEWS = {
  start: async () => true,
  node: async (page) => {
    const nodes = await page.$$("[data-node]");
    if (!nodes.length) return false;
    await nodes[Math.min(1, nodes.length - 1)].evaluate((node) => node.click());
  },
  step: async (page) => {
    const next = await page.$('[data-walk="next"]');
    if (!next) return false;
    await next.click();
    await next.click();
  },
  compare: (page) => tab(page, "Side by side"),
  report: (page) => tab(page, "Report"),
};

async function tab(page, name) {
  const button = page.getByRole("button", { name, exact: true });
  if (!(await button.count())) return false;
  await button.click();
}

async function look(browser, file, colorScheme, [width, height]) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, bypassCSP: true });
  const page = await context.newPage();
  const said = [];
  page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(`error: ${error.message}`));
  page.on("request", (request) => !/^(file|data):/.test(request.url()) && said.push(`request: ${request.url()}`));
  await page.goto(pathToFileURL(resolve(file)).href);
  await page.waitForSelector("[data-node], [role=alert], .empty");
  for (const [view, go] of Object.entries(VIEWS)) {
    if ((await go(page)) === false) continue;
    await page.waitForTimeout(250);
    await page.screenshot({ path: `${OUT}/${basename(file, ".html")}-${colorScheme}-${width}-${view}.png`, fullPage: width < 800 });
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    for (const one of violations) said.push(`${view}: ${one.impact} ${one.id}: ${one.nodes.map((node) => node.target).join("; ")}`);
  }
  await context.close();
  return [...new Set(said)];
}

mkdirSync(OUT, { recursive: true });
const browser = await launch();
let faults = 0;
for (const file of process.argv.slice(2)) {
  for (const theme of ["light", "dark"]) {
    for (const size of SIZES) {
      const said = await look(browser, file, theme, size);
      faults += said.length;
      console.log(basename(file), theme, size[0], said.length ? `\n  ${said.join("\n  ")}` : "nothing to complain of");
    }
  }
}
await browser.close();
process.exitCode = faults ? 1 : 0;
