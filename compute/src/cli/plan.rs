//! `chainrule plan` and `chainrule summary`: what a recipe will do, before it does it.

use super::args::PlanArgs;
use super::{CliError, data, recipes, system};
use crate::data::Dataset;
use crate::graph::NodeId;
use crate::network::{ImageShape, TrainStep, train_step};
use crate::plan::{Plan, print::bytes};
use crate::recipe::Recipe;
use crate::rewrite::Fusion;

/// The image shape of a data set.
pub fn shape_of(data: &Dataset) -> ImageShape {
    let t = &data.train;
    ImageShape { channels: t.channels, height: t.height, width: t.width, classes: data.classes.len() }
}

/// The shape that a recipe's data will have. Sets of known shape need not be here for that.
pub fn shape_for(recipe: &Recipe) -> Result<ImageShape, CliError> {
    let known = |channels, side, classes| Ok(ImageShape { channels, height: side, width: side, classes });
    match recipe.data.set.as_str() {
        "cifar10" => known(3, 32, 10),
        "mnist" | "fashion-mnist" | "fashion-sample" => known(1, 28, 10),
        _ => Ok(shape_of(&data::load_for(recipe)?)),
    }
}

fn network(args: &PlanArgs) -> Result<(Recipe, TrainStep), CliError> {
    let recipe = recipes::find(&args.recipe.recipe, &args.recipe.sets)?;
    let step = train_step(&recipe, shape_for(&recipe)?, recipe.train.batch)?;
    Ok((recipe, step))
}

fn fusion(args: &PlanArgs) -> Fusion {
    if args.no_fusion { Fusion::off() } else { Fusion::default() }
}

/// `chainrule plan RECIPE`.
pub fn plan(args: &PlanArgs) -> Result<(), CliError> {
    let (_, step) = network(args)?;
    let plan = Plan::new(&step.graph, &fusion(args), None).map_err(|e| CliError::Other(e.to_string()))?;
    system::line(plan.to_string().trim_end());
    Ok(())
}

/// `chainrule summary RECIPE`.
pub fn summary(args: &PlanArgs) -> Result<(), CliError> {
    let (recipe, step) = network(args)?;
    let g = &step.graph;
    system::line(&format!("{:<40} {:<22} {:>12}", "layer", "output", "parameters"));
    let mut seen: Vec<NodeId> = vec![];
    let mut total = 0;
    for place in &step.places {
        // Parameters that this layer's output needs and no earlier one did.
        let mut own = 0;
        for p in params_below(&step, place.output) {
            if !seen.contains(&p) {
                seen.push(p);
                own += g.ty(p).numel();
            }
        }
        total += own;
        let shape = format!("{:?}", g.shape(place.output));
        let count = if own > 0 { thousands(own) } else { String::new() };
        system::line(&format!("{:<40} {shape:<22} {count:>12}", place.layer));
    }
    let plan = Plan::new(g, &fusion(args), None).map_err(|e| CliError::Other(e.to_string()))?;
    system::line(&format!(
        "{} parameters ({}); a training step of batch {}: {:.3} GFLOP in {} kernels, peak {}",
        thousands(total),
        bytes(4 * total),
        recipe.train.batch,
        plan.flops() / 1e9,
        plan.kernels.len(),
        bytes(plan.peak_bytes()),
    ));
    Ok(())
}

fn params_below(step: &TrainStep, id: NodeId) -> Vec<NodeId> {
    let g = &step.graph;
    let mut todo = vec![id];
    let mut seen = vec![];
    while let Some(n) = todo.pop() {
        if !seen.contains(&n) {
            seen.push(n);
            todo.extend(&g.node(n).inputs);
        }
    }
    step.params.iter().copied().filter(|p| seen.contains(p)).collect()
}

/// 16057226 as 16,057,226.
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (k, c) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
