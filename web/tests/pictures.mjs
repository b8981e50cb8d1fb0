// Writes the pictures of docs/lab.md, and the replay of sharing switched off and on: node tests/pictures.mjs [VIEW ...]
import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";
import { makeFolder, PLACES, startLab } from "./lab.mjs";

const OUT = new URL("../../docs/lab/", import.meta.url).pathname;
const wanted = process.argv.slice(2);
await mkdir(OUT, { recursive: true });
const lab = await startLab(await makeFolder());
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });

async function open(place, settings) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true, ...settings });
  const page = await context.newPage();
  page.setDefaultTimeout(120000);
  await page.goto(lab.address.split("#")[0] + place);
  await page.waitForSelector("nav a");
  return page;
}

/** Press Run, wait until so many steps are shown, press Pause. */
async function train(page, steps) {
  const button = page.locator("button.primary").first();
  if ((await button.count()) === 0) return;
  await button.click();
  await page
    .waitForFunction(
      (wanted) => Number((document.querySelector(".steps strong")?.textContent ?? "0").replace(/\D/g, "")) >= wanted,
      steps,
      { timeout: 60000 },
    )
    .catch(() => undefined);
  await button.click();
  await page.waitForTimeout(1500);
}

const looks = [
  ["en", { locale: "en-US", colorScheme: "light" }],
  ["zh-Hans", { locale: "zh-CN", colorScheme: "dark" }],
];
const STEPS = { play: 1500, share: 400 };
const first = await open("", looks[0][1]);
const views = await first.locator("nav a").evaluateAll((links) => links.map((link) => link.getAttribute("href").slice(1)));
await first.context().close();
for (const [name, settings] of looks) {
  for (const view of views.filter((found) => wanted.length === 0 || wanted.includes(found))) {
    const page = await open(PLACES[view] ?? `#${view}`, settings);
    await page.waitForSelector(`.view.${view} .card`);
    await train(page, STEPS[view] ?? 200);
    await page.waitForTimeout(800);
    await page.screenshot({ path: `${OUT}${view}-${name}.png` });
    await page.context().close();
  }
}

if (wanted.length === 0 || wanted.includes("sharing")) await record();
await browser.close();
await lab.end();

/** Sharing, switched off and on again, as one file. */
async function record() {
  const page = await open("#share?maps=4&rate=0.02", looks[0][1]);
  await page.waitForSelector(".view.share");
  for (const pattern of ["conv", "local", "conv"]) {
    await page.locator(".controls select").first().selectOption(pattern);
    await page.waitForTimeout(800);
    await train(page, { conv: 150, local: 300 }[pattern]);
  }
  await train(page, 450);
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: /replay/i }).click();
  await (await saved).saveAs(`${OUT}sharing.html`);
}
