//! A global allocator that counts, per thread, the live bytes and their peak, so that a test can say
//! "this input did not make the parser allocate more than so much". Other threads do not disturb it.
//!
//!     alloc::reset();
//!     parse(hostile);
//!     assert!(alloc::peak_since_reset() < 1 << 20);

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Memory freed on another thread than its own can make this negative.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Starts counting afresh on this thread.
pub fn reset() {
    LIVE.set(0);
    PEAK.set(0);
}

/// The most bytes that were live at once on this thread since `reset`, of those allocated since.
pub fn peak_since_reset() -> usize {
    PEAK.get().max(0) as usize
}

fn count(bytes: isize) {
    // During the end of a thread the counters are gone; nothing measures there.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

struct Counting;

// SAFETY: every call is passed on unchanged to the system allocator; counting touches only
// thread-local cells without destructors and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's guarantees are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old and the new block may exist together while the bytes are copied.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_peak_is_seen_and_reset() {
    reset();
    drop(std::hint::black_box(vec![1u8; 3 << 20]));
    let one = peak_since_reset();
    assert!((3 << 20..4 << 20).contains(&one), "{one}");
    reset();
    drop(std::hint::black_box(vec![0u8; 1000]));
    assert!((1000..5000).contains(&peak_since_reset()));
}
