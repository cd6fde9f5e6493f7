//! Matrix products over strided slices: a checked face of the `gemm` crate.

use gemm::Parallelism;
use lanes::Strides;

/// `c = a b`, or `c += a b` when `add`; a is m x k, b is k x n. On the calling thread.
/// Panics when a matrix does not lie in its slice.
#[allow(clippy::too_many_arguments, reason = "a matrix product has these parts in every library")]
pub fn product(
    (m, n, k): (usize, usize, usize),
    c: &mut [f32],
    cs: Strides,
    add: bool,
    a: &[f32],
    sa: Strides,
    b: &[f32],
    sb: Strides,
) {
    assert!(cs.fits(m, n, c.len()) && sa.fits(m, k, a.len()) && sb.fits(k, n, b.len()), "a matrix outside its slice");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the three matrices lie inside their slices (asserted above); c is borrowed
    // exclusively and its elements do not overlap, because no stride is 0 where a size exceeds 1.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr().add(cs.at),
            cs.cs as isize,
            cs.rs as isize,
            add,
            a.as_ptr().add(sa.at),
            sa.cs as isize,
            sa.rs as isize,
            b.as_ptr().add(sb.at),
            sb.cs as isize,
            sb.rs as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
