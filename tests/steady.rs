//! Nothing grows while training: after warm-up no step makes a device object, and a thousand steps
//! leave live heap and device memory where they were.

use compute::network::{ImageShape, train_step};
use compute::plan::Plan;
use compute::rewrite::Fusion;
use compute::session::Session;
use pollster::block_on;
use tests::{backends, networks, steps};

/// The heap is the process's, so the steps run in a process of their own, beside no other test.
#[test]
fn a_thousand_steps_leave_memory_flat() {
    let out = std::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "steady::steps_alone", "--ignored", "--test-threads", "1"])
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
#[ignore = "not a test by itself: `a_thousand_steps_leave_memory_flat` runs it alone"]
fn steps_alone() {
    for (name, backend) in backends::both() {
        let mut t = steps::small(backend());
        let before = block_on(steps::take(&mut t, 600));
        let heap_before = crate::heap::process_live_bytes();
        let after = block_on(steps::take(&mut t, 1000));
        let heap_after = crate::heap::process_live_bytes();
        steps::flat(name, before, after);
        let growth = heap_after - heap_before;
        assert!(growth < 64 << 10, "{name}: the heap grew by {growth} bytes in 1,000 steps");
    }
}

/// The last, shorter batch of an epoch and the evaluation are programs of their own, but one runs at a time: they
/// share the memory of their steps.
#[test]
fn programs_share_the_memory_of_their_steps() {
    let layers = "[\"conv 8 kernel 3 padding 1\", \"batch-norm\", \"relu\", \"max-pool 2\", \"flatten\", \"linear 5\"]";
    let recipe = networks::recipe(layers, 64, "");
    let shape = ImageShape { channels: 3, height: 32, width: 32, classes: 5 };
    let of_step = |plan: &Plan| plan.buffers.iter().filter(|b| b.leaf.is_none()).map(|b| b.bytes).sum::<usize>();
    for (name, backend) in backends::both() {
        let mut session = Session::new(backend(), Fusion::default());
        let mut load = |n: usize| {
            let id = session.load(&train_step(&recipe, shape, n).expect("a network").graph).expect("loads");
            (id, session.memory().now_bytes)
        };
        let ((whole, before), (rest, after)) = (load(64), load(40));
        let alone = of_step(session.program(rest).expect("loaded"));
        assert!(alone > 1 << 20, "{name}: too small to tell: {alone}");
        assert!(after - before < alone / 2, "{name}: {before} became {after}; alone it would need {alone} more");
        session.unload(whole);
        session.run(rest).expect("what is left runs");
        let left = session.memory().now_bytes;
        session.unload(rest);
        let end = session.memory().now_bytes;
        assert!(left - end >= alone, "{name}: the last of them left {end} of {left}, not {alone} less");
    }
}
