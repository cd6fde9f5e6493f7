// Files for the tests of the Lab: pictures, and the native program's runs.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { crc32, deflateSync } from "node:zlib";

/** A folder of its own for a test. */
export const folder = () => mkdtempSync(join(tmpdir(), "chainrule-page-"));

/** A PNG of one colour channel per value in `pixel(x, y)` = [r, g, b]. */
export function png(side, pixel) {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const rows = [];
  for (let y = 0; y < side; y++) {
    rows.push(0);
    for (let x = 0; x < side; x++) rows.push(...pixel(x, y));
  }
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk("IHDR", head), chunk("IDAT", deflateSync(Buffer.from(rows))), chunk("IEND", Buffer.alloc(0))]);
}

/** Pictures of two classes, bright above or bright below, in a folder each. */
export function pictures(count) {
  const root = join(folder(), "stripes");
  for (const [name, top] of [["above", true], ["below", false]]) {
    mkdirSync(join(root, name), { recursive: true });
    for (let k = 0; k < count; k++) {
      const bright = (y) => (y < 8) === top;
      writeFileSync(join(root, name, `${k}.png`), png(16, (x, y) => [bright(y) ? 200 + k : 20 + x, bright(y) ? 180 : 30, 90]));
    }
  }
  return root;
}

/** Runs the native program: what it says. */
export async function native(...args) {
  const { stdout } = await promisify(execFile)(process.env.CHAINRULE_BIN, args, { maxBuffer: 1 << 26 });
  return stdout;
}

/** The losses of a run's logged steps, by step. */
export function losses(run) {
  const lines = readFileSync(join(run, "metrics.jsonl"), "utf8").trim().split("\n").map((l) => JSON.parse(l));
  return new Map(lines.filter((l) => l.event === "step").map((l) => [l.step, l.loss]));
}

/** Unpacks an archive of one folder: the folder. */
export async function unpack(archive) {
  const to = folder();
  await promisify(execFile)("python3", ["-m", "zipfile", "-e", archive, to]);
  const names = readdirSync(to);
  assert.equal(names.length, 1, `${names}`);
  return join(to, names[0]);
}

/** Both have these steps, and their losses differ by at most `bound`. */
export function same(a, b, steps, bound) {
  for (const step of steps) {
    assert.ok(a.has(step) && b.has(step), `step ${step} is in both`);
    assert.ok(Math.abs(a.get(step) - b.get(step)) <= bound, `step ${step}: ${a.get(step)} and ${b.get(step)}`);
  }
}
