// What every view has: its Python, a table and a PNG of each figure.
import { readFile } from "node:fs/promises";
import { PLACES } from "./lab.mjs";

const VIEWS = ["play", "share", "inside", "descend", "run", "map", "audit"];

export async function everywhere(page, address, wrong) {
  for (const view of VIEWS) {
    await page.goto("about:blank");
    await page.goto(`${address}${PLACES[view] ?? `#${view}`}`);
    await page.waitForSelector(`.view.${view} figure .drawing`);
    await page.getByRole("button", { name: /Python/ }).click();
    const code = await page.locator("dialog pre").innerText();
    if (!/import/.test(code) || !/commonweight/.test(code)) wrong.push(`${view}: its Python is not shown: ${code.slice(0, 100)}`);
    await page.getByRole("button", { name: "Close", exact: true }).click();
    const saving = page.getByRole("button", { name: /as a PNG/ });
    const tables = page.getByRole("button", { name: /as a table/ });
    const drawn = await page.locator("figure:has(.drawing)").count();
    if ((await saving.count()) !== drawn || (await tables.count()) !== drawn) wrong.push(`${view}: of ${drawn} figures ${await saving.count()} have a PNG and ${await tables.count()} a table`);
    for (let figure = 0; figure < drawn; figure++) {
      const saved = page.waitForEvent("download", { timeout: 20000 });
      await saving.nth(figure).click();
      const png = await saved.then((download) => download.path()).catch(() => wrong.push(`${view}: figure ${figure + 1} is not saved as a PNG`));
      const canvas = page.locator("figure:has(.drawing)").nth(figure).locator("canvas").first();
      const below = typeof png === "string" ? (await readFile(png)).readUInt32BE(20) - (await canvas.evaluate(({ height }) => height)) : 30;
      if (below < 30) wrong.push(`${view}: the PNG of figure ${figure + 1} has no title`);
      await tables.nth(figure).click();
    }
    const rows = await page.locator("figure tbody").evaluateAll((bodies) => bodies.map((body) => body.rows.length));
    if (rows.length !== drawn || rows.some((count) => count === 0)) wrong.push(`${view}: the tables of its ${drawn} figures have ${rows} rows`);
  }
}
