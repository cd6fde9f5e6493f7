//! What this machine's processor can do, asked once: a loop over few lanes takes no longer than the asking.

use std::arch::is_x86_feature_detected as has;
use std::sync::atomic::{AtomicU8, Ordering};

/// Sets of instructions that loops are compiled for, each with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Machine {
    Any = 1,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 with its F, VL, BW and DQ parts.
    Avx512,
}

static KNOWN: AtomicU8 = AtomicU8::new(0);

/// For tests of the narrower sets: from now on the machine has no wider one.
#[cfg(test)]
pub fn pretend(most: Machine) {
    KNOWN.store(detected().min(most) as u8, Ordering::Relaxed);
}

/// The widest set that this machine has.
#[inline]
pub fn machine() -> Machine {
    match KNOWN.load(Ordering::Relaxed) {
        1 => Machine::Any,
        2 => Machine::Avx2,
        3 => Machine::Avx512,
        _ => {
            let found = detected();
            KNOWN.store(found as u8, Ordering::Relaxed);
            found
        }
    }
}

fn detected() -> Machine {
    if !(has!("avx2") && has!("fma")) {
        return Machine::Any;
    }
    if has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq") {
        return Machine::Avx512;
    }
    Machine::Avx2
}
