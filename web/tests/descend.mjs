// The view Descend in a browser: sliders, keys and clicks set the race anew, a step moves the rules.

export async function descend(page, address, wrong) {
  await page.goto(`${address}#descend?problem=chain`);
  await page.waitForSelector(".view.descend canvas");
  const follows = (pattern, what) =>
    page.waitForFunction((text) => new RegExp(text).test(location.hash), pattern, { timeout: 30000 }).catch(() => wrong.push(`descend: ${what}`));
  await page.locator('input[type="range"]').nth(1).focus();
  await page.keyboard.press("ArrowLeft");
  await follows("momentum=0\\.8", "a key does not move the slider of the momentum");
  await page.getByRole("button", { name: "One step" }).click();
  await page.waitForFunction(() => document.querySelector(".steps strong").textContent === "1", null, { timeout: 30000 });
  await page.waitForTimeout(500); // words come later, and may move what is below them
  const handle = await page.locator('input[type="range"]').first().boundingBox();
  const across = (share) => [handle.x + share * handle.width, handle.y + handle.height / 2];
  await page.mouse.move(...across(0.5));
  await page.mouse.down();
  await page.mouse.move(...across(0.8), { steps: 5 });
  await follows("rate=(0\\.[4-9]|[1-9])", "the slider of the rate acts only when it is let go");
  if ((await page.locator(".steps strong").innerText()) !== "1") wrong.push("descend: under a slider the steps are not taken again");
  await page.mouse.up();
  const race = page.locator('[role="application"]').first();
  await race.focus();
  await page.keyboard.press("ArrowRight");
  await follows("start_a=-0\\.65", "an arrow key does not move the start");
  await race.click();
  await follows("start_a=-?0\\.0", "a click does not move the start");
  await page.setViewportSize({ width: 1920, height: 1080 });
  await race.click({ position: { x: 1.2 * 53, y: 1.2 * 7 } });
  await follows("start_a=-0\\.99", "a click at the left edge does not move the start there on a projector, where drawings are larger");
  await page.setViewportSize({ width: 1280, height: 800 });
  const before = await page.locator("td").first().innerText();
  await page.getByRole("button", { name: "One step" }).click();
  await page.waitForFunction((text) => document.querySelector("td").innerText !== text, before, { timeout: 30000 })
    .catch(() => wrong.push("descend: a step moves nothing"));
  await page.goto(`${address}#descend?problem=line&rate=0.5&batch=1000`);
  await page.waitForSelector(".view.descend canvas");
  for (let step = 0; step < 5; step++) await page.getByRole("button", { name: "One step" }).click();
  await page.waitForFunction(() => /Diverged: /.test(document.querySelector(".said").textContent), null, { timeout: 30000 })
    .catch(() => wrong.push("descend: rules that diverge are not told"));
  if ((await page.locator("td", { hasText: "diverged" }).count()) === 0) wrong.push("descend: the standing does not say who diverged");
  if ((await page.locator("th svg").count()) !== 5) wrong.push("descend: the standing does not show how the rules are drawn");
}
