//! Eight numbers at once: as an array on every machine, as a register where there is AVX2 and FMA.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// One vector.
pub type Lanes = [f32; 8];

/// Numbers of a vector.
pub const WIDE: usize = 8;

/// Eight numbers in a form that the machine multiplies at once.
pub trait Vector: Copy {
    fn zero() -> Self;
    fn splat(x: f32) -> Self;
    /// `a * b + self`
    fn fused(self, a: Self, b: Self) -> Self;
    /// # Safety
    /// Eight elements from `p` on exist.
    unsafe fn load(p: *const f32) -> Self;
    /// # Safety
    /// Eight elements from `p` on exist.
    unsafe fn store(self, p: *mut f32);
    /// `a * b + c` of single numbers, rounded as [`Vector::fused`] rounds.
    fn one(a: f32, b: f32, c: f32) -> f32;
}

impl Vector for Lanes {
    #[inline(always)]
    fn zero() -> Lanes {
        [0.0; WIDE]
    }

    #[inline(always)]
    fn splat(x: f32) -> Lanes {
        [x; WIDE]
    }

    #[inline(always)]
    fn fused(self, a: Lanes, b: Lanes) -> Lanes {
        std::array::from_fn(|k| Self::one(a[k], b[k], self[k]))
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Lanes {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Lanes>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Lanes>().write_unaligned(self) }
    }

    #[inline(always)]
    fn one(a: f32, b: f32, c: f32) -> f32 {
        // Where multiply and add are one instruction on every machine.
        if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
    }
}

/// A register. Only used below functions that have the features.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Register(__m256);

// SAFETY of all blocks here: AVX2 and FMA are there, because the functions that
// everything is inlined into ask for them and are only called where they are.
#[cfg(target_arch = "x86_64")]
impl Vector for Register {
    #[inline(always)]
    fn zero() -> Register {
        Register(unsafe { _mm256_setzero_ps() })
    }

    #[inline(always)]
    fn splat(x: f32) -> Register {
        Register(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    fn fused(self, a: Register, b: Register) -> Register {
        Register(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Register {
        Register(unsafe { _mm256_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { _mm256_storeu_ps(p, self.0) }
    }

    #[inline(always)]
    fn one(a: f32, b: f32, c: f32) -> f32 {
        unsafe { _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c))) }
    }
}
