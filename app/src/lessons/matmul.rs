//! Chapter 6, matrix multiplication: an element and what it reads, tiles and how often they read,
//! and the time that each variant takes here.

mod cells;
mod speed;
mod tiles;

use super::Stage;
use crate::page::route;
use crate::prelude::*;
use crate::scenes::Spec;
use crate::scenes::matmul::SIZES;
use crate::widgets::live::{Live, feed};

const A: [f32; 12] = [1.0, 2.0, -1.0, 0.5, -1.0, 3.0, -2.0, 0.0, 1.5, 2.0, 1.0, 1.0];
const B: [f32; 15] = [2.0, -1.0, 0.0, 1.0, 3.0, 1.0, 0.5, -2.0, 1.0, 0.0, -1.0, 2.0, 1.0, 0.5, -1.0];

pub fn open() -> Stage {
    let [m, k, n] = SIZES;
    let (a, b) = (route::numbers("a", A.to_vec()), route::numbers("b", B.to_vec()));
    let live = Live::new(|| Spec::Cells, move || vec![feed("A", &[m, k], a.get()), feed("B", &[k, n], b.get())]);
    let place = cells::Place::new(live, a, b);
    let tiling = tiles::Tiling::new();
    let race = speed::Race::new();
    let widget = move |name: &str| {
        Some(match name {
            "cells" => view! { <cells::Cells place /> },
            "tiles" => view! { <tiles::Tiles tiling /> },
            "speed" => view! { <speed::Speed race /> },
            _ => return None,
        })
    };
    Stage { widget: Box::new(widget), scenes: vec![race.live()] }
}
