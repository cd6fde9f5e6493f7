//! Chapter 5, backpropagation: a real graph to walk through, and gradients to measure.

mod check;
mod graph;
mod layout;

use super::Stage;
use crate::page::route;
use crate::prelude::*;
use crate::scenes::Spec;
use crate::widgets::live::{Live, feed};

pub fn open() -> Stage {
    let x = route::numbers("x", vec![1.0, 0.5]);
    let class = route::choice("y", &["1", "2"]);
    let live = Live::new(
        || Spec::Backprop,
        move || {
            let hot = (0..2).map(|k| if k == class.get() { 1.0 } else { 0.0 }).collect();
            vec![feed("x", &[1, 2], x.get()), feed("y", &[1, 2], hot)]
        },
    );
    let walk = graph::Walk::new(live, x, class);
    let probe = check::Probe::new(live);
    let widget = move |name: &str| {
        Some(match name {
            "graph" => view! { <graph::Graph walk /> },
            "check" => view! { <check::Measured probe /> },
            _ => return None,
        })
    };
    Stage { widget: Box::new(widget), scenes: vec![live] }
}
