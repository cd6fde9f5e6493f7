// The same work in TF.js: the reference network at 32x32, Adam, batch 64, the loss read after each
// step; and a square product. `tf` is the global of its script.

import { timed } from "./timed.mjs";

const BATCH = 64;

async function use(backend) {
  tf.wasm.setWasmPaths("/tfjs/tfjs-backend-wasm/dist/");
  if (!(await tf.setBackend(backend))) throw new Error(`TF.js has no ${backend} here`);
  await tf.ready();
}

export async function tfSteps(backend, warmUp, repeats) {
  await use(backend);
  const w1 = tf.variable(tf.randomUniform([3, 3, 3, 32], -0.19, 0.19));
  const b1 = tf.variable(tf.zeros([32]));
  const w2 = tf.variable(tf.randomUniform([32 * 32 * 32, 10], -0.0055, 0.0055));
  const b2 = tf.variable(tf.zeros([10]));
  const pixels = tf.randomUniform([BATCH, 32, 32, 3], -2, 2);
  const labels = tf.oneHot(tf.range(0, BATCH, 1, "int32").mod(tf.scalar(10, "int32")), 10);
  const optimizer = tf.train.adam(0.001);
  return timed(warmUp, repeats, async () => {
    const loss = optimizer.minimize(
      () => {
        const y = tf.relu(tf.add(tf.conv2d(pixels, w1, 1, "same"), b1));
        const logits = tf.add(tf.matMul(tf.reshape(y, [BATCH, -1]), w2), b2);
        return tf.losses.softmaxCrossEntropy(labels, logits);
      },
      true,
      [w1, b1, w2, b2],
    );
    const [value] = await loss.data();
    loss.dispose();
    if (!Number.isFinite(value)) throw new Error("a step without a loss");
  });
}

export async function tfProducts(backend, n, warmUp, repeats) {
  await use(backend);
  const a = tf.randomUniform([n, n], -1, 1);
  const b = tf.randomUniform([n, n], -1, 1);
  return timed(warmUp, repeats, async () => {
    const y = tf.matMul(a, b);
    const one = y.slice([0, 0], [1, 1]);
    await one.data();
    tf.dispose([y, one]);
  });
}
