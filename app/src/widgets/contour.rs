//! Contour lines of numbers on a grid, by marching squares: where a level lies between two
//! neighbours, the line crosses between them.

/// The line of `level` through `values`, `n` to a row, in units of the grid's steps: pairs of
/// points, each pair followed by one that is not finite, so that they are drawn apart.
pub fn contour(values: &[f32], n: usize, level: f32) -> Vec<(f64, f64)> {
    let mut out = vec![];
    if n < 2 {
        return out;
    }
    let rows = values.len() / n;
    for r in 1..rows {
        for c in 1..n {
            // The corners of a square in order around it.
            let corners = [(c - 1, r - 1), (c, r - 1), (c, r), (c - 1, r)];
            let mut crossings = vec![];
            for k in 0..4 {
                let (a, b) = (corners[k], corners[(k + 1) % 4]);
                let (va, vb) = (values[a.1 * n + a.0], values[b.1 * n + b.0]);
                if (va < level) != (vb < level) {
                    let share = f64::from((level - va) / (vb - va));
                    let along = |from: usize, to: usize| from as f64 + share * (to as f64 - from as f64);
                    crossings.push((along(a.0, b.0), along(a.1, b.1)));
                }
            }
            for pair in crossings.chunks_exact(2) {
                out.extend([pair[0], pair[1], (f64::NAN, f64::NAN)]);
            }
        }
    }
    out
}
