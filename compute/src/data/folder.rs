//! A folder of pictures by class. Two layouts:
//!
//! - `train/<class>/*` and `test/<class>/*`
//! - `<class>/*` alone: of each class, in file name order, the first 80% are for training and the
//!   rest for test (neighbours in name order are often near-copies: a contiguous cut keeps most of
//!   them on one side)
//!
//! Classes are the folder names in byte order. Within a part, files are taken class by class in
//! turn (first of each class, second of each ...), so that `data.limit` keeps all classes. Hidden
//! files and other extensions than png, jpg, jpeg and webp are skipped and counted.
//!
//! Pictures of one size keep it. Otherwise all are scaled to `resize` x `resize`.

use std::collections::BTreeMap;

use super::picture::Rgb;
use super::{DataError, Images};

const LAYOUTS: &str = "put pictures (PNG, JPEG, WebP) in train/<class>/ and test/<class>/, or in <class>/ alone";

/// Which files there are, and of which class and part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub classes: Vec<String>,
    /// Class and path relative to the root.
    pub train: Vec<(u32, String)>,
    pub test: Vec<(u32, String)>,
    /// Files skipped: hidden, or of another kind.
    pub skipped: usize,
}

/// Whether a file name is hidden or no picture.
fn is_skipped(name: &str) -> bool {
    let kind = name.rsplit_once('.').map(|(_, kind)| kind.to_ascii_lowercase());
    name.starts_with('.') || !matches!(kind.as_deref(), Some("png" | "jpg" | "jpeg" | "webp"))
}

/// Sorts relative paths (`/` between parts) of files into classes and parts. `folders` are all
/// folders, so that an empty class is seen.
pub fn layout(root: &str, folders: &[String], files: &[String]) -> Result<Layout, DataError> {
    let error = |problem: String| DataError::Layout { root: root.into(), problem, advice: LAYOUTS };
    let has_parts = folders.iter().any(|f| f == "train");
    if has_parts && !folders.iter().any(|f| f == "test") {
        return Err(error("there is a train folder but no test folder".into()));
    }
    let depth = if has_parts { 2 } else { 1 };
    let mut members = BTreeMap::<(&str, &str), Vec<&str>>::new();
    for folder in folders {
        let names: Vec<&str> = folder.split('/').collect();
        if names.len() != depth || names.iter().any(|n| n.starts_with('.')) {
            continue;
        }
        match names.as_slice() {
            [part @ ("train" | "test"), class] => members.entry((part, class)).or_default(),
            [class] => members.entry(("", class)).or_default(),
            _ => continue,
        };
    }
    let mut skipped = 0;
    for path in files {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let key = if has_parts { parent.split_once('/').unwrap_or(("", "")) } else { ("", parent) };
        match members.get_mut(&key) {
            Some(list) if !is_skipped(name) => list.push(path),
            _ => skipped += 1,
        }
    }
    if members.is_empty() {
        return Err(error("no class folders".into()));
    }
    if let Some(((part, class), _)) = members.iter().find(|(_, list)| list.is_empty()) {
        let folder = if has_parts { format!("{part}/{class}") } else { class.to_string() };
        return Err(error(format!("class folder {folder} holds no picture")));
    }
    let mut classes: Vec<String> = members.keys().map(|(_, class)| class.to_string()).collect();
    classes.sort();
    classes.dedup();
    let part = |part: &str, pick: fn(&[&str]) -> usize, first: bool| {
        let lists = classes.iter().map(|class| {
            let list = members.get(&(part, class.as_str())).map(Vec::as_slice).unwrap_or_default();
            let cut = pick(list);
            if first { &list[..cut] } else { &list[cut..] }
        });
        in_turn(lists.collect())
    };
    let layout = if has_parts {
        let (train, test) = (part("train", |l| l.len(), true), part("test", |l| l.len(), true));
        Layout { train, test, skipped, classes }
    } else {
        let cut = |l: &[&str]| (l.len() * 4).div_ceil(5);
        Layout { train: part("", cut, true), test: part("", cut, false), skipped, classes }
    };
    if let Some(class) = (0..layout.classes.len()).find(|&c| !layout.train.iter().any(|(l, _)| *l as usize == c)) {
        return Err(error(format!("class {} has no training picture", layout.classes[class])));
    }
    if layout.test.is_empty() {
        return Err(error("too few pictures to set some aside for test".into()));
    }
    Ok(layout)
}

/// The first of each list, then the second of each, and so on.
fn in_turn(lists: Vec<&[&str]>) -> Vec<(u32, String)> {
    let longest = lists.iter().map(|l| l.len()).max().unwrap_or(0);
    let turn = |i: usize| lists.iter().enumerate().filter_map(move |(c, l)| Some((c as u32, l.get(i)?.to_string())));
    (0..longest).flat_map(turn).collect()
}

/// Collects decoded pictures into one planar set, scaling when sizes differ.
pub struct Assembler {
    resize: Option<usize>,
    first: Option<(String, usize, usize)>,
    scaled: bool,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl Assembler {
    /// `resize` is used only when sizes differ: pictures of one size keep it.
    pub fn new(resize: Option<usize>) -> Assembler {
        Assembler { resize, first: None, scaled: false, pixels: Vec::new(), labels: Vec::new() }
    }

    /// Adds a picture.
    pub fn push(&mut self, name: &str, label: u32, picture: &Rgb) -> Result<(), DataError> {
        let (_, width, height) = self.first.get_or_insert_with(|| (name.into(), picture.width, picture.height)).clone();
        if !self.scaled && (picture.width, picture.height) != (width, height) {
            self.rescale(name, picture)?;
        }
        match self.resize {
            Some(side) if self.scaled => self.store(&scale(name, picture, side)?, label),
            _ => self.store(picture, label),
        }
    }

    /// Number of pictures so far.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The first `train` pictures and the rest.
    pub fn finish(mut self, root: &str, train: usize) -> Result<(Images, Images), DataError> {
        let Some((_, width, height)) = self.first else {
            return Err(DataError::Layout { root: root.into(), problem: "no pictures".into(), advice: LAYOUTS });
        };
        let (height, width) = match self.resize {
            Some(side) if self.scaled => (side, side),
            _ => (height, width),
        };
        let train = train.min(self.labels.len());
        let test_pixels = self.pixels.split_off(train * 3 * height * width);
        let test_labels = self.labels.split_off(train);
        let part = |pixels, labels| Images { channels: 3, height, width, pixels, labels };
        Ok((part(self.pixels, self.labels), part(test_pixels, test_labels)))
    }

    /// Turns what was stored at its own size into the common size.
    fn rescale(&mut self, name: &str, picture: &Rgb) -> Result<(), DataError> {
        let Some((first_file, width, height)) = self.first.clone() else {
            return Ok(());
        };
        let Some(side) = self.resize else {
            return Err(DataError::NeedsResize {
                file: name.into(),
                width: picture.width,
                height: picture.height,
                first_file,
                first_width: width,
                first_height: height,
            });
        };
        let stored = std::mem::take(&mut self.pixels);
        let plane = width * height;
        self.scaled = true;
        for image in stored.chunks_exact(3 * plane) {
            let pixels = (0..3 * plane).map(|k| image[(k % 3) * plane + k / 3]).collect();
            let small = scale(&first_file, &Rgb { width, height, pixels }, side)?;
            small.extend_planar(&mut self.pixels);
        }
        Ok(())
    }

    fn store(&mut self, picture: &Rgb, label: u32) -> Result<(), DataError> {
        if self.pixels.try_reserve(picture.pixels.len()).is_err() {
            return Err(DataError::Option {
                option: "resize",
                problem: format!(
                    "{} pictures of {}x{} do not fit into memory",
                    self.labels.len() + 1,
                    picture.width,
                    picture.height
                ),
                advice: "set a smaller data.resize or data.limit",
            });
        }
        picture.extend_planar(&mut self.pixels);
        self.labels.push(label);
        Ok(())
    }
}

fn scale(name: &str, picture: &Rgb, side: usize) -> Result<Rgb, DataError> {
    picture.resize(side, side).ok_or_else(|| DataError::Option {
        option: "resize",
        problem: format!("{name} ({}x{}) cannot be scaled to {side}x{side}", picture.width, picture.height),
        advice: "give a side from 1 to 16384 pixels",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| n.to_string()).collect()
    }

    fn names(part: &[(u32, String)]) -> Vec<(u32, &str)> {
        part.iter().map(|(c, n)| (*c, n.as_str())).collect()
    }

    #[test]
    fn two_parts() {
        let folders = strings(&["train", "test", "train/b", "train/a", "test/a", "test/b", "train/.git"]);
        let files = strings(&[
            "train/b/1.png",
            "train/a/2.JPG",
            "train/a/3.webp",
            "test/a/4.jpeg",
            "test/b/5.png",
            "train/a/.hidden.png",
            "train/a/notes.txt",
            "train/loose.png",
            "train/.git/x.png",
        ]);
        let layout = layout("r", &folders, &files).unwrap();
        assert_eq!(layout.classes, ["a", "b"]);
        assert_eq!(names(&layout.train), [(0, "train/a/2.JPG"), (1, "train/b/1.png"), (0, "train/a/3.webp")]);
        assert_eq!(names(&layout.test), [(0, "test/a/4.jpeg"), (1, "test/b/5.png")]);
        assert_eq!(layout.skipped, 4);
    }

    #[test]
    fn classes_alone_are_split_by_name_order() {
        let files: Vec<String> =
            (0..10).map(|i| format!("x/{i}.png")).chain(["y/0.png".into(), "y/1.png".into()]).collect();
        let layout = layout("r", &strings(&["x", "y"]), &files).unwrap();
        assert_eq!(layout.train.len(), 8 + 2);
        assert_eq!(names(&layout.train)[..4], [(0, "x/0.png"), (1, "y/0.png"), (0, "x/1.png"), (1, "y/1.png")]);
        assert_eq!(names(&layout.test), [(0, "x/8.png"), (0, "x/9.png")]);
    }

    #[test]
    fn bad_folders_are_explained() {
        let error =
            |folders: &[&str], files: &[&str]| layout("r", &strings(folders), &strings(files)).unwrap_err().to_string();
        assert!(error(&[], &[]).starts_with("r: no class folders; put pictures"));
        assert!(error(&[], &["a.png"]).contains("no class folders"));
        assert!(error(&["a", "b"], &["a/1.png", "b/1.txt"]).contains("class folder b holds no picture"));
        assert!(error(&["train", "train/a"], &["train/a/1.png"]).contains("no test folder"));
        let folders = ["train", "test", "train/a", "test/a", "test/b"];
        assert!(
            error(&folders, &["train/a/1.png", "test/a/1.png", "test/b/1.png"])
                .contains("class b has no training picture")
        );
        assert!(error(&["a"], &["a/1.png"]).contains("too few pictures"));
    }

    fn flat(width: usize, height: usize, value: u8) -> Rgb {
        Rgb { width, height, pixels: vec![value; 3 * width * height] }
    }

    #[test]
    fn one_size_is_kept_even_when_a_resize_is_given() {
        let mut set = Assembler::new(Some(5));
        set.push("a", 1, &flat(2, 3, 10)).unwrap();
        set.push("b", 0, &flat(2, 3, 20)).unwrap();
        let (train, test) = set.finish("r", 1).unwrap();
        assert_eq!((train.height, train.width, train.labels, test.labels), (3, 2, vec![1], vec![0]));
        assert_eq!(test.pixels, [20; 18]);
    }

    #[test]
    fn different_sizes_are_scaled_to_the_resize() {
        let mut set = Assembler::new(Some(2));
        let gradient = Rgb { width: 4, height: 4, pixels: (0..48).map(|k| (k % 3 * 40) as u8).collect() };
        set.push("a", 0, &gradient).unwrap();
        set.push("b", 1, &flat(3, 2, 9)).unwrap();
        set.push("c", 1, &flat(4, 4, 7)).unwrap();
        let (all, none) = set.finish("r", 3).unwrap();
        assert_eq!(all.pixels[..12], [0, 0, 0, 0, 40, 40, 40, 40, 80, 80, 80, 80]);
        assert_eq!(all.pixels[12..], [[9; 12], [7; 12]].concat());
        assert!(none.is_empty() && all.len() == 3);
    }

    #[test]
    fn different_sizes_without_a_resize_are_an_error() {
        let mut set = Assembler::new(None);
        set.push("a.png", 0, &flat(4, 4, 1)).unwrap();
        let error = set.push("b.png", 0, &flat(5, 4, 1)).unwrap_err().to_string();
        assert!(error.contains("b.png is 5x4 but a.png is 4x4") && error.contains("data.resize"), "{error}");
    }
}
