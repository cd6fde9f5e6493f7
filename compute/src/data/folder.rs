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

use std::collections::BTreeMap;

use super::DataError;
use crate::sorting::sorted;

pub(super) const LAYOUTS: &str =
    "put pictures (PNG, JPEG, WebP) in train/<class>/ and test/<class>/, or in <class>/ alone";

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
    let classes: Vec<String> = members.keys().map(|(_, class)| class.to_string()).collect();
    let mut classes = sorted(classes, |a, b| a.cmp(b));
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
}
