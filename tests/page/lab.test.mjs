// The Lab: recipes, runs that go on natively and back, the reader's own files, failures.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { folder, losses, native, pictures, png, same, unpack } from "./files.mjs";
import { killGpuProcess, matrix, site, until } from "./open.mjs";

const visit = site();

const step = (page) => page.locator("#run-status").getAttribute("data-step").then(Number);
const field = (page, key) => page.locator(`#recipe-form [name="${key}"]`);

/** Builds the recipe and waits for the run. */
async function build(page) {
  await page.locator("#build").click();
  await page.locator("#about").filter({ hasText: /\d/ }).waitFor({ timeout: 60_000 });
  await page.locator("#step:not([disabled])").waitFor();
}

/** Takes `n` single steps. */
async function take(page, n) {
  for (let k = 0; k < n; k++) {
    const at = await step(page);
    await page.locator("#step").click();
    await until(() => step(page), (s) => s === at + 1, "a step", 60_000);
  }
}

/** Sets a key by the form. */
async function set(page, key, value) {
  await field(page, key).fill(value);
  await field(page, key).press("Tab");
}

/** What a button saves, as a file's path. */
async function saved(page, button) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator(button).click()]);
  const path = join(folder(), download.suggestedFilename());
  await download.saveAs(path);
  return path;
}

test("text and form follow each other", async () => {
  const { page, close } = await visit("/#/lab");
  const text = page.locator("#recipe-text");
  await until(() => text.inputValue(), (t) => t.includes("fashion-sample"), "the recipe");
  await set(page, "optimizer.lr", "0.005");
  await until(() => text.inputValue(), (t) => /lr = 0.005/.test(t), "the text follows the form");
  assert.match(await text.inputValue(), /^# A first run/, "comments stay");
  await text.fill((await text.inputValue()).replace("batch = 64", "batch = 32"));
  await until(() => field(page, "train.batch").inputValue(), (v) => v === "32", "the form follows the text");
  await field(page, "optimizer.kind").selectOption("sgd");
  await field(page, "optimizer.momentum").waitFor();
  assert.equal(await field(page, "optimizer.betas").count(), 0, "sgd has no betas");
  await page.locator("#add-layer").selectOption("gelu");
  await until(() => text.inputValue(), (t) => /"gelu",\n {4}"fc1/.test(t), "a layer before the last");
  await text.fill((await text.inputValue()).replace("batch = 32", "batch = 0"));
  assert.match(await page.locator("#recipe-error").textContent(), /train\.batch/);
  assert.ok(await page.locator("#build").isDisabled(), "a wrong recipe is not built");
  assert.equal(await field(page, "optimizer.lr").inputValue(), "0.005", "the form stays");
  await text.fill((await text.inputValue()).replace("batch = 0", "batch = 16"));
  const url = await until(() => page.url(), (u) => u.includes("batch+%3D+16"), "the address has the text");
  const other = await visit(url.slice(url.indexOf("/#")));
  await until(() => field(other.page, "train.batch").inputValue(), (v) => v === "16", "a link brings the recipe");
  await other.close();
  await close();
});

test("every key of the form has a meaning in Chinese", async () => {
  const { page, close } = await visit("/#/lab", { locale: "zh-CN" });
  await page.locator("#recipe-form .entry").first().waitFor();
  for (const kind of ["adam", "sgd", "rmsprop", "adamw"]) {
    await field(page, "optimizer.kind").selectOption(kind);
    for (const shape of ["constant", "step", "cosine"]) {
      await field(page, "schedule.kind").selectOption(shape);
      const texts = await page.locator("#recipe-form .entry small").allTextContents();
      assert.deepEqual(texts.filter((t) => !/\p{Script=Han}/u.test(t)), [], `${kind}, ${shape}`);
    }
  }
  await close();
});

test("20 steps of seed-cnn-32: here, natively, and each continued by the other", { timeout: 600_000 }, async () => {
  const long = join(folder(), "long");
  const half = join(folder(), "half");
  await native("train", "seed-cnn-32", "--set", "train.steps=20", "--backend", "cpu", "--out", long);
  await native("train", "seed-cnn-32", "--set", "train.steps=10", "--backend", "cpu", "--out", half);
  const course = losses(long);
  const all = [...Array(20).keys()].map((k) => k + 1);

  const { page, close } = await visit("/#/lab?recipe=seed-cnn-32", { acceptDownloads: true });
  await set(page, "train.steps", "20");
  await build(page);
  await take(page, 10);
  const middle = await unpack(await saved(page, "#save-run"));
  await take(page, 10);
  const end = await unpack(await saved(page, "#save-run"));
  same(losses(end), course, all, 1e-4);

  // Begun here, continued natively.
  await native("train", "--resume", middle, "--backend", "cpu");
  same(losses(middle), course, all, 1e-4);

  // Begun natively, continued here.
  await page.locator("#open-folder").setInputFiles(half);
  await until(() => step(page), (s) => s === 10, "the native run's step", 60_000);
  await page.locator("#extend").click();
  await take(page, 10);
  const back = await unpack(await saved(page, "#save-run"));
  same(losses(back), course, all, 1e-4);

  // Its weights are PyTorch's names and shapes, as the native file has them.
  const weights = readFileSync(await saved(page, "#save-weights"));
  const header = (bytes) => JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString());
  const shapes = (h) => Object.entries(h).filter(([k]) => k !== "__metadata__").map(([k, v]) => `${k} ${v.shape}`).sort();
  assert.deepEqual(shapes(header(weights)), shapes(header(readFileSync(join(long, "last.safetensors")))));
  await close();
});

test("a native run whose images are not here can be looked into", { timeout: 300_000 }, async () => {
  const root = pictures(12);
  const run = join(folder(), "own");
  await native("train", "quick", "--backend", "cpu", "--out", run, "--set", "data.set=folder", "--set", `data.root=${root}`,
    "--set", "data.normalize=none", "--set", "train.batch=8", "--set", "train.epochs=3");
  const { page, close } = await visit("/#/lab");
  await page.locator("#open-folder").setInputFiles(run);
  await page.locator(".notice").waitFor({ timeout: 60_000 });
  assert.match(await page.locator(".notice").textContent(), /images are not here/);
  const steps = Math.max(...losses(run).keys());
  assert.equal(await step(page), steps, "it stands where it ended");
  assert.ok(await page.locator("#train").isDisabled());
  await page.locator(".curve .key").first().waitFor();
  // A picture goes through it all the same.
  await page.locator("#own-picture").setInputFiles({ name: "a.png", mimeType: "image/png", buffer: png(16, (x, y) => (y < 8 ? [210, 180, 90] : [25, 30, 90])) });
  await page.locator("#own-said .leaf").first().filter({ hasText: "above" }).waitFor({ timeout: 30_000 });
  // With its images it trains further.
  await page.locator("#open-folder").setInputFiles(root);
  await page.locator("#pictures").waitFor();
  await page.locator("#open-folder").setInputFiles(run);
  await until(() => page.locator(".notice").count(), (n) => n === 0, "the images are here now", 30_000);
  await page.locator("#extend").click();
  await take(page, 1);
  assert.equal(await step(page), steps + 1);
  await close();
});

test("a folder of pictures is trained on, and another recipe compared", { timeout: 300_000 }, async () => {
  const root = pictures(20);
  const { page, close } = await visit("/#/lab");
  await page.locator("#open-folder").setInputFiles(root);
  assert.match(await page.locator("#pictures").textContent(), /2 classes, 32 pictures to train on and 8 to test/);
  assert.equal(await field(page, "data.set").inputValue(), "folder");
  for (const key of ["data.normalize.mean", "data.normalize.std"]) await set(page, key, "");
  await set(page, "train.batch", "8");
  await set(page, "train.epochs", "6");
  await build(page);
  await page.locator("#train").click();
  await until(() => page.locator("#train").isDisabled(), (d) => d, "the run ends", 60_000);
  const scores = page.locator("figure[data-widget=confusion]");
  await until(() => scores.textContent(), (t) => /accuracy 100\.0 ?%/.test(t), "it tells the classes apart");
  await set(page, "optimizer.lr", "0.0004");
  await build(page);
  await take(page, 2);
  const table = page.locator("#differences");
  await until(() => table.textContent().catch(() => ""), (t) => t.includes("optimizer.lr"), "what differs");
  const row = await table.locator("tr", { hasText: "optimizer.lr" }).locator("td").allTextContents();
  assert.deepEqual(row, ["0.002", "0.0004"]);
  await close();
});

test("an image layer by layer: a channel's numbers, and where they come from", { timeout: 180_000 }, async () => {
  const { page, close } = await visit("/#/lab");
  await build(page);
  await take(page, 1);
  await page.locator("#own-picture").setInputFiles({ name: "x.png", mimeType: "image/png", buffer: png(28, (x, y) => [x * 9, y * 9, 128]) });
  const layers = page.locator(".layers section");
  await until(() => layers.count(), (n) => n >= 8, "the layers", 30_000);
  const names = await layers.evaluateAll((all) => all.map((s) => s.dataset.layer));
  assert.equal(names[0], "input");
  // The gradient with respect to the logits sums to 0: p - y.
  await page.locator("#target").selectOption("0");
  const gradient = page.locator('.layers section[data-layer="logits"] .strip.backward button');
  const node = await gradient.getAttribute("data-node");
  await until(async () => {
    await gradient.click();
    return (await matrix(page, "window", "figure[data-widget=layers]"))[0] ?? [];
  }, (m) => m.length === 8 && m[0] < 0 && m.slice(1).every((v) => v > 0), "p - y: negative at the label alone");
  await page.locator("figure[data-widget=layers] table.matrix button.cell").first().click();
  await until(() => page.locator("#derivation .answer").getAttribute("data-node"), (d) => d === node, "its derivation");
  const { value, derived } = await page.locator("#derivation .answer").evaluate((e) => ({ ...e.dataset }));
  assert.ok(Math.abs(value - derived) < 1e-6);
  const before = await page.locator("#own-said").textContent();
  await page.locator("#invert").check();
  await until(() => page.locator("#own-said").textContent(), (t) => t !== before, "light and dark changed places");
  await page.locator("#count").click();
  const totals = await until(() => page.locator(".histogram").evaluateAll((h) => h.map((e) => Number(e.dataset.total))), (t) => t.length >= 6, "histograms");
  assert.deepEqual(totals.slice(0, 4), [144, 144, 16, 16], "every weight and every gradient is counted");
  await close();
});

test("blood cells are colour, and the recipe says so", { timeout: 180_000 }, async () => {
  const { page, close } = await visit("/#/lab");
  await field(page, "data.set").selectOption("blood-cells");
  await page.locator("#build").click();
  const alert = page.locator("figure[data-widget=train] [role=alert]");
  await until(() => alert.allTextContents(), (t) => /normalize has 1 channels/.test(t.join()), "the error names the key", 60_000);
  await set(page, "data.normalize.mean", "0.5, 0.5, 0.5");
  await set(page, "data.normalize.std", "0.25, 0.25, 0.25");
  await build(page);
  assert.match(await page.locator("#about").textContent(), /3×64×64.*3 classes/);
  await take(page, 1);
  await close();
});

test("a GPU process that dies takes no training with it", { timeout: 300_000 }, async () => {
  const { page, close } = await visit("/#/lab");
  await page.locator("#device[data-backend=cpu]").waitFor();
  await page.getByRole("button", { name: "Use WebGPU" }).click();
  await page.locator("#device[data-backend=gpu]").waitFor();
  await build(page);
  await take(page, 2);
  assert.ok(killGpuProcess() > 0, "a GPU process to kill");
  await page.locator("#train").click();
  await page.locator(".notice").filter({ hasText: "The device failed" }).waitFor({ timeout: 120_000 });
  assert.match(await page.locator(".notice").textContent(), /Nothing before step 2 is lost/);
  await until(() => step(page), (s) => s > 2, "training goes on", 120_000);
  await page.locator("#train").click();
  await close();
});

test("a kept run outlives the page; a hidden page pauses unless told otherwise", { timeout: 180_000 }, async () => {
  const { page, close } = await visit("/#/lab");
  await page.locator("#keep").check();
  await build(page);
  await take(page, 3);
  await page.locator("#kept").filter({ hasText: "quick" }).waitFor({ timeout: 30_000 });
  await page.reload();
  await page.locator("#open-kept").click();
  await until(() => step(page), (s) => s === 3, "the kept step", 60_000);
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  }, hidden);
  await page.locator("#train").click();
  await until(() => step(page), (s) => s > 3, "training");
  await hide(true);
  await page.locator("#train").filter({ hasText: "Train" }).waitFor();
  await hide(false);
  await page.locator("#pause-hidden").uncheck();
  const at = await step(page);
  await page.locator("#train").click();
  await hide(true);
  await until(() => step(page), (s) => s > at + 3, "it goes on though nobody looks", 60_000);
  await page.locator("#train").click();
  await page.locator("#kept .link").click();
  await until(() => page.locator("#kept").count(), (n) => n === 0, "forgotten");
  await close();
});

test("files that are nothing the page knows are named, and nothing is lost", async () => {
  const { page, close } = await visit("/#/lab");
  await build(page);
  const alert = page.locator("figure[data-widget=files] [role=alert]");
  await page.locator("#open-files").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("x") });
  await alert.filter({ hasText: "notes.txt" }).waitFor();
  await page.locator("#open-files").setInputFiles({ name: "w.safetensors", mimeType: "application/octet-stream", buffer: Buffer.from("junk") });
  await page.locator("figure[data-widget=train] [role=alert]").filter({ hasText: "not a safetensors file" }).waitFor();
  await page.locator("#open-files").setInputFiles({ name: "r.zip", mimeType: "application/zip", buffer: Buffer.from("PK no") });
  await page.locator("figure[data-widget=train] [role=alert]").filter({ hasText: "not an archive" }).waitFor();
  await take(page, 1);
  await close();
});
