//! Several numbers at once: as an array on every machine, as a register of sixteen where there is AVX-512, of
//! eight where there is AVX2 and FMA, of four in WebAssembly.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use std::arch::wasm32::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Numbers of a vector. In WebAssembly a register holds four, and a block of pairs of them would
/// not fit the sixteen registers below.
pub const WIDE: usize = if cfg!(target_arch = "wasm32") { 4 } else { 8 };

/// A set of partial sums, as it is kept between loops.
pub type Lanes = [f32; WIDE];

/// Numbers in a form that the machine multiplies at once.
pub trait Vector: Copy {
    /// How many.
    const SIZE: usize;
    /// Whether sixteen accumulators leave registers for the operands.
    const MANY: bool = false;
    fn zero() -> Self;
    fn splat(x: f32) -> Self;
    /// `a * b + self`
    fn fused(self, a: Self, b: Self) -> Self;
    /// # Safety
    /// [`Vector::SIZE`] elements from `p` on exist.
    unsafe fn load(p: *const f32) -> Self;
    /// # Safety
    /// [`Vector::SIZE`] elements from `p` on exist.
    unsafe fn store(self, p: *mut f32);
    /// The first `n` elements from `p` on, and zeros.
    /// # Safety
    /// They exist, and `n` is less than [`Vector::SIZE`].
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut all = [0.0; 16];
        // SAFETY: the caller's promise; a vector is no longer than the array.
        unsafe {
            std::ptr::copy_nonoverlapping(p, all.as_mut_ptr(), n);
            Self::load(all.as_ptr())
        }
    }
    /// The first `n` elements to `p` and on.
    /// # Safety
    /// As for [`Vector::load_part`].
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        let mut all = [0.0; 16];
        // SAFETY: as above.
        unsafe {
            self.store(all.as_mut_ptr());
            std::ptr::copy_nonoverlapping(all.as_ptr(), p, n);
        }
    }
    /// Partial sums as a vector.
    /// # Safety
    /// `p` points to [`Lanes`].
    unsafe fn load_sums(p: *const f32) -> Self {
        // SAFETY: a vector is as long as the lanes, where this is not written anew.
        unsafe { Self::load(p) }
    }
    /// The vector as partial sums.
    /// # Safety
    /// `p` points to [`Lanes`].
    unsafe fn store_sums(self, p: *mut f32) {
        // SAFETY: as above.
        unsafe { self.store(p) }
    }
    /// `a * b + c` of single numbers, rounded as [`Vector::fused`] rounds.
    fn one(a: f32, b: f32, c: f32) -> f32;
}

impl Vector for Lanes {
    const SIZE: usize = WIDE;

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
    const SIZE: usize = 8;

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
    unsafe fn load_part(p: *const f32, n: usize) -> Register {
        Register(unsafe { _mm256_maskload_ps(p, first(n)) })
    }

    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        unsafe { _mm256_maskstore_ps(p, first(n), self.0) }
    }

    #[inline(always)]
    fn one(a: f32, b: f32, c: f32) -> f32 {
        unsafe { _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c))) }
    }
}

/// The mask of the first `n` numbers of a register, n below 8.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    const ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: eight elements from 8 - n on exist.
    unsafe { _mm256_loadu_si256(ONES.as_ptr().add(8 - n).cast()) }
}

/// A register of AVX-512. Only used below functions that have the features.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Broad(__m512);

// SAFETY of all blocks here: AVX-512F is there, as AVX2 and FMA are for `Register`.
#[cfg(target_arch = "x86_64")]
impl Vector for Broad {
    const SIZE: usize = 16;
    const MANY: bool = true;

    #[inline(always)]
    fn zero() -> Broad {
        Broad(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    fn splat(x: f32) -> Broad {
        Broad(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    fn fused(self, a: Broad, b: Broad) -> Broad {
        Broad(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Broad {
        Broad(unsafe { _mm512_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { _mm512_storeu_ps(p, self.0) }
    }

    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Broad {
        Broad(unsafe { _mm512_maskz_loadu_ps((1 << n) - 1, p) })
    }

    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        unsafe { _mm512_mask_storeu_ps(p, (1 << n) - 1, self.0) }
    }

    #[inline(always)]
    unsafe fn load_sums(p: *const f32) -> Broad {
        Broad(unsafe { _mm512_zextps256_ps512(_mm256_loadu_ps(p)) })
    }

    #[inline(always)]
    unsafe fn store_sums(self, p: *mut f32) {
        let upper = unsafe { _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(self.0), 1)) };
        unsafe { _mm256_storeu_ps(p, _mm256_add_ps(_mm512_castps512_ps256(self.0), upper)) }
    }

    #[inline(always)]
    fn one(a: f32, b: f32, c: f32) -> f32 {
        Register::one(a, b, c)
    }
}

/// A register. WebAssembly has no fused multiply-add that all browsers share.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[derive(Clone, Copy)]
pub struct Register(v128);

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
impl Vector for Register {
    const SIZE: usize = 4;

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
