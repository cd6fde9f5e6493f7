//! Short runs of numbers, copied and added: the lines of an image on their way into the columns of a
//! matrix and back.

/// `y[i] = 0`, of the few beside a row.
#[inline]
pub fn clear(y: &mut [f32]) {
    for y in y {
        // Not as one fill: that is a call, which costs more than the few.
        *y = std::hint::black_box(0.0);
    }
}

/// `y[i] = x[i]`; of the longer one the rest is left alone.
#[inline]
pub fn copy(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = *x);
}

/// `y[i] = x[i * step]`
#[inline]
pub fn copy_every(y: &mut [f32], x: &[f32], step: usize) {
    y.iter_mut().zip(x.iter().step_by(step)).for_each(|(y, x)| *y = *x);
}

/// `y[i] += x[i]`
#[inline]
pub fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += *x);
}

/// `y[i * step] += x[i]`
#[inline]
pub fn add_every(y: &mut [f32], step: usize, x: &[f32]) {
    y.iter_mut().step_by(step).zip(x).for_each(|(y, x)| *y += *x);
}
