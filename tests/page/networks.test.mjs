// What a reader does in chapters 5 to 8, by mouse and by keyboard, and the mathematics that must hold then.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, drag, near, numbers, press, sum, times, value, whole } from "./hands.mjs";
import { matrix, site, until } from "./open.mjs";

const visit = site();

// Chapter 5

const node = (page, name) => numbers(page, `[data-widget=graph] [data-node="${name}"] .digit`);

test("backprop: steps through the graph; gradients are local times upstream, and measured", async () => {
  const { page, close } = await visit("/#/backprop");
  await until(() => node(page, "z"), (z) => z.length === 3 && z.every(Number.isFinite), "the first step is taken");
  assert.ok((await node(page, "h")).every(Number.isNaN), "the second is not");
  await page.locator("#graph-step").click();
  await until(() => node(page, "h"), (h) => h.every(Number.isFinite), "one step by mouse");
  await press(page, page.locator("#graph-step"), ["Enter"]);
  await until(() => node(page, "a"), (a) => a.every(Number.isFinite), "one step by key");
  await page.locator("#graph-back").press("Enter");
  await until(() => node(page, "a"), (a) => a.every(Number.isNaN), "one step back");
  await page.locator("#graph-all").click();
  await until(() => node(page, "d w1"), (d) => d.length === 6 && d.every(Number.isFinite), "all gradients");
  const [x, z, logP, da, dh, dz, dw1, w2] = await Promise.all(["x", "z", "log p", "d a", "d h", "d z", "d w1", "w2"].map((n) => node(page, n)));
  logP.forEach((l, k) => near(da[k], Math.exp(l) - (k === 0), 3e-4, "the gradient at the logits is p - y"));
  assert.ok(z.some((v) => v < 0), "a hidden unit is off");
  dh.forEach((d, k) => near(d, da[0] * w2[k] + da[1] * w2[3 + k], 3e-4, "a sum over both paths"));
  dz.forEach((d, k) => near(d, z[k] > 0 ? dh[k] : 0, 1e-6, "ReLU passes or stops"));
  dw1.forEach((d, k) => near(d, dz[k >> 1] * x[k % 2], 3e-4, "input times upstream"));
  const answer = await ask(page, page.locator('[data-widget=graph] [data-node="d w1"] .digit').first());
  near(answer.shown, answer.slope, 1e-4, "the numerical check");
  await close();
});

test("backprop: the error of the difference quotient is least in the middle", async () => {
  const { page, close } = await visit("/#/backprop");
  const row = (format) => page.locator(`[data-widget=check] tr[data-format=${format}] td`).allTextContents();
  const least = async (format) => {
    const cells = await until(() => row(format), (c) => /e = /.test(c[2] ?? ""), `${format}: a curve`);
    const [, error, e] = cells[2].match(/(\S+) \(e = (\S+)\)/);
    return [value(error), value(e)];
  };
  const slider = page.locator("[data-widget=check] input[type=range]");
  await slider.scrollIntoViewIfNeeded();
  const ends = {};
  for (const key of ["Home", "End"]) {
    const shown = () => page.locator("[data-widget=check] .slider output").textContent();
    await press(page, slider, [key]);
    await until(shown, (t) => value(t) === (key === "Home" ? 1e-8 : 1), "the end of the slider");
    await page.waitForTimeout(500);
    for (const format of ["f64", "f32"]) (ends[format] ??= []).push(value((await row(format))[1]));
  }
  for (const [format, lowest, highest] of [["f64", 1e-7, 1e-3], ["f32", 1e-4, 3e-1]]) {
    const [error, e] = await least(format);
    assert.ok(e > lowest && e < highest, `${format}: the best step is ${e}`);
    assert.ok(ends[format].every((v) => v > 10 * error), `${format}: ${ends[format]} at the ends, ${error} at best`);
  }
  // The same slider by mouse.
  await drag(page, slider, [0.98, 0.5], [0.5, 0.5]);
  await until(() => page.locator("[data-widget=check] .slider output").textContent(), (t) => value(t) > 1e-5 && value(t) < 1e-3, "the middle");
  await close();
});

// Chapter 6

test("matmul: an element of C is its row times its column, by mouse and keyboard, also after typing", async () => {
  const { page, close } = await visit("/#/matmul");
  const given = (name) => page.locator(`table[data-name=${name}] input`).evaluateAll((all) => all.map((i) => Number(i.value)));
  const cell = (m, n) => page.locator(`table[data-name=C] [data-at="${m},${n}"]`);
  const right = async (m, n) => {
    const [A, B] = [await given("A"), await given("B")];
    const expected = sum([0, 1, 2].map((k) => A[3 * m + k] * B[5 * k + n]));
    await until(async () => value(await cell(m, n).textContent()), (v) => Math.abs(v - expected) < 1e-5, `C[${m}, ${n}]`);
    await until(async () => value(await page.locator("#written .total").textContent()), (v) => Math.abs(v - expected) < 1e-5, "the sum written out");
  };
  await cell(0, 1).hover();
  await right(0, 1);
  assert.equal(await page.locator("table[data-name=A] td.lit").count(), 3, "a row of A");
  assert.equal(await page.locator("table[data-name=B] td.lit").count(), 3, "a column of B");
  await press(page, cell(0, 1), ["ArrowDown", "ArrowRight"]);
  await right(1, 2);
  await page.locator("table[data-name=A] input").nth(4).fill("7.5");
  await right(1, 2);
  await close();
});

test("matmul: reads of main memory fall with the side of the tile; every variant is measured", { timeout: 240_000 }, async () => {
  const { page, close } = await visit("/#/matmul");
  const reads = async () => value(await page.locator("#count output").textContent());
  assert.equal(await until(reads, Number.isFinite, "naive"), 48);
  await page.getByRole("button", { name: "tile shared by a workgroup" }).click();
  const slider = page.locator("[data-widget=tiles] input[type=range]");
  await press(page, slider, ["Home"]);
  const seen = [48];
  for (const side of [2, 3, 4]) {
    seen.push(await until(reads, (v) => v === 48 / side, `side ${side}`));
    await page.keyboard.press("ArrowRight");
  }
  assert.deepEqual(seen, [48, 24, 16, 12]);
  await drag(page, slider, [0.2, 0.5], [0.99, 0.5]);
  await until(reads, (v) => v === 4, "side 12, by mouse");
  const c = page.locator("[data-widget=tiles] .target");
  const before = await c.getAttribute("aria-valuenow");
  await c.hover({ position: { x: 5, y: 5 } });
  assert.notEqual(await c.getAttribute("aria-valuenow"), before, "the element under the mouse");
  await press(page, c, ["ArrowDown"]);
  assert.equal(await c.getAttribute("aria-valuenow"), "24");
  await page.locator("#race").click();
  const rows = () => page.locator(".race tbody tr").evaluateAll((all) => all.map((r) => [...r.cells].map((c) => c.textContent)));
  const done = await until(rows, (all) => all.every((r) => /\d/.test(r[2]) && /e−/.test(r[4])), "four measurements", 200_000);
  done.forEach((r) => assert.ok(value(r[4]) < 1e-4, `${r[0]}: error ${r[4]}`));
  await close();
});

// Chapter 7

const lit = (page) => numbers(page, "[data-widget=im2col] tr.lit td .digit");

test("convolution: the window, its row in the patch matrix and the output are the same numbers", async () => {
  const { page, close } = await visit("/#/convolution");
  const same = async () => {
    const [window, row] = [(await matrix(page, "window")).flat(), await lit(page)];
    const w = await page.locator("[data-widget=paint] .nine input").evaluateAll((all) => all.map((i) => Number(i.value)));
    if (!whole(window) || row.length !== 10) return false;
    const y = sum(window.map((v, k) => v * w[k]));
    return window.every((v, k) => Math.abs(v - row[k]) < 1e-4) && Math.abs(row[9] - y) < 2e-3 && window.some((v) => v > 0);
  };
  await until(same, Boolean, "the row is the window");
  const first = await lit(page);
  await drag(page, page.locator("[data-widget=paint] .pick svg").first(), [0.45, 0.47], [0.7, 0.6]);
  await until(async () => (await lit(page)).join() !== first.join() && (await same()), Boolean, "the window by mouse");
  const second = await lit(page);
  await press(page, page.locator("[data-widget=paint] .pick svg").first(), times(3, "ArrowLeft"));
  await until(async () => (await lit(page)).join() !== second.join() && (await same()), Boolean, "the window by keys");
  const paint = page.locator("[data-widget=paint]");
  await paint.getByRole("group", { name: "Brush" }).getByRole("button", { name: "2", exact: true }).click();
  await drag(page, paint.locator(".nine"), [0.1, 0.15], [0.9, 0.15]);
  assert.deepEqual(await paint.locator(".nine input").evaluateAll((all) => all.slice(0, 3).map((i) => Number(i.value))), [2, 2, 2]);
  await until(same, Boolean, "with the painted kernel");
  await paint.getByRole("group", { name: "stride S" }).getByRole("button", { name: "2" }).press("Enter");
  await until(() => page.locator("#size").textContent(), (t) => t.endsWith("= 14"), "stride 2 halves the size");
  // The window stood beyond the smaller output; from its corner back into the picture.
  await press(page, page.locator("[data-widget=paint] .pick svg").first(), [...times(6, "ArrowUp"), ...times(6, "ArrowLeft")]);
  await until(same, Boolean, "with stride 2");
  await close();
});

test("convolution: the gradient of the kernel is what a small change does, and a step against it helps", async () => {
  const { page, close } = await visit("/#/convolution");
  const loss = async () => value(await page.locator('[data-widget=weight-gradient] [data-name="L"]').textContent());
  const first = await until(loss, (v) => v > 0.01, "a loss");
  await until(() => matrix(page, "d w"), whole, "a gradient");
  const answer = await ask(page, page.locator('[data-widget=weight-gradient] table[data-name="d w"] button').nth(4));
  near(answer.shown, answer.derived, 1e-5, "the sum over all windows");
  near(answer.slope, answer.shown, 1e-4, "the difference quotient");
  await page.locator("#descend").click();
  const second = await until(loss, (v) => v < first, "one step against the gradient");
  await page.locator("#descend-many").press("Enter");
  await until(loss, (v) => v < 0.5 * second, "twenty more");
  await page.locator("#descend-many:not([disabled])").waitFor();
  // The output equals the target when the kernel does: nothing is left to correct.
  await page.locator("[data-widget=paint]").getByRole("button", { name: "sharpen" }).click();
  await until(loss, (v) => v === 0, "no loss");
  assert.ok((await matrix(page, "d w")).flat().every((v) => v === 0), "all nine are 0");
  await close();
});

// Chapter 8

test("cnn: training lowers the loss; the slider goes back; a wrong image says why", { timeout: 300_000 }, async () => {
  const { page, close } = await visit("/#/cnn");
  const step = () => page.locator("#run-status").getAttribute("data-step").then(Number);
  await page.locator("#train:not([disabled])").click();
  await until(step, (n) => n >= 60, "sixty steps", 200_000);
  await page.locator("#train").press("Enter");
  await page.locator("#train", { hasText: "Train" }).waitFor();
  const loss = await until(() => numbers(page, "[data-widget=train] .curve:first-child .legend b"), whole, "losses");
  assert.ok(loss[0] < 1.5, `from 2.303 down to ${loss[0]}`);
  const filters = () => page.locator("[data-widget=filters] canvas").evaluateAll((all) => all.map((c) => c.toDataURL()).join());
  const trained = await filters();
  const moment = page.locator("#moment");
  await press(page, moment, ["Home"]);
  await until(() => page.locator("[data-widget=filters] output").textContent(), (t) => t === "step 0", "back to the noise");
  assert.notEqual(await filters(), trained);
  await press(page, moment, ["End"]);
  await until(filters, (f) => f === trained, "and forward again");

  // What is shown belongs to the weights as they are now.
  const told = () => page.locator("[data-widget=confusion] p.quiet").last().textContent();
  const last = await step();
  await until(told, (t) => t.includes(`step ${last}:`), "scored after the last step", 60_000);
  const counts = () => numbers(page, "table.confusion button");
  const confusion = await until(counts, (all) => all.length === 100, "a confusion matrix", 60_000);
  const right = sum(confusion.filter((_, k) => k % 11 === 0));
  const summary = await told();
  assert.ok(summary.includes(`${((100 * right) / sum(confusion)).toFixed(1)}%`), `${right} of ${sum(confusion)}: ${summary}`);
  const worst = confusion.reduce((best, n, k) => (k % 11 !== 0 && n > confusion[best] ? k : best), 1);
  await page.locator("table.confusion button").nth(worst).click();
  await until(() => page.locator(".gallery button").count(), (n) => n === Math.min(24, confusion[worst]), "its images");
  await page.locator(".gallery button").first().press("Enter");
  await until(() => matrix(page, "logits"), (l) => whole(l) && l[0].length === 10, "its logits", 60_000);
  const logits = (await matrix(page, "logits"))[0];
  assert.equal(logits.indexOf(Math.max(...logits)), worst % 10, "the largest logit is the answer it gave");
  const answer = await ask(page, page.locator('.why table[data-name="logits"] button').nth(worst % 10));
  near(answer.shown, answer.derived, 1e-3, "the logit's derivation");
  await close();
});
