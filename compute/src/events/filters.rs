//! A picture of the filters of a first convolution.
//!
//! `w: [filters, channels, height, width]` f32 becomes a mosaic, row by row, of enlarged filters
//! with a gap between them. Three channels are shown as red, green and blue; any other number as
//! the grey mean over channels. Each filter is scaled by its own largest magnitude: middle grey is
//! zero, white positive, black negative. Numbers that are not finite are drawn as zero.

use crate::tensor::Tensor;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

/// A filter is enlarged by a whole factor to about this many pixels.
const TILE_PIXELS: usize = 24;
/// More filters than this are not drawn: the mosaic would no longer be read.
const MOST_FILTERS: usize = 256;
const GAP_PIXELS: usize = 2;

/// `(width, height, PNG bytes)`; `None` for what is not a non-empty rank-4 f32 tensor.
pub fn filters_png(w: &Tensor) -> Option<(u32, u32, Vec<u8>)> {
    let &[filters, channels, kernel_h, kernel_w] = w.shape() else {
        return None;
    };
    let values = w.as_f32().filter(|v| !v.is_empty())?;
    let shown = filters.min(MOST_FILTERS);
    let columns = (1..=shown).find(|c| c * c >= shown)?;
    let rows = shown.div_ceil(columns);
    let scale = (TILE_PIXELS / kernel_h.max(kernel_w)).max(1);
    let (tile_h, tile_w) = (kernel_h * scale + GAP_PIXELS, kernel_w * scale + GAP_PIXELS);
    let (height, width) = (rows * tile_h + GAP_PIXELS, columns * tile_w + GAP_PIXELS);
    let mut pixels = vec![32u8; height * width * 3];

    for (f, filter) in values.chunks(channels * kernel_h * kernel_w).take(shown).enumerate() {
        let shades = shades(filter, channels, kernel_h * kernel_w);
        let top = (f / columns) * tile_h + GAP_PIXELS;
        let left = (f % columns) * tile_w + GAP_PIXELS;
        for y in 0..kernel_h * scale {
            for x in 0..kernel_w * scale {
                let shade = shades[(y / scale) * kernel_w + x / scale];
                let at = ((top + y) * width + left + x) * 3;
                pixels[at..at + 3].copy_from_slice(&shade);
            }
        }
    }

    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&pixels, width, height, ExtendedColorType::Rgb8).ok()?;
    Some((width, height, png))
}

/// One colour per position of a filter `[channels, area]`.
fn shades(filter: &[f32], channels: usize, area: usize) -> Vec<[u8; 3]> {
    let finite = |v: f32| if v.is_finite() { v } else { 0.0 };
    let at = |c: usize, k: usize| finite(filter[c * area + k]);
    let colours: Vec<[f32; 3]> = (0..area)
        .map(|k| {
            if channels == 3 {
                [at(0, k), at(1, k), at(2, k)]
            } else {
                [(0..channels).map(|c| at(c, k) / channels as f32).sum(); 3]
            }
        })
        .collect();
    let largest = colours.iter().flatten().fold(0f32, |m, v| m.max(v.abs()));
    let shade = |v: f32| {
        let unit = if largest > 0.0 { v / largest } else { 0.0 };
        (127.5 + 127.5 * unit).round() as u8
    };
    colours.into_iter().map(|c| c.map(shade)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixel(png: &[u8], x: u32, y: u32) -> [u8; 3] {
        image::load_from_memory(png).unwrap().to_rgb8().get_pixel(x, y).0
    }

    #[test]
    fn rgb_filters_keep_their_colours() {
        // One 1x1 filter: red +1, green -1, blue 0.
        let w = Tensor::f32(vec![1, 3, 1, 1], vec![1.0, -1.0, 0.0]);
        let (width, height, png) = filters_png(&w).unwrap();
        assert_eq!((width, height), (28, 28));
        assert_eq!(pixel(&png, 14, 14), [255, 0, 128]);
        assert_eq!(pixel(&png, 0, 0), [32, 32, 32]);
    }

    #[test]
    fn other_channel_counts_are_grey_and_nan_is_zero() {
        let w = Tensor::f32(vec![2, 2, 1, 2], vec![2.0, 0.0, 0.0, f32::NAN, 0.0, 0.0, -4.0, 0.0]);
        let (_, _, png) = filters_png(&w).unwrap();
        assert_eq!(pixel(&png, 3, 3), [255; 3]);
        assert_eq!(pixel(&png, 3 + 12, 3), [128; 3]);
        assert_eq!(pixel(&png, 26 + 3, 3), [0; 3]);
    }

    #[test]
    fn what_is_no_filter_bank_has_no_picture() {
        assert_eq!(filters_png(&Tensor::f32(vec![2, 2], vec![0.0; 4])), None);
        assert_eq!(filters_png(&Tensor::f32(vec![2, 0, 3, 3], vec![])), None);
        assert_eq!(filters_png(&Tensor::u8(vec![1, 1, 1, 1], vec![0])), None);
    }

    #[test]
    fn thirty_two_filters_make_six_columns() {
        let w = Tensor::f32(vec![32, 3, 3, 3], vec![0.5; 864]);
        let (width, height, _) = filters_png(&w).unwrap();
        assert_eq!((width, height), (6 * 26 + 2, 6 * 26 + 2));
    }
}
