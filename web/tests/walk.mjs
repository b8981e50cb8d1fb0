// A walk through every view in Debian's Chromium: each language, light and dark, wide and narrow, with a screenshot of each
// in web/screenshots, and axe-core, which must find nothing. Exits 1 with a sentence for each thing that is wrong.
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { audit } from "./audit.mjs";
import { inside } from "./inside.mjs";
import { startLab } from "./lab.mjs";
import { map } from "./map.mjs";

const SCREENSHOTS = new URL("../screenshots/", import.meta.url).pathname;
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const wrong = [];

async function check(page, where) {
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
  });
  for (const line of found) wrong.push(`${where}: axe ${line}`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (wide > 1) wrong.push(`${where}: the page is ${wide} pixels wider than the window`);
}

async function open(browser, address, settings) {
  const context = await browser.newContext({ bypassCSP: false, ...settings });
  await context.addInitScript(axe);
  const page = await context.newPage();
  page.on("pageerror", (error) => wrong.push(`${settings.locale}: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") wrong.push(`${settings.locale}: ${message.text()}`);
  });
  await page.goto(address);
  await page.waitForSelector("nav a");
  return page;
}

const views = [];

/** One click lets a network learn; the users of a weight are seen at once. */
async function learn(page, view) {
  const button = page.locator("button.primary");
  if ((await button.count()) === 0) return;
  const before = await page.locator(".steps strong").innerText();
  await button.first().click();
  await page.waitForFunction((text) => document.querySelector(".steps strong")?.textContent !== text, before, { timeout: 30000 });
  await page.waitForTimeout(1500);
  await button.first().click();
  await page.waitForTimeout(700);
  if (view === "share") {
    const shown = await page.locator(".said").first().innerText();
    if (!/\d/.test(shown)) wrong.push(`share: no users are told: ${shown}`);
  }
}

async function walk(browser, address, name, settings) {
  const page = await open(browser, address, settings);
  const names = await page.locator("nav a").evaluateAll((links) => links.map((link) => link.getAttribute("href").slice(1)));
  if (views.length === 0) views.push(...names);
  for (const view of names) {
    await page.locator(`nav a[href="#${view}"]`).click();
    await page.waitForSelector(`.view.${view}`, { timeout: 60000 });
    if (name === "en-light") await learn(page, view);
    await page.waitForTimeout(400);
    await check(page, `${view} ${name}`);
    await page.screenshot({ path: `${SCREENSHOTS}${view}-${name}.png`, fullPage: true });
  }
  await page.context().close();
}

/** Keys alone: every control can be reached, arrows choose another weight. */
async function keyboard(browser, address) {
  const page = await open(browser, `${address}#share`, { locale: "en-US", viewport: { width: 1280, height: 800 } });
  await page.waitForSelector(".view.share");
  const matrix = page.locator('[role="application"]').last();
  await matrix.focus();
  const reading = page.locator(".reading").first();
  const before = await reading.innerText();
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction((text) => document.querySelector(".reading").textContent !== text, before, { timeout: 20000 })
    .catch(() => wrong.push("share: the arrow keys do not choose another weight"));
  await page.getByRole("button", { name: /Python/ }).press("Enter");
  await page.waitForSelector("dialog[open] pre");
  await check(page, "dialog");
  await page.keyboard.press("Escape");
  if ((await page.locator("dialog[open]").count()) > 0) wrong.push("the dialog stays open after Escape");
  await page.context().close();
}

/** What is checked in one view only, with a page of its own. */
async function alone(browser, address, checks) {
  const page = await open(browser, address, { locale: "en-US", viewport: { width: 1280, height: 800 } });
  await checks(page, address, wrong);
  await check(page, checks.name);
  await page.context().close();
}

await mkdir(SCREENSHOTS, { recursive: true });
const lab = await startLab();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const wide = { viewport: { width: 1280, height: 800 } };
  await walk(browser, lab.address, "en-light", { ...wide, locale: "en-US", colorScheme: "light" });
  await walk(browser, lab.address, "en-dark", { ...wide, locale: "en-US", colorScheme: "dark" });
  await walk(browser, lab.address, "zh-Hans-light", { ...wide, locale: "zh-CN", colorScheme: "light" });
  await walk(browser, lab.address, "zh-Hant-dark", { ...wide, locale: "zh-TW", colorScheme: "dark" });
  const narrow = { viewport: { width: 390, height: 844 }, locale: "en-US", reducedMotion: "reduce" };
  await walk(browser, lab.address, "en-narrow", narrow);
  await keyboard(browser, lab.address);
  await alone(browser, lab.address, audit);
  await alone(browser, lab.address, map);
  await alone(browser, lab.address, inside);
} finally {
  await browser.close();
  await lab.end();
}
for (const line of wrong) console.error(line);
console.log(`walked through ${views.length} views: ${wrong.length === 0 ? "all well" : `${wrong.length} things are wrong`}`);
process.exit(wrong.length === 0 && views.length > 0 ? 0 : 1);
