//! Nothing grows while training: after warm-up no step makes a device object, and a thousand steps
//! leave live heap and device memory where they were.

use compute::rewrite::Fusion;
use compute::session::Session;
use compute::train::Trainer;
use tests::backends;
use tests::networks;

const LAYERS: &str =
    "[\"conv 4 kernel 3 padding 1\", \"batch-norm\", \"relu\", \"max-pool 2\", \"flatten\", \"linear 5\"]";

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
        let recipe = networks::recipe(LAYERS, 8, "");
        let session = Session::new(backend(), Fusion::default());
        // 20 images in batches of 8: the last batch of an epoch is a program of its own.
        let mut t = Trainer::new(session, recipe, networks::images(20, 8, 5)).unwrap_or_else(|e| panic!("{e}"));
        let mut run = |steps: usize| {
            for _ in 0..steps {
                t.step().unwrap_or_else(|e| panic!("{name}: {e}"));
                if t.must_read() {
                    pollster::block_on(t.metrics()).unwrap_or_else(|e| panic!("{name}: {e}"));
                }
            }
            pollster::block_on(t.metrics()).unwrap_or_else(|e| panic!("{name}: {e}"));
            t.session().memory()
        };
        let before = run(600);
        let heap_before = crate::heap::process_live_bytes();
        let after = run(1000);
        let heap_after = crate::heap::process_live_bytes();
        assert_eq!(before.objects, after.objects, "{name}: device objects");
        assert_eq!((before.now_bytes, before.peak_bytes), (after.now_bytes, after.peak_bytes), "{name}: device bytes");
        assert!(before.now_bytes > 0, "{name}: device bytes are counted");
        let growth = heap_after - heap_before;
        assert!(growth < 64 << 10, "{name}: the heap grew by {growth} bytes in 1,000 steps");
    }
}
