// The same work in jax-js: the reference network at 32x32, Adam, batch 64, the loss read after each step; and a
// square product. Each is one jitted function, as its guide advises; Adam stands here, inside the jit, since npm
// has no package of its optimisers. Arrays are counted: a call takes its arguments, `.ref` keeps one.

import { blockUntilReady, defaultDevice, init, jit, lax, nn, numpy as np, random, tree, valueAndGrad } from "@jax-js/jax";
import { timed } from "./timed.mjs";

const BATCH = 64;

async function use(device) {
  if (!(await init(device)).includes(device)) throw new Error(`jax-js has no ${device} here`);
  defaultDevice(device);
}

function uniform(shape, limit, seed) {
  return random.uniform(random.key(seed), shape, { minval: -limit, maxval: limit });
}

/** The mean cross-entropy of a batch; takes its arguments. */
function lossOf({ w1, b1, w2, b2 }, x, y) {
  const conv = lax.convGeneralDilated(x, w1, [1, 1], [[1, 1], [1, 1]]);
  const hidden = nn.relu(conv.add(b1.reshape([1, 32, 1, 1]))).reshape([BATCH, -1]);
  const log = nn.logSoftmax(np.dot(hidden, w2).add(b2), -1);
  return np.sum(log.mul(y)).mul(-1 / BATCH);
}

/** One step of Adam on one tensor: the new value and moments. */
function adam(w, g, m, v, rate, root) {
  const m2 = m.mul(0.9).add(g.ref.mul(0.1));
  const v2 = v.mul(0.999).add(np.square(g).mul(0.001));
  const step = m2.ref.mul(rate).div(np.sqrt(v2.ref).mul(root).add(1e-8));
  return [w.sub(step), m2, v2];
}

function step(weights, m, v, rate, root, x, y) {
  const [loss, g] = valueAndGrad(lossOf)(tree.ref(weights), x, y);
  const out = [{}, {}, {}];
  for (const k of ["w1", "b1", "w2", "b2"]) {
    const next = adam(weights[k], g[k], m[k], v[k], rate.ref, root.ref);
    next.forEach((value, i) => (out[i][k] = value));
  }
  tree.dispose([rate, root]);
  return [loss, ...out];
}

/** Milliseconds of training steps, each with its loss read back. */
export async function jaxSteps(device, warmUp, repeats) {
  await use(device);
  const shapes = { w1: [32, 3, 3, 3], b1: [32], w2: [32 * 32 * 32, 10], b2: [10] };
  const zeros = () => Object.fromEntries(Object.entries(shapes).map(([k, s]) => [k, np.zeros(s)]));
  let weights = { ...zeros(), w1: uniform(shapes.w1, 0.19, 1), w2: uniform(shapes.w2, 0.0055, 2) };
  let [m, v] = [zeros(), zeros()];
  const x = uniform([BATCH, 3, 32, 32], 2, 3);
  const y = nn.oneHot(np.array(Array.from({ length: BATCH }, (_, i) => i % 10), { dtype: np.int32 }), 10);
  await blockUntilReady([x.ref, y.ref]).then(tree.dispose);
  const jitted = jit(step);
  let t = 0;
  const losses = [];
  const ms = await timed(warmUp, repeats, async () => {
    t += 1;
    const [rate, root] = [0.001 / (1 - 0.9 ** t), 1 / Math.sqrt(1 - 0.999 ** t)];
    let loss;
    [loss, weights, m, v] = jitted(weights, m, v, np.array(rate), np.array(root), x.ref, y.ref);
    const [value] = await loss.data();
    if (!Number.isFinite(value)) throw new Error("a step without a loss");
    losses.push(value);
    // The loss is there before the update is done.
    await blockUntilReady(weights.w2);
  });
  if (!(losses.at(-1) < losses[0])) throw new Error(`the loss does not fall: ${losses[0]} to ${losses.at(-1)}`);
  tree.dispose([weights, m, v, x, y]);
  return ms;
}

/** Milliseconds of products, one element of each read back. */
export async function jaxProducts(device, n, warmUp, repeats) {
  await use(device);
  const [a, b] = [uniform([n, n], 1, 1), uniform([n, n], 1, 2)];
  const product = jit((a, b) => {
    const y = np.dot(a, b);
    return [y.ref, y.slice([0, 1], [0, 1])];
  });
  const ms = await timed(warmUp, repeats, async () => {
    const [y, one] = product(a.ref, b.ref);
    await one.data();
    y.dispose();
  });
  tree.dispose([a, b]);
  return ms;
}
