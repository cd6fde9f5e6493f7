//! Several numbers at once: as an array on every machine, as a register of eight where there is AVX2
//! and FMA, as one of four in WebAssembly.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use std::arch::wasm32::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Numbers of a vector. In WebAssembly a register holds four, and a block of pairs of them would
/// not fit the sixteen registers below.
pub const WIDE: usize = if cfg!(target_arch = "wasm32") { 4 } else { 8 };

/// One vector.
pub type Lanes = [f32; WIDE];

/// Numbers in a form that the machine multiplies at once.
pub trait Vector: Copy {
    fn zero() -> Self;
    fn splat(x: f32) -> Self;
    /// `a * b + self`
    fn fused(self, a: Self, b: Self) -> Self;
    /// # Safety
    /// [`WIDE`] elements from `p` on exist.
    unsafe fn load(p: *const f32) -> Self;
    /// # Safety
    /// [`WIDE`] elements from `p` on exist.
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

/// A register. WebAssembly has no fused multiply-add that all browsers share.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[derive(Clone, Copy)]
pub struct Register(v128);

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
impl Vector for Register {
    #[inline(always)]
    fn zero() -> Register {
        Register(f32x4_splat(0.0))
    }

    #[inline(always)]
    fn splat(x: f32) -> Register {
        Register(f32x4_splat(x))
    }

    #[inline(always)]
    fn fused(self, a: Register, b: Register) -> Register {
        Register(f32x4_add(self.0, f32x4_mul(a.0, b.0)))
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Register {
        // SAFETY: the caller's promise; any alignment will do.
        Register(unsafe { v128_load(p.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's promise; any alignment will do.
        unsafe { v128_store(p.cast(), self.0) }
    }

    #[inline(always)]
    fn one(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// What a machine without a choice at run time uses.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub type Portable = Register;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub type Portable = Lanes;
