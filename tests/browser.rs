//! The engine in a real browser: the suite of the kernels ([`tests::suite`]) through WebGPU, in
//! the variants that browsers get, and on the wasm cpu backend. Runs in a worker, as in the page.
//! Natively this file is empty.
#![cfg(target_arch = "wasm32")]

use compute::backend::gpu::{self, Limits, Variants};
use compute::backend::{Backend, cpu::Cpu};
use compute::ops::PAGES;
use tests::steps;
use tests::suite::{self, HAND_WRITTEN, check_cpu, check_gpu, large_shapes};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};
use web_time::Instant;

wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[wasm_bindgen_test]
async fn there_is_an_adapter() {
    let adapters = gpu::adapters().await;
    let first = adapters.first().expect("an adapter: Chromium runs with --enable-unsafe-webgpu");
    console_log!("adapter: {}, software: {}\n{}", first.summary, first.software, first.details.join("\n"));
    for limits in [Limits::Adapter, Limits::WebGpuDefaults] {
        let gpu = suite::gpu(limits).await;
        console_log!("{limits:?}: {:?}", gpu.info());
        assert!(gpu.info().max_buffer_bytes.is_some_and(|b| b >= 128 << 20));
    }
    console_log!("{:?}", Cpu::new().info());
}

/// What browsers run: on real GPUs `Hardware`, on software devices `Software`, and the plain
/// kernels that lessons show beside them.
#[wasm_bindgen_test]
async fn all_pages_through_webgpu() {
    for page in PAGES {
        let samples = (page.samples)();
        let variants: &[Variants] = if HAND_WRITTEN.contains(&page.name) {
            &[Variants::Naive, Variants::Software, Variants::Hardware]
        } else {
            &[Variants::Naive]
        };
        let start = Instant::now();
        check_gpu(variants, &samples).await;
        console_log!("webgpu: {}: {} samples, {variants:?}, {:.1?}", page.name, samples.len(), start.elapsed());
    }
}

#[wasm_bindgen_test]
async fn large_shapes_through_webgpu() {
    check_gpu(&[Variants::Software, Variants::Hardware], &large_shapes()).await;
}

#[wasm_bindgen_test]
async fn all_pages_on_the_cpu_backend() {
    for page in PAGES {
        let samples = (page.samples)();
        let start = Instant::now();
        check_cpu(&samples).await;
        console_log!("cpu: {}: {} samples, {:.1?}", page.name, samples.len(), start.elapsed());
    }
    check_cpu(&large_shapes()).await;
}

#[wasm_bindgen_test]
async fn accessors_equal_stored_operands() {
    suite::accessors_equal_stored_operands().await;
}

#[wasm_bindgen_test]
async fn steps_make_nothing() {
    suite::steps_make_nothing().await;
}

#[wasm_bindgen_test]
async fn errors_name_what_is_wrong() {
    suite::errors_name_what_is_wrong().await;
}

#[wasm_bindgen_test]
async fn seed_cnn_32_trains_as_natively() {
    steps::seed_cnn_32_follows_the_native_cpu_backend(Box::new(Cpu::new()), 1e-4).await;
    let gpu = suite::gpu(Limits::WebGpuDefaults).await;
    steps::seed_cnn_32_follows_the_native_cpu_backend(Box::new(gpu), 1e-4).await;
}

/// The largest job within default limits, at a batch that a software device takes soon: the same
/// plan, kernels and pipelines.
#[wasm_bindgen_test]
async fn seed_cnn_224_takes_a_step_at_batch_2() {
    one_step_of_224(2).await;
}

/// The whole of it.
#[wasm_bindgen_test]
#[ignore = "minutes on a software device"]
async fn seed_cnn_224_takes_a_step_at_batch_64() {
    one_step_of_224(64).await;
}

/// WebGPU with default limits against the cpu backend: the loss before and after an update.
async fn one_step_of_224(batch: usize) {
    let gpu = suite::gpu(Limits::WebGpuDefaults).await;
    let steps = if batch < 64 { 2 } else { 1 };
    let mut results = vec![];
    let backends: [Box<dyn Backend>; 2] = [Box::new(Cpu::new()), Box::new(gpu)];
    for backend in backends {
        results.push(steps::losses(&mut steps::on_noise(backend, "seed-cnn-224", batch, steps), steps).await);
    }
    console_log!("seed-cnn-224, batch {batch}: cpu {:?}, webgpu {:?}", results[0], results[1]);
    assert_eq!((results[0].len(), results[1].len()), (steps, steps));
    for (a, b) in results[0].iter().zip(&results[1]) {
        assert!((a - b).abs() <= 1e-4 * a.abs(), "{a} and {b}");
    }
}

#[wasm_bindgen_test]
async fn steps_leave_memory_flat() {
    let gpu = suite::gpu(Limits::WebGpuDefaults).await;
    let both: [(&str, Box<dyn Backend>); 2] = [("cpu", Box::new(Cpu::new())), ("gpu", Box::new(gpu))];
    for (name, backend) in both {
        let mut t = steps::small(backend);
        let start = Instant::now();
        let before = steps::take(&mut t, 40).await;
        let pages = core::arch::wasm32::memory_size(0);
        console_log!("{name}: 40 steps in {:.1?}", start.elapsed());
        let after = steps::take(&mut t, 200).await;
        steps::flat(name, before, after);
        assert_eq!(pages, core::arch::wasm32::memory_size(0), "{name}: pages of wasm memory");
    }
}
