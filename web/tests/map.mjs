// The view Map in a browser: arrow keys and clicks choose another unit, a link restores the settings.

export async function map(page, address, wrong) {
  await page.goto(`${address}#map?data=iris&rows=4&columns=4`);
  await page.waitForSelector(".view.map canvas");
  const cells = page.locator('[role="application"]').nth(1);
  const said = page.locator("figure .said").nth(1);
  const first = await said.innerText();
  await cells.focus();
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction((text) => document.querySelectorAll("figure .said")[1].textContent !== text, first, { timeout: 20000 })
    .catch(() => wrong.push("map: an arrow key does not choose the next unit"));
  const second = await said.innerText();
  await cells.click();
  await page.waitForFunction((text) => document.querySelectorAll("figure .said")[1].textContent !== text, second, { timeout: 20000 })
    .catch(() => wrong.push("map: a click does not choose a unit"));
  await page.getByRole("button", { name: "One step" }).click();
  await page.waitForFunction(() => document.querySelector(".steps strong").textContent === "1", null, { timeout: 20000 })
    .catch(() => wrong.push("map: one step is not one step"));
  await page.goto(`${address}#map?data=digits&rows=3&columns=3&feature=9`);
  await page.getByText("pixel in row 2, column 2").waitFor({ timeout: 20000 }).catch(() => wrong.push("map: a pixel is not named by its place"));
}
