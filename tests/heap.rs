//! The allocator of the test binary: it counts each thread's live bytes and their peak, so that
//! a test can bound what one call allocates while other tests run beside it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Live bytes and their peak; signed, because a thread may free what another allocated.
    static BYTES: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// Live bytes of all threads together.
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// Live bytes of the process: meaningful when no other test runs beside the caller.
pub fn process_live_bytes() -> isize {
    LIVE.load(Ordering::SeqCst)
}

fn count(change: isize) {
    LIVE.fetch_add(change, Ordering::SeqCst);
    // A thread that is ending has no cell any more; what it allocates then is not counted.
    let _ = BYTES.try_with(|bytes| {
        let (live, peak) = bytes.get();
        let live = live + change;
        bytes.set((live, peak.max(live)));
    });
}

// SAFETY: every call goes to `System` unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old and the new block may exist together while the bytes are copied.
        count(size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Runs `f` and says how many bytes this thread held at most beyond those it held before.
pub fn peak_bytes<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let start = BYTES.with(|bytes| {
        let (live, _) = bytes.get();
        bytes.set((live, live));
        live
    });
    let value = f();
    let peak = BYTES.with(|bytes| bytes.get().1);
    (value, (peak - start).max(0) as usize)
}

#[test]
fn the_peak_is_seen_after_it_is_freed() {
    let ((), peak) = peak_bytes(|| drop(std::hint::black_box(vec![0u8; 1 << 20])));
    assert!((1 << 20..2 << 20).contains(&peak), "{peak}");
}
