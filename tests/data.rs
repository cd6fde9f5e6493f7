//! Data sets from files: pictures of every kind, folders, IDX and CIFAR-10 on disk, and what is said
//! when something is wrong with them.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use compute::cli::load::{self, DataSpec};
use compute::data::picture::{Rgb, decode};
use compute::data::{DataError, Dataset};
use image::{DynamicImage, ImageBuffer, ImageFormat};

/// A picture file in `format`; JPEG at the encoder's default quality, the others lossless.
pub fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// Pixel (x, y) is (x * 40, y * 40, 7).
pub fn gradient(width: u32, height: u32) -> DynamicImage {
    ImageBuffer::from_fn(width, height, |x, y| image::Rgb([x as u8 * 40, y as u8 * 40, 7])).into()
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
                assert_eq!(pixel, [x as u8 * 40, y as u8 * 40, 7], "{format:?} {orientation} {k}");
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

fn spec(set: &str, root: &Path) -> DataSpec {
    DataSpec { set: set.into(), root: Some(root.into()), ..DataSpec::default() }
}

fn load(spec: &DataSpec) -> Result<(Dataset, Vec<String>), DataError> {
    let mut remarks = Vec::new();
    Ok((load::load_with(spec, &mut |remark| remarks.push(remark))?, remarks))
}

fn fails(spec: &DataSpec) -> String {
    load(spec).expect_err("must fail").to_string()
}

fn put(root: &Path, file: &str, bytes: &[u8]) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_folder_of_pictures() {
    let root = tempfile::tempdir().unwrap();
    let flat = |v: u8| DynamicImage::from(ImageBuffer::from_pixel(8, 8, image::Rgb([v, 0, 1])));
    for (k, part) in ["train", "test"].iter().enumerate() {
        put(root.path(), &format!("{part}/cat/1.png"), &encode(&flat(10 + k as u8), ImageFormat::Png));
        put(root.path(), &format!("{part}/dog/2.webp"), &encode(&flat(20 + k as u8), ImageFormat::WebP));
    }
    put(root.path(), "train/dog/readme.txt", b"no picture");
    put(root.path(), "train/.DS_Store", b"hidden");
    let mut spec = spec("folder", root.path());
    let (set, remarks) = load(&spec).unwrap();
    assert_eq!((set.classes.clone(), set.train.labels.clone()), (vec!["cat".into(), "dog".into()], vec![0, 1]));
    assert_eq!((set.train.len(), set.test.len(), set.train.width), (2, 2, 8));
    assert_eq!((set.train.image(1)[0], set.train.image(1)[191], set.test.image(0)[0]), (20, 1, 11));
    assert!(remarks.len() == 1 && remarks[0].contains("skipped 2 files"), "{remarks:?}");

    spec.limit = Some(1);
    assert_eq!(load(&spec).unwrap().0.train.labels, [0]);
    spec.limit = None;
    put(root.path(), "test/dog/3.png", &encode(&gradient(5, 6), ImageFormat::Png));
    let error = fails(&spec);
    assert!(error.contains("3.png is 5x6") && error.contains("set data.resize"), "{error}");
    spec.resize = Some(4);
    let (set, _) = load(&spec).unwrap();
    assert_eq!((set.train.height, set.test.width, set.test.len()), (4, 4, 3));
    assert_eq!(set.train.image(0)[..16], [10; 16]);

    put(root.path(), "test/dog/3.png", b"\x89PNG\r\n\x1a\n");
    let error = fails(&spec);
    assert!(error.contains("3.png: ends at byte 8"), "{error}");
    fs::remove_file(root.path().join("train/dog/2.webp")).unwrap();
    assert!(fails(&spec).contains("class folder train/dog holds no picture"));
    assert!(fails(&self::spec("folder", &root.path().join("nowhere"))).contains("nowhere: cannot list"));
    assert!(fails(&DataSpec { set: "folder".into(), ..DataSpec::default() }).contains("set data.root"));
}

#[test]
fn idx_files_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let idx = |dims: &[u32], data: &[u8]| {
        let mut out = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|d| out.extend(d.to_be_bytes()));
        [out, data.to_vec()].concat()
    };
    let gz = |bytes: &[u8]| {
        let mut out = Vec::new();
        std::io::copy(&mut flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()), &mut out).unwrap();
        out
    };
    let spec = spec("mnist", root.path());
    let error = fails(&spec);
    assert!(error.contains("`mnist` not found") && error.contains("train-images-idx3-ubyte"), "{error}");
    put(root.path(), "train-images-idx3-ubyte", &idx(&[3, 1, 2], &[1, 2, 3, 4, 5, 6]));
    put(root.path(), "train-labels-idx1-ubyte.gz", &gz(&idx(&[3], &[7, 8, 9])));
    put(root.path(), "t10k-images.idx3-ubyte", &idx(&[1, 1, 2], &[9, 9]));
    assert!(fails(&spec).contains("t10k-labels-idx1-ubyte (plain or .gz) is not there"));
    put(root.path(), "t10k-labels-idx1-ubyte", &idx(&[1], &[0]));
    let (set, _) = load(&DataSpec { limit: Some(2), ..spec.clone() }).unwrap();
    assert_eq!((set.train.pixels, set.train.labels, set.test.labels), (vec![1, 2, 3, 4], vec![7, 8], vec![0]));
    put(root.path(), "t10k-labels-idx1-ubyte", &idx(&[1], &[10]));
    assert!(fails(&spec).contains("t10k-labels-idx1-ubyte: byte 8: label 10 of image 0"));
    put(root.path(), "t10k-labels-idx1-ubyte", &idx(&[1], &[1]));
    put(root.path(), "t10k-images.idx3-ubyte", &idx(&[1, 2, 1], &[9, 9]));
    assert!(fails(&spec).contains("training images are 1x2, test images 2x1"));
    put(root.path(), "t10k-images.idx3-ubyte", &[]);
    assert!(fails(&spec).contains("t10k-images.idx3-ubyte: byte 0: the file is empty"));
}

#[test]
fn cifar_files_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let mut spec = spec("cifar10", root.path());
    let error = fails(&spec);
    assert!(
        error.contains("chainrule data fetch cifar10") && error.contains(&root.path().display().to_string()),
        "{error}"
    );
    let size = |file: &str, bytes: u64| fs::File::create(root.path().join(file)).unwrap().set_len(bytes).unwrap();
    size("data_batch_1.bin", 30_730_000);
    size("test_batch.bin", 30_730_000);
    // A limit within the first batch reads no other.
    spec.limit = Some(12);
    let (set, _) = load(&spec).unwrap();
    assert_eq!((set.train.len(), set.test.len(), set.classes.len()), (12, 10_000, 10));
    size("test_batch.bin", 30_730_000 - 3073);
    let error = fails(&spec);
    assert!(error.contains("test_batch.bin: ends at byte 30726927"), "{error}");
    size("test_batch.bin", 1 << 40);
    assert!(fails(&spec).contains("test_batch.bin: byte 30730001: the file size is 1099511627776"));
    spec.limit = Some(10_001);
    assert!(fails(&spec).contains("data_batch_2.bin: cannot read"));
}

#[test]
fn names_and_limits() {
    let unknown = |set: &str| fails(&DataSpec { set: set.into(), ..DataSpec::default() });
    assert!(unknown("cifar-10").contains("did you mean `cifar10`?"));
    assert!(unknown("fashion").contains("known: cifar10, fashion-sample"));
    let spec = |limit| DataSpec { set: "fashion-sample".into(), limit: Some(limit), ..DataSpec::default() };
    assert!(fails(&spec(0)).contains("data.limit"));
    assert_eq!(load(&spec(30)).unwrap().0.train.len(), 30);
}
