//! Data sets over the network, from the page's own folder and from no other place; parsed by the
//! engine's own parsers.

use compute::data::assemble::Assembler;
use compute::data::folder::{self, Layout};
use compute::data::sample::{self, FASHION_PARTS};
use compute::data::{Dataset, cifar, idx};
use compute::recipe::DataPart;
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::inflate::{GZIP, inflate};
use super::training::Pictures;
use super::{FileData, Values, picture};
use compute::sorting::{map_of, sorted};

/// The most that a file may unpack to.
const MOST_BYTES: u64 = 1 << 30;
/// Images in one part of the sample.
const PART: usize = 1000;

/// The images that a recipe names; of the training images no more than its limit needs. `pictures`: the
/// files of the set `folder`, which the reader opened.
pub async fn fetch(data: &DataPart, pictures: &[FileData]) -> Result<Dataset, String> {
    let limit = data.limit;
    let mut all = match data.set.as_str() {
        "fashion-sample" => fashion(limit).await?,
        "blood-cells" => blood().await?,
        "cifar10" => cifar10(limit).await?,
        "folder" => own(pictures, limit, data.resize).await?,
        other => {
            return Err(format!(
                "the page has no data set {other}; it knows fashion-sample and blood-cells, cifar10 where the server has it, and folder: pictures of your own"
            ));
        }
    };
    if let Some(limit) = limit {
        all.train.truncate(limit);
    }
    Ok(all)
}

/// One image of the sample's first part, as numbers from 0 to 255: `[1, height, width]`.
pub async fn image(k: usize) -> Result<Values, String> {
    let path = "data/train-0-images-idx3-ubyte.gz";
    let all = idx::parse(path, &get(path).await?).map_err(|e| e.to_string())?;
    let &[count, height, width] = all.shape.as_slice() else {
        return Err(format!("{path}: {:?} where images have 3 dimensions", all.shape));
    };
    let size = height * width;
    let pixels = all.data.get(k * size..(k + 1) * size).filter(|_| k < count);
    let pixels = pixels.ok_or_else(|| format!("{path} has images 0 to {}, not {k}", count.saturating_sub(1)))?;
    let data = pixels.iter().map(|p| f32::from(*p)).collect();
    Ok(Values { name: k.to_string(), shape: vec![1, height, width], data })
}

async fn fashion(limit: Option<usize>) -> Result<Dataset, String> {
    let parts = limit.map_or(FASHION_PARTS, |n| n.div_ceil(PART).clamp(1, FASHION_PARTS));
    let mut names: Vec<String> = (0..parts).map(|k| format!("train-{k}")).collect();
    // A run that trains on one part is evaluated on images of that part that it keeps back.
    let whole = parts == FASHION_PARTS;
    if whole {
        names.push("t10k".into());
    }
    let mut files = vec![];
    for name in &names {
        let paths = [format!("data/{name}-images-idx3-ubyte.gz"), format!("data/{name}-labels-idx1-ubyte.gz")];
        let [images, labels] = [get(&paths[0]).await?, get(&paths[1]).await?];
        files.push((paths, images, labels));
    }
    let all: Vec<[sample::File; 2]> =
        files.iter().map(|(p, i, l)| [(p[0].as_str(), i.as_slice()), (p[1].as_str(), l.as_slice())]).collect();
    let (train, test) = if whole { all.split_at(parts) } else { (all.as_slice(), &all[..1]) };
    let mut set = sample::fashion(train, test[0]).map_err(|e| e.to_string())?;
    if !whole {
        set.test.truncate(0);
    }
    Ok(set)
}

async fn blood() -> Result<Dataset, String> {
    let part = async |part: &str| -> Result<_, String> {
        let names = ["images.webp", "labels-idx1-ubyte.gz"].map(|end| format!("data/blood-cells/{part}-{end}"));
        let (image, labels) = (get(&names[0]).await?, get(&names[1]).await?);
        let sheet = picture::decode(&names[0], &image).await?;
        Ok((names, sheet, labels))
    };
    let (train, test) = (part("train").await?, part("test").await?);
    sample::blood(((&train.0[0], &train.1), (&train.0[1], &train.2)), ((&test.0[0], &test.1), (&test.0[1], &test.2)))
        .map_err(|e| e.to_string())
}

/// What is in a folder of pictures: classes and parts by the names of folders, as natively.
fn layout(pictures: &[FileData]) -> Result<(String, Layout), String> {
    // A folder that was opened brings its own name in front.
    let root = pictures.first().and_then(|f| f.name.split_once('/')).map(|(root, _)| root.to_string());
    let root = root.ok_or("open a folder of pictures first: a folder for each class")?;
    let inside = |f: &FileData| f.name.strip_prefix(&format!("{root}/")).map(str::to_string);
    let files = sorted(pictures.iter().filter_map(inside).collect(), |a, b| a.cmp(b));
    let folders = files
        .iter()
        .flat_map(|f| f.match_indices('/').map(|(at, _)| f[..at].to_string()).collect::<Vec<_>>())
        .collect();
    let mut folders = sorted(folders, |a, b| a.cmp(b));
    folders.dedup();
    let layout = folder::layout(&root, &folders, &files).map_err(|e| e.to_string())?;
    Ok((root, layout))
}

/// A look at a folder before it is trained on.
pub fn look(pictures: &[FileData]) -> Result<Pictures, String> {
    let (_, l) = layout(pictures)?;
    Ok(Pictures { classes: l.classes, train: l.train.len(), test: l.test.len(), skipped: l.skipped })
}

/// The reader's own pictures.
async fn own(pictures: &[FileData], limit: Option<usize>, resize: Option<usize>) -> Result<Dataset, String> {
    let (root, mut layout) = layout(pictures)?;
    if let Some(limit) = limit {
        layout.train.truncate(limit);
    }
    let by_name = map_of(pictures.iter().filter_map(|f| Some((f.name.strip_prefix(&format!("{root}/"))?, f))));
    let mut set = Assembler::new(resize);
    for (label, file) in layout.train.iter().chain(&layout.test) {
        let bytes = by_name.get(file.as_str()).map(|f| f.bytes.as_slice()).unwrap_or_default();
        let picture = picture::decode(file, bytes).await?;
        set.push(file, *label, &picture).map_err(|e| e.to_string())?;
    }
    let (train, test) = set.finish(&root, layout.train.len()).map_err(|e| e.to_string())?;
    Ok(Dataset { name: "folder".into(), classes: layout.classes, train, test })
}

async fn cifar10(limit: Option<usize>) -> Result<Dataset, String> {
    let batches = limit.map_or(5, |n| n.div_ceil(cifar::BATCH_RECORDS).clamp(1, 5));
    let read = async |file: &str| {
        let path = format!("data/cifar10/{file}");
        let bytes = get(&path).await.map_err(|e| {
            format!("{e}. CIFAR-10 is not bundled; fetch it with `chainrule data fetch cifar10` and open the page by `chainrule serve`")
        })?;
        cifar::parse_batch(&path, &bytes).map_err(|e| e.to_string())
    };
    let mut train = read(cifar::FILES[0]).await?;
    for file in &cifar::FILES[1..batches] {
        train.append(&read(file).await?);
    }
    let test = read(cifar::FILES[5]).await?;
    Ok(Dataset { name: "cifar10".into(), classes: cifar::CLASSES.map(String::from).to_vec(), train, test })
}

/// The bytes of a file beside the page, unpacked where it is in gzip.
async fn get(path: &str) -> Result<Vec<u8>, String> {
    let failed = |e: JsValue| format!("{path} could not be fetched: {}", js_sys::Object::from(e).to_string());
    let scope: web_sys::DedicatedWorkerGlobalScope =
        js_sys::global().dyn_into().map_err(|_| "data are fetched in the worker".to_string())?;
    let response = JsFuture::from(scope.fetch_with_str(path)).await.map_err(failed)?;
    let response: web_sys::Response = response.dyn_into().map_err(failed)?;
    if !response.ok() {
        return Err(format!("{path}: the server answers {}", response.status()));
    }
    let buffer = JsFuture::from(response.array_buffer().map_err(failed)?).await.map_err(failed)?;
    let bytes = Uint8Array::new(&buffer).to_vec();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return inflate(path, GZIP, &bytes, MOST_BYTES).await;
    }
    Ok(bytes)
}
