// What every peer is timed by.

/** Milliseconds of each repetition of `work`, after some that do not count. */
export async function timed(warmUp, repeats, work) {
  const out = [];
  for (let k = 0; k < warmUp + repeats; k++) {
    const start = performance.now();
    await work();
    if (k >= warmUp) out.push(performance.now() - start);
  }
  return out;
}
