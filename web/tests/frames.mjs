// Counts, over some seconds of training, how often the browser draws and how often it shows another step: JSON.
import { chromium } from "playwright-core";

const [address, seconds] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
page.setDefaultTimeout(120000);
await page.goto(address);
await page.locator("button.primary").click();
await page.waitForTimeout(1000);
const counted = await page.evaluate(async (milliseconds) => {
  let [drawn, changed, last] = [0, 0, ""];
  const until = performance.now() + milliseconds;
  await new Promise((done) => {
    const look = (now) => {
      drawn++;
      const step = document.querySelector(".steps strong").textContent;
      if (step !== last) [changed, last] = [changed + 1, step];
      if (now < until) requestAnimationFrame(look);
      else done();
    };
    requestAnimationFrame(look);
  });
  return { drawn: (1000 * drawn) / milliseconds, changed: (1000 * changed) / milliseconds };
}, 1000 * Number(seconds));
console.log(JSON.stringify(counted));
await browser.close();
