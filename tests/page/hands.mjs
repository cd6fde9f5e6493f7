// A reader's hands and eyes for the tests of the chapters: drag, press, read numbers, ask one where it
// came from.

import assert from "node:assert/strict";
import { until } from "./open.mjs";

export const value = (text) => Number(text.trim().replaceAll("−", "-"));
export const near = (a, b, by, what) => assert.ok(Math.abs(a - b) <= by, `${what}: ${a} and ${b}`);
export const sum = (all) => all.reduce((a, b) => a + b, 0);

/** The numbers of all elements that a selector finds. */
export const numbers = (page, selector) => page.locator(selector).allTextContents().then((all) => all.map(value));

/** Waits for numbers that are all there and that `good` accepts. */
export const settled = (page, selector, good, what) =>
  until(() => numbers(page, selector), (all) => all.length > 0 && all.every(Number.isFinite) && good(all), what);

/** Presses at one place of an element and lets go at another, in shares of its width and height. */
export async function drag(page, element, from, to) {
  await element.scrollIntoViewIfNeeded();
  const box = await element.boundingBox();
  const at = ([x, y]) => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(from));
  await page.mouse.down();
  await page.mouse.move(...at(to), { steps: 8 });
  await page.mouse.up();
}

export async function press(page, element, keys) {
  await element.focus();
  for (const key of keys) await page.keyboard.press(key);
}
export const times = (n, key) => Array(n).fill(key);

/** Asks for the number of a button: the panel's value, what the definition gives, and its words. */
export async function ask(page, button) {
  await button.click();
  const answer = page.locator("#derivation .answer");
  await answer.waitFor();
  const { value: shown, derived } = await answer.evaluate((e) => ({ ...e.dataset }));
  const text = await answer.textContent();
  const check = page.locator("#derivation .check output");
  const slope = (await check.count()) > 0 ? value(await check.textContent()) : undefined;
  const leaves = await page.locator("#derivation .leaf").allTextContents();
  await page.keyboard.press("Escape");
  return { shown: Number(shown), derived: Number(derived), text, slope, leaves };
}

/** Whether a matrix is there, with a number in each place. */
export const whole = (all) => all.length > 0 && all.flat().every(Number.isFinite);
