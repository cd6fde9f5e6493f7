//! One picture file (PNG, JPEG, WebP) as 8-bit RGB.
//!
//! In this order: the EXIF orientation is applied, 16 bits become 8 (rounded), grey becomes three
//! equal channels, alpha is composited over white. Of an animation the first frame is taken. Colour
//! profiles are ignored, as in the usual training scripts.
//!
//! Bombs: a side is at most `MAX_SIDE`, and a file may expand to at most `EXPANSION` times its own
//! size beyond `EXPANSION_FREE` bytes (PNG can reach 1,032; flat JPEG about 1,000).

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, imageops};

use super::DataError;
use super::container::{self, Format};

/// The longest side accepted, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// Decoded bytes any file may expand to.
pub const EXPANSION_FREE: u64 = 4 << 20;
/// Decoded bytes per byte of file, beyond that.
pub const EXPANSION: u64 = 1_100;
/// The most that a decoder may hold, decoded picture included.
pub const MAX_DECODED: u64 = 1 << 30;

/// An 8-bit RGB picture; `pixels` is `[height, width, 3]` row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

impl Rgb {
    /// Scales to `width` x `height` (triangle filter: bilinear when enlarging, averaging when
    /// shrinking). `None` when the sides are zero or the picture cannot be represented.
    pub fn resize(&self, width: usize, height: usize) -> Option<Rgb> {
        let side = |n: usize| u32::try_from(n).ok().filter(|&n| n > 0 && n <= MAX_SIDE);
        let (w, h) = (side(width)?, side(height)?);
        let source = image::ImageBuffer::<image::Rgb<u8>, &[u8]>::from_raw(
            side(self.width)?,
            side(self.height)?,
            self.pixels.as_slice(),
        )?;
        let pixels = imageops::resize(&source, w, h, imageops::FilterType::Triangle).into_raw();
        Some(Rgb { width, height, pixels })
    }

    /// The picture at the size and channels `[channels, height, width]` that a model was trained on,
    /// channel by channel. For one channel colour becomes grey by the luma of ITU-R BT.601, as Pillow's
    /// `convert("L")` has it. `None` as [`Rgb::resize`].
    pub fn planes(&self, [channels, height, width]: [usize; 3]) -> Option<Vec<u8>> {
        let sized = self.resize(width, height)?;
        let mut out = vec![];
        if channels == 1 {
            let luma = |p: &[u8]| (299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2]) + 500) / 1000;
            out.extend(sized.pixels.chunks_exact(3).map(|p| luma(p) as u8));
        } else {
            sized.extend_planar(&mut out);
        }
        Some(out)
    }

    /// Appends the picture to `out` as planes: `[3, height, width]`.
    pub fn extend_planar(&self, out: &mut Vec<u8>) {
        for channel in 0..3 {
            out.extend(self.pixels.iter().skip(channel).step_by(3));
        }
    }
}

/// Decodes a picture file.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Rgb, DataError> {
    let outline = container::outline(name, bytes)?;
    let failed = |error: image::ImageError| DataError::Corrupt {
        file: name.into(),
        offset: outline.data_at,
        problem: format!("the picture data from here on cannot be decoded ({error})"),
        advice: "copy the file again or save it anew with an image editor",
    };
    let format = match outline.format {
        Format::Png => ImageFormat::Png,
        Format::Jpeg => ImageFormat::Jpeg,
        Format::WebP => ImageFormat::WebP,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let limit = EXPANSION_FREE + EXPANSION * bytes.len() as u64;
    if decoder.total_bytes() > limit.min(MAX_DECODED) {
        return Err(DataError::TooLarge {
            file: name.into(),
            offset: 0,
            what: "the decoded size in bytes",
            found: decoder.total_bytes(),
            limit: limit.min(MAX_DECODED),
            advice: "the header claims far more than the file holds: replace or remove the file",
        });
    }
    let orientation = decoder.orientation().map_err(failed)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    picture.apply_orientation(orientation);
    Ok(to_rgb(picture))
}

fn to_rgb(picture: DynamicImage) -> Rgb {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = if picture.color().has_alpha() {
        picture.into_rgba8().pixels().flat_map(|p| over_white(p.0)).collect()
    } else {
        picture.into_rgb8().into_raw()
    };
    Rgb { width, height, pixels }
}

/// `c * a + white * (1 - a)`, rounded.
fn over_white([r, g, b, a]: [u8; 4]) -> [u8; 3] {
    let a = u32::from(a);
    [r, g, b].map(|c| ((u32::from(c) * a + 255 * (255 - a) + 127) / 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_composited_over_white() {
        assert_eq!(over_white([10, 20, 30, 255]), [10, 20, 30]);
        assert_eq!(over_white([10, 20, 30, 0]), [255, 255, 255]);
        assert_eq!(over_white([0, 255, 100, 128]), [127, 255, 177]);
    }

    #[test]
    fn planes_follow_the_channels() {
        let picture = Rgb { width: 2, height: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        let mut out = Vec::new();
        picture.extend_planar(&mut out);
        assert_eq!(out, [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn resizing() {
        let picture = Rgb { width: 2, height: 2, pixels: [[0u8; 6], [200; 6]].concat() };
        assert_eq!(picture.resize(1, 1).unwrap().pixels, [100; 3]);
        assert_eq!(picture.resize(2, 2).unwrap(), picture);
        assert!(picture.resize(0, 3).is_none() && picture.resize(3, 1 << 20).is_none());
    }
}
