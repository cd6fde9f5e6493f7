//! The compiled programs against the tree-walking evaluation, over the samples of every op page.

use super::*;
use crate::cell::{Cmp, Idx, Red, Var, at, ax, cmp_idx, eval, load, num, when};
use crate::ops::{Fill, PAGES};
use crate::tensor::{DType, unravel};

/// Pseudo-random elements of a sample's input.
fn fill(ty: &TensorType, fill: &Fill, seed: u32) -> Vec<f64> {
    let n = ty.numel();
    let unit = |i: usize| f64::from(crate::cell::rand::bits(seed, 1, 2, i as u32)) / 16_777_216.0;
    match fill {
        Fill::Uniform(lo, hi) => (0..n).map(|i| f64::from((lo + (hi - lo) * unit(i)) as f32)).collect(),
        Fill::Distinct => (0..n).map(|i| ((i * 7919 + 13) % n) as f64 * 0.25 - 3.0).collect(),
        Fill::Below(b) => (0..n).map(|i| (unit(i) * f64::from(*b)).floor()).collect(),
        Fill::Values(v) => v.iter().copied().cycle().take(n).collect(),
    }
}

enum Stored<T> {
    Num(Vec<T>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl<T: Float> Stored<T> {
    fn new(ty: &TensorType, v: &[f64]) -> Stored<T> {
        match ty.dtype {
            DType::F32 | DType::F16 => Stored::Num(v.iter().map(|x| T::from_f64(*x)).collect()),
            DType::U32 => Stored::U32(v.iter().map(|x| *x as u32).collect()),
            DType::U8 => Stored::U8(v.iter().map(|x| *x as u8).collect()),
        }
    }

    fn view(&self) -> View<'_, T> {
        match self {
            Stored::Num(v) => View::Num(v),
            Stored::U32(v) => View::U32(v),
            Stored::U8(v) => View::U8(v),
        }
    }
}

fn run_cell<T: Float>(cell: &Cell, out: &TensorType, tys: &[&TensorType], data: &[Vec<f64>]) -> Result<Vec<T>, String> {
    let program = compile(cell, out, tys)?;
    let stored: Vec<Stored<T>> = tys.iter().zip(data).map(|(t, d)| Stored::new(t, d)).collect();
    let views: Vec<View<T>> = stored.iter().map(Stored::view).collect();
    let mut y = vec![T::from_f64(f64::NAN); out.numel()];
    program.run_parallel(&views, None, &mut y, &Workers::default())?;
    Ok(y)
}

/// Compares with the evaluation at up to `limit` elements.
fn compare(cell: &Cell, out: &TensorType, tys: &[&TensorType], data: &[Vec<f64>], limit: usize) -> Result<(), String> {
    let y = run_cell::<f64>(cell, out, tys, data)?;
    let z = run_cell::<f32>(cell, out, tys, data)?;
    let n = out.numel();
    let step = (n / limit.max(1)).max(1);
    for flat in (0..n).step_by(step) {
        let at: Vec<i64> = unravel(flat, &out.shape).iter().map(|&i| i as i64).collect();
        let mut read = |input: usize, index: &[i64]| -> Result<f64, String> {
            let shape = &tys[input].shape;
            let mut k = 0;
            for (&i, &d) in index.iter().zip(shape) {
                if i < 0 || i >= d as i64 {
                    return Err(format!("index {index:?} outside {shape:?}"));
                }
                k = k * d + i as usize;
            }
            Ok(data[input][k])
        };
        let exact = eval::eval(cell, &at, &mut read)?;
        let scale = exact.abs().max(1.0);
        if (y[flat] - exact).abs() > 1e-12 * scale && y[flat] != exact || y[flat].is_nan() != exact.is_nan() {
            return Err(format!("f64 {} instead of {exact} at {at:?}", y[flat]));
        }
        let single = f64::from(z[flat]);
        if (single - exact).abs() > 3e-5 * scale && single != f64::from(exact as f32)
            || z[flat].is_nan() != exact.is_nan()
        {
            return Err(format!("f32 {single} instead of {exact} at {at:?}"));
        }
    }
    Ok(())
}

#[test]
fn every_sample_of_every_op_equals_the_evaluation() {
    let mut seen = 0;
    let mut wrong = vec![];
    for page in PAGES {
        for (k, sample) in (page.samples)().into_iter().enumerate() {
            let tys: Vec<&TensorType> = sample.inputs.iter().map(|(t, _)| t).collect();
            let out = sample.op.infer(&tys).unwrap_or_else(|e| panic!("{}: {e}", page.name));
            let cell = sample.op.cell(&tys, &out);
            let data: Vec<Vec<f64>> =
                sample.inputs.iter().enumerate().map(|(i, (t, f))| fill(t, f, (k * 8 + i) as u32)).collect();
            let label = format!("{} sample {k} ({}, {tys:?})", page.name, sample.op.name());
            let terms = compile(&cell, &out, &tys).map_or(1.0, |p| p.terms_per_element());
            let limit = (200_000.0 / terms.max(1.0)) as usize;
            if let Err(e) = compare(&cell, &out, &tys, &data, limit.clamp(1, 3000)) {
                wrong.push(format!("{label}: {e}"));
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {seen} samples\n{}", wrong.len(), wrong.join("\n"));
    assert!(seen > 100, "{seen} samples");
}

/// `sum(b) red(h) red(w)` of a cell over `[3, 4, 5, 7]`, one element for each of the second axis.
fn nest(red: Red, at: impl Fn(Idx, Idx, Idx) -> Vec<Idx>) -> Cell {
    let v = |name, k| Var(name, k);
    let [b, h, w] = [v("b", 1), v("h", 2), v("w", 3)];
    let body = load(0, at(Idx::Var(b), Idx::Var(h), Idx::Var(w)));
    let over = |red, v, n, body: Cell| Cell::Reduce(red, v, Idx::Const(0), Idx::Const(n), body.into());
    over(Red::Sum, b, 3, over(red, h, 5, over(red, w, 7, body)))
}

#[test]
fn reductions_over_a_flat_position_are_one() {
    let (x, y) = (TensorType::f32([3, 4, 5, 7]), TensorType::f32([4]));
    let data = vec![fill(&x, &Fill::Uniform(-1.0, 1.0), 5)];
    let plain = |b, h, w| vec![b, ax(0), h, w];
    // Backwards along one axis; and along both, which is a flat position again.
    let turned = |b, h: Idx, w: Idx| vec![b, ax(0), h, at(6) - w];
    let reversed = |b, h: Idx, w: Idx| vec![b, ax(0), at(4) - h, at(6) - w];
    let diagonal = |b, h: Idx, w: Idx| vec![b, ax(0), (h + w) % at(5), at(0)];
    for red in [Red::Sum, Red::Max] {
        for (cell, merged) in
            [(nest(red, plain), 1), (nest(red, turned), 0), (nest(red, reversed), 1), (nest(red, diagonal), 0)]
        {
            let mut lins = Lins {
                dims: vec![4],
                inputs: &[&x],
                ranges: BTreeMap::new(),
                merged: vec![0],
                joined: BTreeMap::new(),
                tile: None,
            };
            lins.bind_ranges(&cell);
            assert_eq!(merge::reductions(&lins, &cell).len(), merged, "{cell:?}");
            compare(&cell, &y, &[&x], &data, 4).unwrap_or_else(|e| panic!("{e}: {cell:?}"));
        }
    }
    // With one image and one channel the three are one.
    let x = TensorType::f32([3, 1, 5, 7]);
    let cell = nest(Red::Sum, |b, h, w| vec![b, ax(0), h, w]);
    let data = vec![fill(&x, &Fill::Uniform(-1.0, 1.0), 6)];
    compare(&cell, &TensorType::f32([1]), &[&x], &data, 1).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn short_rows_run_several_at_once() {
    let row = |v| vec![Idx::Axis(v)];
    for (shape, tiled) in
        [([2, 40, 30], true), ([3, 7, 64], true), ([1, 1000, 2], true), ([2, 3, 300], true), ([2, 3, 600], false)]
    {
        let (x, m) = (TensorType::f32(shape), TensorType::f32([shape[2]]));
        let data = vec![fill(&x, &Fill::Uniform(-1.0, 1.0), 7), fill(&m, &Fill::Uniform(0.5, 1.5), 8)];
        let whole = || load(0, (0..3).map(Idx::Axis).collect::<Vec<_>>());
        let cell = (whole() - load(1, row(2))) / load(1, row(2));
        let program = compile(&cell, &x, &[&x, &m]).expect("a program");
        assert_eq!(program.line.is_some(), tiled, "{shape:?}");
        compare(&cell, &x, &[&x, &m], &data, 5000).unwrap_or_else(|e| panic!("{e}: {shape:?}"));
        // From any place on.
        let mut part = vec![0.0; x.numel() / 3];
        let mut all = vec![0.0; x.numel()];
        let views = [View::Num(&data[0][..]), View::Num(&data[1][..])];
        program.run(&views, 0, &mut all, &mut Scratch::default()).expect("all");
        program.run(&views, 17, &mut part, &mut Scratch::default()).expect("a part");
        assert_eq!(part, all[17..17 + part.len()]);
        // A number of each row keeps rows apart.
        let by_row = TensorType::f32([shape[1]]);
        let data = [data[0].clone(), fill(&by_row, &Fill::Uniform(0.5, 1.5), 9)];
        let cell = whole() * load(1, row(1));
        assert!(compile(&cell, &x, &[&x, &by_row]).expect("a program").line.is_none(), "{shape:?}");
        compare(&cell, &x, &[&x, &by_row], &data, 5000).unwrap_or_else(|e| panic!("{e}: {shape:?}"));
    }
}

/// Comparisons of what rises or falls from lane to lane: hit, missed between two lanes, and past either end.
#[test]
fn indices_are_compared_as_defined() {
    let y = TensorType::f32([9, 2500]);
    for op in [Cmp::Lt, Cmp::Le, Cmp::Gt, Cmp::Ge, Cmp::Eq, Cmp::Ne] {
        for (rising, place) in [(1, 1), (3, 2), (3, 700), (-1, -3), (-3, -701), (7, 4000), (1, -5)] {
            let left = ax(1) * Idx::Const(rising);
            let cell = when(cmp_idx(op, left, ax(0) * Idx::Const(place)), num(1.0), num(-1.0));
            compare(&cell, &y, &[], &[], 5000).unwrap_or_else(|e| panic!("{e}: {op:?} {rising} {place}"));
        }
    }
}
