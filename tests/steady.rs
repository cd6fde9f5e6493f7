//! Nothing grows while training: after warm-up no step makes a device object, and a thousand steps
//! leave live heap and device memory where they were.

use pollster::block_on;
use tests::{backends, steps};

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
