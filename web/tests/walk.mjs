// A walk through every view in Debian's Chromium: each language, light and dark, wide and narrow, with a screenshot of each
// in web/screenshots, and axe-core, which must find nothing. Exits 1 with a sentence for each thing that is wrong. With words
// such as en-light, keyboard or replays only these parts of the walk are taken.
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { audit } from "./audit.mjs";
import { descend } from "./descend.mjs";
import { drawings } from "./drawings.mjs";
import { everywhere } from "./everywhere.mjs";
import { inside } from "./inside.mjs";
import { makeFolder, PLACES, startLab } from "./lab.mjs";
import { links } from "./links.mjs";
import { map } from "./map.mjs";
import { play } from "./play.mjs";
import { refusals } from "./refusals.mjs";
import { replays } from "./replays.mjs";
import { run } from "./run.mjs";
import { share } from "./share.mjs";

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
  for (const text of await page.evaluate(cutOff)) wrong.push(`${where}: “${text}” is cut off`);
}

/** Words that do not fit: the chosen word of a select beside its arrow, and text that is wider than its box. */
function cutOff() {
  const ARROW = 20;
  const ctx = document.createElement("canvas").getContext("2d");
  const selects = [...document.querySelectorAll("select")].filter((select) => {
    const { font, paddingLeft } = getComputedStyle(select);
    ctx.font = font;
    const text = select.selectedOptions[0]?.textContent ?? "";
    return select.clientWidth > 0 && !text.includes("/") && ctx.measureText(text).width > select.clientWidth - parseFloat(paddingLeft) - ARROW;
  });
  const boxes = [...document.querySelectorAll("button, h2, h3, dt, dd, .field, .stepper, .panel, .card, .said, .help")].filter(
    (one) => one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== "auto",
  );
  return [...selects.map((select) => select.selectedOptions[0].textContent), ...boxes.map((one) => one.textContent.trim().slice(0, 60))];
}

async function open(browser, address, settings) {
  const context = await browser.newContext({ bypassCSP: false, ...settings });
  await context.addInitScript(axe);
  const page = await context.newPage();
  page.setDefaultTimeout(120000);
  page.on("pageerror", (error) => wrong.push(`${settings.locale}: ${new URL(page.url()).hash}: ${error.stack}`));
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
  await page.waitForFunction((text) => document.querySelector(".steps strong")?.textContent !== text, before, { timeout: 120000 });
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
    await page.waitForSelector(`.view.${view}`, { timeout: 120000 });
    if (PLACES[view]) await page.evaluate((place) => (location.hash = place), PLACES[view]);
    await page.waitForSelector(`.view.${view} .card`, { timeout: 120000 });
    if (name === "en-light") await learn(page, view);
    await page.waitForTimeout(1200); // drawings that are scrolled away are drawn once a second
    await check(page, `${view} ${name}`);
    await page.screenshot({ path: `${SCREENSHOTS}${view}-${name}.png`, fullPage: true });
  }
  await page.context().close();
}

/** Keys alone: every control can be reached, arrows choose another weight. */
async function keyboard(browser, address) {
  const page = await open(browser, `${address}#share`, { locale: "en-US", viewport: { width: 1280, height: 800 } });
  await page.waitForSelector(".view.share");
  const matrix = page.locator("figure", { hasText: "Tied weights, as a matrix" }).locator('[role="application"]');
  await matrix.focus();
  const reading = page.locator(".reading").first();
  const before = await reading.innerText();
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction((text) => document.querySelector(".reading").textContent !== text, before, { timeout: 120000 })
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

/** The tour leads through five steps, each with a frame around what it is about. */
async function tour(browser, address) {
  const page = await open(browser, address, { locale: "zh-CN", viewport: { width: 1280, height: 800 } });
  await page.waitForSelector(".view.play");
  await page.locator("header.top button", { hasText: "导览" }).click();
  for (let step = 1; step <= 5; step++) {
    await page.waitForSelector(".toured");
    await page.waitForTimeout(300);
    await check(page, `tour ${step}`);
    if (step === 3) await page.screenshot({ path: `${SCREENSHOTS}tour.png` });
    if (step < 5) await page.locator(".tour button.primary").click();
    await page.waitForTimeout(300);
  }
  await page.keyboard.press("Escape");
  if ((await page.locator(".tour").count()) > 0) wrong.push("the tour does not end at Escape");
  await page.context().close();
}

await mkdir(SCREENSHOTS, { recursive: true });
const lab = await startLab(await makeFolder());
lab.address = lab.address.split("#")[0];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const [wide, narrow, projector] = [[1280, 800], [390, 844], [1920, 1080]].map(([width, height]) => ({ viewport: { width, height } }));
  const looks = {
    "en-light": { ...wide, locale: "en-US", colorScheme: "light" },
    "en-dark": { ...wide, locale: "en-US", colorScheme: "dark" },
    "zh-Hans-light": { ...wide, locale: "zh-CN", colorScheme: "light" },
    "zh-Hant-dark": { ...projector, locale: "zh-TW", colorScheme: "dark" },
    "en-narrow": { ...narrow, locale: "en-US", reducedMotion: "reduce" },
  };
  const wanted = (part) => process.argv.length < 3 || process.argv.includes(part);
  for (const [name, settings] of Object.entries(looks)) if (wanted(name)) await walk(browser, lab.address, name, settings);
  if (wanted("keyboard")) await keyboard(browser, lab.address);
  if (wanted("tour")) await tour(browser, lab.address);
  for (const checks of [play, share, inside, descend, run, map, audit, everywhere]) if (wanted(checks.name)) await alone(browser, lab.address, checks);
  if (wanted("refusals")) await refusals(browser, lab.address, wrong);
  if (wanted("links")) await links(browser, lab.address, wrong);
  if (wanted("drawings")) await drawings(browser, wrong);
  const all = ["play", "share", "inside", "descend", "run", "map", "audit"];
  if (wanted("replays")) await replays(browser, lab.address, all, SCREENSHOTS, check, axe, wrong);
} finally {
  await browser.close();
  await lab.end();
}
for (const line of wrong) console.error(line);
console.log(`walked through ${views.length} views: ${wrong.length === 0 ? "all well" : `${wrong.length} things are wrong`}`);
process.exit(wrong.length === 0 && process.argv.length + views.length > 2 ? 0 : 1);
