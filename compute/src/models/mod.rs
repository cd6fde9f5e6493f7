//! The catalogue of named models: what `model.name` in a recipe can say.
//!
//! A model is one file with one `MODEL` row, and its entry in `MODELS`. Its layers are lines of
//! the layer language (`recipe::layers`); `linear classes` has as many outputs as the data set
//! has classes, so a model fits any data set of its kind. Knows nothing of the engine.

mod mlp;
mod seed_cnn;
mod small_cnn;

/// A named list of layers.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub name: &'static str,
    pub description: &'static str,
    pub layers: &'static [&'static str],
}

/// Every named model, in the order that menus show.
pub const MODELS: &[Model] = &[seed_cnn::MODEL, small_cnn::MODEL, mlp::MODEL];

/// The model of that name.
pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}
