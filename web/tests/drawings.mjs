// Every drawing function of src/draw with a fixed frame, compared by pixels with a stored picture: at most one pixel in a
// thousand may differ. node tests/drawings.mjs --write draws the pictures anew: look at them.
import { readFile, writeFile } from "node:fs/promises";
import { chromium } from "playwright-core";
import { build } from "vite";

const FOLDER = new URL("./drawings/", import.meta.url).pathname;
const MOST = 0.001;

async function program() {
  const lib = { entry: `${FOLDER}frames.ts`, formats: ["iife"], name: "drawing" };
  const [{ output }] = await build({ configFile: false, logLevel: "error", build: { lib, write: false } });
  return output[0].code;
}

export async function drawings(browser, wrong, write = false) {
  const page = await browser.newPage();
  await page.goto("about:blank");
  await page.addScriptTag({ content: await program() });
  for (const name of await page.evaluate(() => Object.keys(drawing.DRAWINGS))) {
    const file = `${FOLDER}${name}.png`;
    if (write) {
      const png = await page.evaluate((one) => drawing.drawn(one).toDataURL(), name);
      await writeFile(file, Buffer.from(png.split(",")[1], "base64"));
      continue;
    }
    const expected = `data:image/png;base64,${await readFile(file, "base64")}`;
    const share = await page.evaluate(([one, known]) => drawing.difference(drawing.drawn(one), known), [name, expected]);
    if (share > MOST) wrong.push(`drawing ${name}: ${(100 * share).toFixed(2)} % of its pixels differ from tests/drawings/${name}.png`);
  }
  await page.close();
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  const wrong = [];
  await drawings(browser, wrong, process.argv.includes("--write"));
  await browser.close();
  for (const line of wrong) console.error(line);
  process.exit(wrong.length === 0 ? 0 : 1);
}
