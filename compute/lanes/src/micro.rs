//! Two small matrix products for operands that are already in cache, where packing would cost
//! more than the product:
//!
//! ```text
//! panel   c[i, j] (+)= sum(p) a[i, p] b[p, j]     rows of b and c contiguous
//! dots    lanes[i, j] += a[i, ..] . b[j, ..]      rows of a and b contiguous; a vector of partial sums each
//! ```
//!
//! Blocks are four rows by two vectors: eight accumulators keep both multipliers busy, and a third
//! vector would not leave a register for the operands; with the 32 registers of AVX-512 a panel's are of eight
//! rows. Compiled for AVX-512, for AVX2 with FMA and for every machine, the choice made once per call; and for
//! the registers of WebAssembly.

use crate::Strides;
#[cfg(target_arch = "x86_64")]
use crate::machine::{Machine, machine};
use crate::vector::{Lanes, Portable, Vector, WIDE};

/// Places of the three matrices of a panel, as pointers to their first elements.
#[derive(Clone, Copy)]
struct Panel {
    c: *mut f32,
    c_rs: usize,
    a: *const f32,
    a_rs: usize,
    a_cs: usize,
    b: *const f32,
    b_rs: usize,
    k: usize,
    add: bool,
}

/// `M` rows by `N` vectors of c; with `PART` by the `columns` that are less than a vector.
///
/// # Safety
/// All elements named by the panel and the sizes exist.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "loops over constants, which must unroll into registers")]
unsafe fn panel_block<V: Vector, const M: usize, const N: usize, const PART: bool>(columns: usize, p: Panel) {
    // SAFETY: every offset below is one the caller vouches for.
    unsafe {
        let load = |x: *const f32| if PART { V::load_part(x, columns) } else { V::load(x) };
        let mut acc = [[V::zero(); N]; M];
        if p.add {
            for i in 0..M {
                for j in 0..N {
                    acc[i][j] = load(p.c.add(i * p.c_rs + j * V::SIZE));
                }
            }
        }
        for q in 0..p.k {
            let mut b = [V::zero(); N];
            for j in 0..N {
                b[j] = load(p.b.add(q * p.b_rs + j * V::SIZE));
            }
            for i in 0..M {
                let x = V::splat(*p.a.add(i * p.a_rs + q * p.a_cs));
                for j in 0..N {
                    acc[i][j] = acc[i][j].fused(x, b[j]);
                }
            }
        }
        for i in 0..M {
            for j in 0..N {
                let to = p.c.add(i * p.c_rs + j * V::SIZE);
                if PART {
                    acc[i][j].store_part(to, columns);
                } else {
                    acc[i][j].store(to);
                }
            }
        }
    }
}

/// All `m` rows of a strip of `N` vectors, or of part of one.
///
/// # Safety
/// As for [`panel_block`].
#[inline(always)]
unsafe fn panel_strip<V: Vector, const N: usize, const PART: bool>(m: usize, columns: usize, p: Panel) {
    let mut i = 0;
    while i < m {
        // SAFETY: row i exists, and the rows after it that the block takes.
        unsafe {
            let q = Panel { c: p.c.add(i * p.c_rs), a: p.a.add(i * p.a_rs), ..p };
            if V::MANY && m - i >= 8 {
                panel_block::<V, 8, N, PART>(columns, q);
                i += 8;
                continue;
            }
            match m - i {
                1 => panel_block::<V, 1, N, PART>(columns, q),
                2 => panel_block::<V, 2, N, PART>(columns, q),
                3 => panel_block::<V, 3, N, PART>(columns, q),
                _ => panel_block::<V, 4, N, PART>(columns, q),
            }
        }
        i += 4;
    }
}

/// # Safety
/// As for [`panel_block`], for `m` rows and `n` columns.
#[inline(always)]
unsafe fn panel_body<V: Vector>(m: usize, n: usize, p: Panel) {
    let mut j = 0;
    while j < n {
        // SAFETY: column j exists, and the columns after it that the strip takes.
        unsafe {
            let q = Panel { c: p.c.add(j), b: p.b.add(j), ..p };
            match n - j {
                left if left >= 2 * V::SIZE => panel_strip::<V, 2, false>(m, 0, q),
                left if left >= V::SIZE => panel_strip::<V, 1, false>(m, 0, q),
                // Few columns of short vectors are not worth the code, which the page downloads.
                left if V::SIZE <= 4 => (0..m).for_each(|i| {
                    for j in 0..left {
                        let c = q.c.add(i * q.c_rs + j);
                        let first = if q.add { *c } else { 0.0 };
                        let term = |sum, r| V::one(*q.a.add(i * q.a_rs + r * q.a_cs), *q.b.add(r * q.b_rs + j), sum);
                        *c = (0..q.k).fold(first, term);
                    }
                }),
                left => panel_strip::<V, 1, true>(m, left, q),
            }
            j += if n - j >= 2 * V::SIZE { 2 * V::SIZE } else { V::SIZE };
        }
    }
}

/// Places of the operands of dot products.
#[derive(Clone, Copy)]
struct Dots {
    lanes: *mut Lanes,
    columns: usize,
    a: *const f32,
    a_rs: usize,
    b: *const f32,
    b_rs: usize,
    len: usize,
}

/// # Safety
/// All elements named by the places and the sizes exist.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "loops over constants, which must unroll into registers")]
unsafe fn dots_block<V: Vector, const M: usize, const N: usize>(d: Dots) {
    // SAFETY: every offset below is one the caller vouches for.
    unsafe {
        let mut acc = [[V::zero(); N]; M];
        let at = |i: usize, j: usize| d.lanes.add(i * d.columns + j).cast::<f32>();
        for i in 0..M {
            for j in 0..N {
                acc[i][j] = V::load_sums(at(i, j));
            }
        }
        let whole = d.len / V::SIZE * V::SIZE;
        let mut t = 0;
        while t < whole {
            let mut b = [V::zero(); N];
            for j in 0..N {
                b[j] = V::load(d.b.add(j * d.b_rs + t));
            }
            for i in 0..M {
                let a = V::load(d.a.add(i * d.a_rs + t));
                for j in 0..N {
                    acc[i][j] = acc[i][j].fused(a, b[j]);
                }
            }
            t += V::SIZE;
        }
        for i in 0..M {
            for j in 0..N {
                acc[i][j].store_sums(at(i, j));
                for (l, t) in (whole..d.len).enumerate() {
                    let v = at(i, j).add(l % WIDE);
                    *v = V::one(*d.a.add(i * d.a_rs + t), *d.b.add(j * d.b_rs + t), *v);
                }
            }
        }
    }
}

/// All `m` rows of a with `N` rows of b, which stay in the nearest cache meanwhile.
///
/// # Safety
/// As for [`dots_block`].
#[inline(always)]
unsafe fn dots_strip<V: Vector, const N: usize>(m: usize, d: Dots) {
    for i in (0..m).step_by(4) {
        // SAFETY: row i exists, and those after it that the block takes.
        unsafe {
            let q = Dots { lanes: d.lanes.add(i * d.columns), a: d.a.add(i * d.a_rs), ..d };
            match m - i {
                1 => dots_block::<V, 1, N>(q),
                2 => dots_block::<V, 2, N>(q),
                3 => dots_block::<V, 3, N>(q),
                _ => dots_block::<V, 4, N>(q),
            }
        }
    }
}

/// # Safety
/// As for [`dots_block`], for `m` rows of a and `n` of b.
#[inline(always)]
unsafe fn dots_body<V: Vector>(m: usize, n: usize, d: Dots) {
    let mut j = 0;
    while j < n {
        // SAFETY: row j exists, and those after it that the strip takes.
        unsafe {
            let q = Dots { lanes: d.lanes.add(j), b: d.b.add(j * d.b_rs), ..d };
            match n - j {
                left if V::MANY && left >= 4 => dots_strip::<V, 4>(m, q),
                1 => dots_strip::<V, 1>(m, q),
                _ => dots_strip::<V, 2>(m, q),
            }
            j += if V::MANY && n - j >= 4 { 4 } else { 2 };
        }
    }
}

/// Both products compiled for some features of the machine.
macro_rules! versions {
    ($($(#[$doc:meta])* $name:ident $features:literal $vector:ident;)*) => {$(
        $(#[$doc])*
        #[cfg(target_arch = "x86_64")]
        mod $name {
            use super::{Dots, Panel, dots_body, panel_body};
            use crate::vector::$vector;

            /// # Safety
            /// The machine has the features, and as for `panel_body`.
            #[target_feature(enable = $features)]
            pub unsafe fn panel(m: usize, n: usize, p: Panel) {
                // SAFETY: the caller's promise.
                unsafe { panel_body::<$vector>(m, n, p) }
            }

            /// # Safety
            /// The machine has the features, and as for `dots_body`.
            #[target_feature(enable = $features)]
            pub unsafe fn dots(m: usize, n: usize, d: Dots) {
                // SAFETY: the caller's promise.
                unsafe { dots_body::<$vector>(m, n, d) }
            }
        }
    )*};
}

versions! {
    avx2 "avx2,fma" Register;
    avx512 "avx512f,avx2,fma" Broad;
}

/// `c = a b`, or `c += a b` when `add`; a is m x k, b is k x n. Rows of b and c are contiguous.
/// Panics when a matrix does not lie in its slice.
#[allow(clippy::too_many_arguments, reason = "a matrix product has these parts in every library")]
pub fn panel(
    (m, n, k): (usize, usize, usize),
    c: &mut [f32],
    sc: Strides,
    add: bool,
    a: &[f32],
    sa: Strides,
    b: &[f32],
    sb: Strides,
) {
    assert!(sc.fits(m, n, c.len()) && sa.fits(m, k, a.len()) && sb.fits(k, n, b.len()), "a matrix outside its slice");
    assert!(sc.cs == 1 && sb.cs == 1 && (m < 2 || sc.rs >= n), "rows must be contiguous and apart");
    if m == 0 || n == 0 {
        return;
    }
    // Where k is 0 nothing is read, so the start need not exist.
    let (at_a, at_b) = if k == 0 { (0, 0) } else { (sa.at, sb.at) };
    // SAFETY: the starts lie in their slices (asserted).
    let p = unsafe {
        Panel {
            c: c.as_mut_ptr().add(sc.at),
            c_rs: sc.rs,
            a: a.as_ptr().add(at_a),
            a_rs: sa.rs,
            a_cs: sa.cs,
            b: b.as_ptr().add(at_b),
            b_rs: sb.rs,
            k,
            add,
        }
    };
    #[cfg(target_arch = "x86_64")]
    match machine() {
        // SAFETY: the features are there; the matrices lie in their slices (asserted).
        Machine::Avx512 => return unsafe { avx512::panel(m, n, p) },
        // SAFETY: as above.
        Machine::Avx2 => return unsafe { avx2::panel(m, n, p) },
        Machine::Any => {}
    }
    // SAFETY: the matrices lie in their slices (asserted).
    unsafe { panel_body::<Portable>(m, n, p) }
}

/// Adds the dot products of `m` rows of a and `n` rows of b, `len` long, to `m x n` sets of lanes.
/// Panics when rows do not lie in their slices.
pub fn dots((m, n, len): (usize, usize, usize), lanes: &mut [Lanes], a: &[f32], sa: Strides, b: &[f32], sb: Strides) {
    assert!(lanes.len() >= m * n && sa.fits(m, len, a.len()) && sb.fits(n, len, b.len()), "rows outside their slice");
    assert!(sa.cs == 1 && sb.cs == 1, "rows must be contiguous");
    if m == 0 || n == 0 || len == 0 {
        return;
    }
    // SAFETY: the starts lie in their slices (asserted).
    let d = unsafe {
        Dots {
            lanes: lanes.as_mut_ptr(),
            columns: n,
            a: a.as_ptr().add(sa.at),
            a_rs: sa.rs,
            b: b.as_ptr().add(sb.at),
            b_rs: sb.rs,
            len,
        }
    };
    #[cfg(target_arch = "x86_64")]
    match machine() {
        // SAFETY: the features are there; the rows lie in their slices (asserted).
        Machine::Avx512 => return unsafe { avx512::dots(m, n, d) },
        // SAFETY: as above.
        Machine::Avx2 => return unsafe { avx2::dots(m, n, d) },
        Machine::Any => {}
    }
    // SAFETY: the rows lie in their slices (asserted).
    unsafe { dots_body::<Portable>(m, n, d) }
}

/// Adds each set of lanes to its sum and clears it. The sums are f64: chains in f32 stay short
/// where a gradient is the small difference of millions of terms.
pub fn fold(lanes: &mut [Lanes], sums: &mut [f64]) {
    for (v, sum) in lanes.iter_mut().zip(sums) {
        // Neighbours first.
        let (mut x, mut n) = (v.map(f64::from), WIDE);
        while n > 1 {
            n /= 2;
            (0..n).for_each(|k| x[k] = x[2 * k] + x[2 * k + 1]);
        }
        *sum += x[0];
        *v = [0.0; WIDE];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n).map(|i| crate::rand::bits(seed, 1, 1, i as u32) as f32 / 16_777_216.0 - 0.5).collect()
    }

    #[test]
    fn panels_and_dots_equal_plain_loops() {
        #[cfg(target_arch = "x86_64")]
        for most in [Machine::Any, Machine::Avx2, Machine::Avx512] {
            crate::machine::pretend(most);
            equal_plain_loops();
        }
        equal_plain_loops();
    }

    fn equal_plain_loops() {
        for (m, n, k) in
            [(1, 1, 1), (4, 24, 27), (10, 57, 16), (7, 9, 3), (3, 8, 0), (32, 27, 113), (5, 31, 8), (9, 15, 40)]
        {
            let (a, b) = (numbers(m * k + 5, 1), numbers(k * n + 5, 2));
            for add in [false, true] {
                let mut c = numbers(m * (n + 2), 3);
                let before = c.clone();
                let (sa, sb) = (Strides { at: 3, rs: 1, cs: m }, Strides::rows(5, n));
                panel((m, n, k), &mut c, Strides::rows(1, n + 1), add, &a, sa, &b, sb);
                for i in 0..m {
                    for j in 0..n {
                        let sum: f32 = (0..k).map(|p| a[3 + i + p * m] * b[5 + p * n + j]).sum();
                        let at = 1 + i * (n + 1) + j;
                        let want = if add { before[at] + sum } else { sum };
                        assert!((c[at] - want).abs() < 1e-5, "panel {m} {n} {k} at {i} {j}");
                    }
                }
            }
            let (x, y) = (numbers(m * k, 4), numbers(n * k, 5));
            let mut lanes = vec![[0.0; WIDE]; m * n];
            let mut sums = vec![1.0; m * n];
            dots((m, n, k), &mut lanes, &x, Strides::rows(0, k), &y, Strides::rows(0, k));
            fold(&mut lanes, &mut sums);
            for i in 0..m {
                for j in 0..n {
                    let want = 1.0 + (0..k).map(|p| f64::from(x[i * k + p]) * f64::from(y[j * k + p])).sum::<f64>();
                    assert!((sums[i * n + j] - want).abs() < 1e-5, "dots {m} {n} {k} at {i} {j}");
                }
            }
            assert!(lanes.iter().flatten().all(|x| *x == 0.0));
        }
    }
}
