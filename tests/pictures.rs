//! Picture files of every kind, built here: EXIF orientation, 16 bits, alpha, grey, and damage.

use std::io::Cursor;

use compute::data::picture::{Rgb, decode};
use image::{DynamicImage, ImageBuffer, ImageFormat};

/// A picture file in `format`; JPEG at the encoder's default quality, the others lossless.
pub fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// Pixel (x, y) is (x * 30, y * 30, 7).
pub fn gradient(width: u32, height: u32) -> DynamicImage {
    ImageBuffer::from_fn(width, height, |x, y| image::Rgb([x as u8 * 30, y as u8 * 30, 7])).into()
}

/// A TIFF block that holds nothing but the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut out = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    out.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    out
}

pub fn png_chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(body);
    [&(body.len() as u32).to_be_bytes(), &kind[..], body, &crc.sum().to_be_bytes()].concat()
}

/// Puts an orientation into a picture file.
pub fn with_orientation(file: &[u8], format: ImageFormat, size: [u8; 2], orientation: u8) -> Vec<u8> {
    let exif = exif(orientation);
    match format {
        // Behind the signature (8) and IHDR (25).
        ImageFormat::Png => [&file[..33], &png_chunk(b"eXIf", &exif), &file[33..]].concat(),
        ImageFormat::Jpeg => {
            let length = (2 + 6 + exif.len()) as u16;
            [&file[..2], &[0xff, 0xe1], &length.to_be_bytes(), b"Exif\0\0", &exif, &file[2..]].concat()
        }
        _ => {
            // The simple WebP becomes an extended one: VP8X, the picture chunk, EXIF.
            let extended = [b"VP8X\x0a\0\0\0\x08\0\0\0", &[size[0] - 1, 0, 0, size[1] - 1, 0, 0][..]].concat();
            let block = [b"EXIF", &(exif.len() as u32).to_le_bytes()[..], &exif].concat();
            let body = [b"WEBP", &extended[..], &file[12..], &block].concat();
            [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
        }
    }
}

/// Where the shown pixel (x, y) is stored, after the table of the EXIF standard (tag 0x0112).
fn stored_at(orientation: u8, x: usize, y: usize, w: usize, h: usize) -> (usize, usize) {
    match orientation {
        1 => (x, y),
        2 => (w - 1 - x, y),
        3 => (w - 1 - x, h - 1 - y),
        4 => (x, h - 1 - y),
        5 => (y, x),
        6 => (y, h - 1 - x),
        7 => (w - 1 - y, h - 1 - x),
        _ => (w - 1 - y, x),
    }
}

#[test]
fn exif_orientation_is_applied() {
    let (w, h) = (5, 3);
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let file = encode(&gradient(w as u32, h as u32), format);
        for orientation in 1..=8 {
            let turned = with_orientation(&file, format, [w as u8, h as u8], orientation);
            let picture = decode("t", &turned).unwrap();
            let shown = if orientation < 5 { (w, h) } else { (h, w) };
            assert_eq!((picture.width, picture.height), shown, "{format:?} {orientation}");
            for (k, pixel) in picture.pixels.chunks(3).enumerate() {
                let (x, y) = stored_at(orientation, k % shown.0, k / shown.0, w, h);
                assert_eq!(pixel, [x as u8 * 30, y as u8 * 30, 7], "{format:?} {orientation} {k}");
            }
        }
    }
    // JPEG loses a little: the left half black, the right half white, turned clockwise.
    let halves = ImageBuffer::from_fn(32, 16, |x, _| image::Rgb([if x < 16 { 0u8 } else { 255 }; 3]));
    let file = encode(&halves.into(), ImageFormat::Jpeg);
    let picture = decode("t", &with_orientation(&file, ImageFormat::Jpeg, [32, 16], 6)).unwrap();
    assert_eq!((picture.width, picture.height), (16, 32));
    assert!(picture.pixels[..16 * 15 * 3].iter().all(|&v| v < 10));
    assert!(picture.pixels[16 * 17 * 3..].iter().all(|&v| v > 245));
}

#[test]
fn sixteen_bits_become_eight() {
    let values = [0u16, 128, 129, 257, 32768, 65534];
    let rgb: DynamicImage = ImageBuffer::<image::Rgb<u16>, _>::from_raw(2, 1, values.to_vec()).unwrap().into();
    let expected: Vec<u8> = values.iter().map(|&v| (f64::from(v) / 257.0).round() as u8).collect();
    assert_eq!(decode("t", &encode(&rgb, ImageFormat::Png)).unwrap().pixels, expected);
    let grey: DynamicImage = ImageBuffer::<image::Luma<u16>, _>::from_raw(1, 1, vec![25_700]).unwrap().into();
    assert_eq!(decode("t", &encode(&grey, ImageFormat::Png)).unwrap().pixels, [100; 3]);
}

#[test]
fn alpha_is_laid_over_white() {
    let rgba: DynamicImage =
        ImageBuffer::<image::Rgba<u8>, _>::from_raw(3, 1, vec![9, 9, 9, 255, 9, 9, 9, 0, 0, 100, 255, 51])
            .unwrap()
            .into();
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let pixels = decode("t", &encode(&rgba, format)).unwrap().pixels;
        // 51 / 255 is a fifth: 0.2 * c + 0.8 * 255.
        assert_eq!(pixels, [9, 9, 9, 255, 255, 255, 204, 224, 255], "{format:?}");
    }
    let grey: DynamicImage = ImageBuffer::<image::LumaA<u8>, _>::from_raw(1, 1, vec![0, 51]).unwrap().into();
    assert_eq!(decode("t", &encode(&grey, ImageFormat::Png)).unwrap().pixels, [204; 3]);
    let deep: DynamicImage =
        ImageBuffer::<image::Rgba<u16>, _>::from_raw(1, 1, vec![0, 25_700, 65_535, 13_107]).unwrap().into();
    assert_eq!(decode("t", &encode(&deep, ImageFormat::Png)).unwrap().pixels, [204, 224, 255]);
}

#[test]
fn grey_becomes_three_channels() {
    let grey: DynamicImage = ImageBuffer::from_fn(16, 16, |_, _| image::Luma([77u8])).into();
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let picture = decode("t", &encode(&grey, format)).unwrap();
        assert_eq!(picture, Rgb { width: 16, height: 16, pixels: vec![77; 768] }, "{format:?}");
    }
}

/// Wherever a picture is cut, this is noticed and told with the file and the byte.
#[test]
fn every_truncation_is_noticed() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let file = encode(&gradient(6, 6), format);
        decode("t", &file).unwrap();
        for length in 0..file.len() {
            let error = decode("pic.x", &file[..length]).expect_err("cut").to_string();
            assert!(error.starts_with("pic.x: ") && error.contains("byte "), "{format:?} {length}: {error}");
            if length > 12 {
                assert!(error.contains(&format!("ends at byte {length}")), "{format:?} {length}: {error}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_png_is_located() {
    let mut file = encode(&gradient(6, 6), ImageFormat::Png);
    file[45] ^= 4;
    let error = decode("pic.png", &file).unwrap_err().to_string();
    assert!(error.contains("pic.png: byte 33: checksum of PNG chunk IDAT"), "{error}");
}

#[test]
fn bombs_are_refused_before_memory_is_spent() {
    let file = encode(&gradient(6, 6), ImageFormat::Png);
    for (side, expect) in [(9_000u32, "over the limit"), (60_000, "cannot be decoded")] {
        let mut header = file[16..29].to_vec();
        header[..4].copy_from_slice(&side.to_be_bytes());
        header[4..8].copy_from_slice(&side.to_be_bytes());
        let bomb = [&file[..8], &png_chunk(b"IHDR", &header), &file[33..]].concat();
        let (error, peak) = crate::heap::peak_bytes(|| decode("bomb.png", &bomb).unwrap_err().to_string());
        assert!(error.starts_with("bomb.png: byte ") && error.contains(expect), "{error}");
        assert!(peak < 1 << 20, "{side}: {peak}");
    }
}
