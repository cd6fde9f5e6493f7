//! Data sets from files on disk: folders of pictures, IDX and CIFAR-10, and what is said when
//! something is wrong with them.

use std::fs;
use std::path::Path;

use compute::cli::load::{self, DataSpec};
use compute::data::{DataError, Dataset};
use image::{DynamicImage, ImageBuffer, ImageFormat};

use crate::pictures::{encode, gradient};

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
    assert!(fails(&spec).contains("training images are 2x1, test images 1x2"));
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
