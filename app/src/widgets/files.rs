//! Files of the reader: chosen, dropped, saved. They are read in the page and go nowhere else.

use js_sys::{Array, Reflect, Uint8Array};
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, DataTransfer, File, FileList, FileSystemDirectoryEntry, FileSystemEntry, FileSystemFileEntry,
    HtmlAnchorElement, Url,
};

use crate::engine::FileData;
use compute::sorting::sorted;

/// A file that was not read yet, with its path in the folder it came in.
pub struct Chosen {
    pub path: String,
    pub file: File,
}

/// The most that is read at once.
const MOST_BYTES: f64 = 1e9;

/// The files of an input; with their paths where a folder was chosen.
pub fn chosen(list: Option<FileList>) -> Vec<Chosen> {
    let Some(list) = list else { return vec![] };
    (0..list.length())
        .filter_map(|k| list.get(k))
        .map(|file| {
            let path = Reflect::get(&file, &"webkitRelativePath".into()).ok().and_then(|p| p.as_string());
            Chosen { path: path.filter(|p| !p.is_empty()).unwrap_or_else(|| file.name()), file }
        })
        .collect()
}

/// The files that were dropped, folders walked. The list of a drop is gone once its event is over, so
/// the entries are taken at once and read later.
pub fn dropped(data: Option<DataTransfer>) -> impl Future<Output = Vec<Chosen>> {
    let items = data.map(|d| d.items());
    let entries: Vec<FileSystemEntry> = items
        .iter()
        .flat_map(|items| (0..items.length()).filter_map(|k| items.get(k)))
        .filter_map(|item| item.webkit_get_as_entry().ok().flatten())
        .collect();
    async move {
        let mut out = vec![];
        let mut open = entries;
        while let Some(entry) = open.pop() {
            if entry.is_file() {
                if let Some(file) = file_of(entry.unchecked_ref()).await {
                    out.push(Chosen { path: entry.full_path().trim_start_matches('/').into(), file });
                }
            } else {
                open.extend(entries_of(entry.unchecked_ref()).await);
            }
        }
        sorted(out, |a, b| a.path.cmp(&b.path))
    }
}

async fn file_of(entry: &FileSystemFileEntry) -> Option<File> {
    let promise = js_sys::Promise::new(&mut |resolve, reject| {
        let done = Closure::once_into_js(move |file: JsValue| resolve.call1(&JsValue::NULL, &file));
        let fail = Closure::once_into_js(move |e: JsValue| reject.call1(&JsValue::NULL, &e));
        entry.file_with_callback_and_callback(done.unchecked_ref(), fail.unchecked_ref());
    });
    JsFuture::from(promise).await.ok()?.dyn_into().ok()
}

/// What a folder holds. A reader hands out a hundred or so at a time, until there are none.
async fn entries_of(folder: &FileSystemDirectoryEntry) -> Vec<FileSystemEntry> {
    let reader = folder.create_reader();
    let mut out = vec![];
    loop {
        let promise = js_sys::Promise::new(&mut |resolve, reject| {
            let done = Closure::once_into_js(move |list: JsValue| resolve.call1(&JsValue::NULL, &list));
            let fail = Closure::once_into_js(move |e: JsValue| reject.call1(&JsValue::NULL, &e));
            // What cannot be listed counts as empty: the promise fails then.
            let _ = reader.read_entries_with_callback_and_callback(done.unchecked_ref(), fail.unchecked_ref());
        });
        let list = JsFuture::from(promise).await.map(|l| Array::from(&l)).unwrap_or_default();
        if list.length() == 0 {
            return out;
        }
        out.extend(list.iter().map(|e| e.unchecked_into::<FileSystemEntry>()));
    }
}

/// Reads files. Errors: too much at once, or a file that is gone or locked.
pub async fn read(files: &[Chosen]) -> Result<Vec<FileData>, String> {
    let total: f64 = files.iter().map(|f| f.file.size()).sum();
    if total > MOST_BYTES {
        return Err(format!("{:.1} GB at once; this page reads up to 1 GB", total / 1e9));
    }
    let mut out = Vec::with_capacity(files.len());
    for f in files {
        let failed = |_| format!("{}: it cannot be read", f.path);
        let buffer = JsFuture::from(f.file.array_buffer()).await.map_err(failed)?;
        out.push(FileData { name: f.path.clone(), bytes: Uint8Array::new(&buffer).to_vec() });
    }
    Ok(out)
}

/// Hands a file to the browser to save.
pub fn save(file: &FileData) -> Result<(), String> {
    let failed = |e: JsValue| format!("{} cannot be saved: {e:?}", file.name);
    let parts = Array::of1(&Uint8Array::from(file.bytes.as_slice()));
    let blob = Blob::new_with_u8_array_sequence(&parts).map_err(failed)?;
    let url = Url::create_object_url_with_blob(&blob).map_err(failed)?;
    let link: HtmlAnchorElement =
        crate::prelude::document().create_element("a").map_err(failed)?.dyn_into().map_err(|e| failed(e.into()))?;
    link.set_href(&url);
    link.set_download(&file.name);
    link.click();
    Url::revoke_object_url(&url).map_err(failed)
}

/// What files are for, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A run's folder or an archive of one.
    Run,
    Recipe,
    Weights,
    /// Pictures by class.
    Pictures,
    Picture,
}

fn is_picture(path: &str) -> bool {
    let end = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    ["png", "jpg", "jpeg", "webp"].contains(&end.as_str())
}

/// Guesses the purpose; `None`: nothing that the page knows.
pub fn purpose(paths: &[&str]) -> Option<Purpose> {
    match paths {
        [one] if one.ends_with(".zip") => Some(Purpose::Run),
        [one] if one.ends_with(".toml") => Some(Purpose::Recipe),
        [one] if one.ends_with(".safetensors") => Some(Purpose::Weights),
        [one] if is_picture(one) => Some(Purpose::Picture),
        _ if paths.iter().any(|p| p.ends_with("/recipe.toml")) => Some(Purpose::Run),
        _ if paths.iter().filter(|p| is_picture(p)).count() > 1 => Some(Purpose::Pictures),
        _ => None,
    }
}

/// Whether a file of a run's folder is read: the copies for people and the events are not.
pub fn is_of_run(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.ends_with(".zip")
        || path.contains("/checkpoints/")
        || ["recipe.toml", "model.json", "kernels.json", "metrics.jsonl"].contains(&name)
}
