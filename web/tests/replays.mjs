// A replay of every view is one file that plays without the lab and asks the network for nothing.
import { setTimeout } from "node:timers/promises";
import { PLACES } from "./lab.mjs";

export async function replays(browser, address, views, folder, check, axe, wrong) {
  for (const view of views) {
    const file = `${folder}replay-${view}.html`;
    await record(browser, `${address}${PLACES[view] ?? `#${view}`}`, view, file);
    await play(browser, file, view, check, axe, wrong);
  }
}

async function record(browser, place, view, file) {
  const context = await browser.newContext({ locale: "en-US", viewport: { width: 1280, height: 800 }, acceptDownloads: true });
  const page = await context.newPage();
  await page.goto(place);
  await page.waitForSelector(`.view.${view}`, { timeout: 60000 });
  const run = page.locator(".transport button.primary");
  if ((await run.count()) > 0) {
    await run.click();
    await setTimeout(1500);
    await run.click();
  }
  if (view === "share") await page.locator(".controls select").first().selectOption("local");
  await setTimeout(1000);
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: /replay/i }).click();
  await (await saved).saveAs(file);
  await context.close();
}

async function play(browser, file, view, check, axe, wrong) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-US" });
  await context.addInitScript(axe);
  const page = await context.newPage();
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => wrong.push(`replay of ${view}: ${error.message}`));
  await page.goto(`file://${file}`);
  await page.waitForSelector(".replay input", { timeout: 60000 }).catch(() => wrong.push(`replay of ${view}: nothing is played`));
  await setTimeout(800);
  if ((await page.locator(`.view.${view} .card`).count()) === 0) wrong.push(`replay of ${view}: nothing is shown`);
  await page.screenshot({ path: file.replace(".html", ".png"), fullPage: true });
  await check(page, `replay of ${view}`);
  const others = asked.filter((url) => !/^(file|data|blob):/.test(url));
  if (others.length > 0) wrong.push(`replay of ${view}: asks for ${others.join(", ")}`);
  await context.close();
}
