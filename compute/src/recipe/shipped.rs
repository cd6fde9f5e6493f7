//! The recipes that come with the program, found by name. The files are `compute/recipes/`.

macro_rules! recipe {
    ($name:literal, $description:literal) => {
        ($name, include_str!(concat!("../../recipes/", $name, ".toml")), $description)
    };
}

const SHIPPED: &[(&str, &str, &str)] = &[
    recipe!("quick", "a small CNN on the built-in clothing images; under a minute on two cores"),
    recipe!("seed-cnn-32", "one convolution and one linear layer on CIFAR-10 at its own size"),
    recipe!("seed-cnn-224", "the same net on CIFAR-10 resized to 224x224, as the classic script has it"),
    recipe!("cnn-32", "a modern small CNN on CIFAR-10; for a GPU, 90% or more"),
    recipe!("mlp-fashion", "three linear layers on the full Fashion-MNIST"),
];

/// Every shipped recipe: name, text, one line on what it is.
pub fn shipped() -> &'static [(&'static str, &'static str, &'static str)] {
    SHIPPED
}

/// The text of a shipped recipe.
pub fn find_shipped(name: &str) -> Option<&'static str> {
    let found = SHIPPED.iter().find(|(shipped, _, _)| *shipped == name);
    found.map(|(_, text, _)| *text)
}

/// The shipped recipe whose name is nearest, for "did you mean".
pub fn nearest_shipped(name: &str) -> Option<&'static str> {
    super::nearest(name, SHIPPED.iter().map(|(shipped, _, _)| *shipped))
}
