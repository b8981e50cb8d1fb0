// The view Audit in a browser: a checkpoint is given by its file, its tie is drawn and told, a wrong file is refused.

/** The bytes of a safetensors file with float32 tensors. */
function safetensors(tensors) {
  const header = {};
  let place = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [place, place + 4 * data.length] };
    place += 4 * data.length;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const numbers = Object.values(tensors).map(({ data }) => Buffer.from(Float32Array.from(data).buffer));
  return Buffer.concat([length, text, ...numbers]);
}

const data = Array.from({ length: 12 }, (_, k) => k + 0.5);
const turned = Array.from({ length: 12 }, (_, k) => data[(k % 3) * 4 + Math.floor(k / 3)]);

export async function audit(page, address, wrong) {
  await page.goto(`${address}#audit`);
  await page.waitForSelector(".view.audit");
  const input = page.locator('input[type="file"]');
  const file = { name: "two.safetensors", mimeType: "application/octet-stream" };
  const body = safetensors({ encoder: { shape: [3, 4], data }, decoder: { shape: [4, 3], data: turned } });
  await input.setInputFiles({ ...file, buffer: body });
  await page.waitForSelector(".view.audit canvas", { timeout: 30000 });
  const graph = page.locator('[role="application"]').first();
  await graph.focus();
  await page.keyboard.press("ArrowDown");
  const said = await page.locator(".said").first().innerText();
  if (!/encoder/.test(said) || !/decoder/.test(said)) wrong.push(`audit: the tie is not told: ${said}`);
  await page.locator('input[type="file"]').setInputFiles({ ...file, name: "a.safetensors", buffer: Buffer.from("nothing") });
  await page.locator(".note.refused").waitFor({ timeout: 30000 }).catch(() => wrong.push("audit: a damaged file is not told"));
}
