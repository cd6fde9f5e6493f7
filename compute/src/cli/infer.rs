//! `chainrule eval` and `chainrule predict`: a trained run at work.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::{EvalArgs, Format, PredictArgs};
use super::device::{self, block_on};
use super::error::io;
use super::run_dir::RunView;
use super::runs::{weights, write_whole};
use super::{CliError, data, system};
use crate::data::Images;
use crate::data::picture::decode;
use crate::network::{ImageShape, eval_step};
use crate::recipe::Recipe;
use crate::session::Session;
use crate::train::folder::{MODEL_CARD, ModelCard};
use crate::train::{Part, Trainer, feed};

fn recipe_of(view: &RunView) -> Result<Recipe, CliError> {
    let name = view.path("recipe.toml").display().to_string();
    Ok(Recipe::parse(&name, &view.recipe()?, &[])?)
}

/// `chainrule eval RUN`.
pub fn eval(args: &EvalArgs) -> Result<(), CliError> {
    let view = RunView::open(&args.run)?;
    let recipe = recipe_of(&view)?;
    let given = weights(&view, args.weights)?;
    let data = data::load_for(&recipe)?;
    let mut trainer = Trainer::new(device::session(&args.device)?, recipe, data)?;
    trainer.set_weights(&args.run.display().to_string(), given)?;
    let e = block_on(trainer.evaluate(Part::Test))?;
    if args.json {
        system::line(&serde_json::to_string(&e).map_err(|e| CliError::Other(e.to_string()))?);
        return Ok(());
    }
    system::line(&format!("{:<16} {:>9} {:>9} {:>9} {:>8}", "class", "precision", "recall", "F1", "images"));
    for c in &e.classes {
        system::line(&format!("{:<16} {:>9.4} {:>9.4} {:>9.4} {:>8}", c.class, c.precision, c.recall, c.f1, c.support));
    }
    for (name, s) in [("macro", &e.macro_average), ("weighted", &e.weighted_average)] {
        system::line(&format!("{name:<16} {:>9.4} {:>9.4} {:>9.4} {:>8}", s.precision, s.recall, s.f1, e.samples));
    }
    let loss = e.loss.map_or_else(|| "-".into(), |l| format!("{l:.4}"));
    system::line(&format!("accuracy {:.2}% of {} images, loss {loss}", 100.0 * e.accuracy, e.samples));
    Ok(())
}

/// What the run's model was trained on.
fn card(view: &RunView) -> Result<ModelCard, CliError> {
    let path = view.path(MODEL_CARD);
    let bytes = std::fs::read(&path).map_err(io(&path, "read what the model was trained on"))?;
    Ok(ModelCard::parse(&path.display().to_string(), &bytes)?)
}

/// `chainrule predict RUN FILE...`.
pub fn predict(args: &PredictArgs) -> Result<(), CliError> {
    let view = RunView::open(&args.run)?;
    let recipe = recipe_of(&view)?;
    let given = weights(&view, args.weights)?;
    let card = card(&view)?;
    let (classes, shape) = (&card.classes, card.shape());
    let files = files(&args.files)?;
    let mut session = device::session(&args.device)?;
    let rows = classify(&mut session, &recipe, shape, &given, &files)?;
    let text = match args.format {
        Format::Csv => csv(classes, &files, &rows),
        Format::Json => json_text(classes, &files, &rows),
    };
    match &args.out {
        Some(path) => write_whole(path, text.as_bytes()),
        None => {
            system::line(text.trim_end());
            Ok(())
        }
    }
}

/// Files as given; folders by the images in them, sorted.
fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut out = vec![];
    for path in given {
        if path.is_dir() {
            let mut inside = vec![];
            walk(path, &mut inside)?;
            inside.sort();
            if inside.is_empty() {
                return Err(CliError::Usage(format!("{}: no PNG, JPEG or WebP image in it", path.display())));
            }
            out.extend(inside);
        } else {
            out.push(path.clone());
        }
    }
    Ok(out)
}

fn walk(folder: &Path, out: &mut Vec<PathBuf>) -> Result<(), CliError> {
    for entry in std::fs::read_dir(folder).map_err(io(folder, "read the folder"))? {
        let path = entry.map_err(io(folder, "read the folder"))?.path();
        if path.is_dir() {
            walk(&path, out)?;
        } else if is_picture(&path) {
            out.push(path);
        }
    }
    Ok(())
}

/// The probabilities of each file.
fn classify(
    session: &mut Session,
    recipe: &Recipe,
    shape: ImageShape,
    given: &[(String, crate::tensor::Tensor)],
    files: &[PathBuf],
) -> Result<Vec<Vec<f64>>, CliError> {
    let batch = recipe.train.batch.min(files.len()).max(1);
    let step = eval_step(recipe, shape, batch)?;
    let program = session.load(&step.graph)?;
    let expected: Vec<(String, Vec<usize>)> = step
        .graph
        .leaves(|l| matches!(l, crate::graph::Leaf::Param | crate::graph::Leaf::State))
        .into_iter()
        .map(|id| (step.graph.node(id).name.clone(), step.graph.shape(id).to_vec()))
        .collect();
    for (name, value) in crate::checkpoint::match_weights("the run's weights", &expected, given.to_vec())? {
        session.write(&name, &value)?;
    }
    let mut rows = vec![];
    for chunk in files.chunks(batch) {
        let mut pixels = vec![];
        for path in chunk {
            let bytes = std::fs::read(path).map_err(io(path, "read the image"))?;
            let picture = decode(&path.display().to_string(), &bytes)?;
            let sized = picture.planes([shape.channels, shape.height, shape.width]);
            pixels.extend(sized.ok_or_else(|| CliError::Other(format!("{}: cannot be scaled", path.display())))?);
        }
        let labels = vec![0; chunk.len()];
        let images = Images::new([shape.channels, shape.height, shape.width], pixels, labels)
            .ok_or_else(|| CliError::Other("images of unequal size".into()))?;
        let which: Vec<u32> = (0..chunk.len() as u32).collect();
        feed(session, &images, &which, batch)?;
        session.run(program)?;
        let p = block_on(session.output(program, "probabilities"))?;
        for k in 0..chunk.len() {
            rows.push((0..shape.classes).map(|c| p.at(k * shape.classes + c)).collect());
        }
    }
    Ok(rows)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    ending.is_some_and(|e| ["png", "jpg", "jpeg", "webp"].contains(&e.as_str()))
}

fn top(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, k| if row[k] > row[best] { k } else { best })
}

/// A field of CSV (RFC 4180).
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

fn csv(classes: &[String], files: &[PathBuf], rows: &[Vec<f64>]) -> String {
    let mut out = String::from("file,class,probability");
    for c in classes {
        out += &format!(",{}", field(&format!("p({c})")));
    }
    out.push('\n');
    for (file, row) in files.iter().zip(rows) {
        let k = top(row);
        out += &format!("{},{},{:.6}", field(&file.display().to_string()), field(&classes[k]), row[k]);
        for p in row {
            out += &format!(",{p:.6}");
        }
        out.push('\n');
    }
    out
}

fn json_text(classes: &[String], files: &[PathBuf], rows: &[Vec<f64>]) -> String {
    let items: Vec<serde_json::Value> = files
        .iter()
        .zip(rows)
        .map(|(file, row)| {
            let k = top(row);
            let all: serde_json::Map<String, serde_json::Value> =
                classes.iter().zip(row).map(|(c, p)| (c.clone(), json!(p))).collect();
            json!({"file": file.display().to_string(), "class": classes[k], "probability": row[k], "probabilities": all})
        })
        .collect();
    serde_json::Value::Array(items).to_string()
}
