//! The tilings that are worth a try for a product: what a tuner measures. Few, because each is compiled and
//! timed: on a GPU a moment, on a software device some tenths of a second.

use super::shape::{Product, TEAM, Tiling, Variant, even};
use crate::backend::gpu::kernel::Class;
use crate::backend::gpu::shaders::SUBGROUPS;

/// The most candidates of a product.
pub const CANDIDATES: usize = 6;

impl Product {
    /// Tilings that fit, the table's first, at most [`CANDIDATES`]; the direct form of a convolution among them, if it fits.
    pub fn candidates(&self, class: Class) -> Vec<Tiling> {
        let class = Class { tiling: None, ..class };
        let table = self.table(class);
        let mut found = vec![table];
        let others = match (class.software, table.variant) {
            (_, Variant::Direct) => self.direct_beside(table, class),
            (_, variant) if variant.is_lanes() => self.lanes_beside(table, class),
            (true, _) => self.rows_in_software(class),
            (_, Variant::Tiled) => self.tiled_on_gpu(class),
            _ => self.narrow_on_gpu(table, class),
        };
        // Other parts of k: half as many, or so many more that each is still worth its start.
        let parts = [table.splits / 2, 2 * table.splits, 4 * table.splits];
        let worth = |splits: &usize| *splits > 0 && self.k / splits >= 128;
        let split = parts.into_iter().filter(worth).map(|splits| self.with_splits(table, splits, class));
        for t in self.direct(class).into_iter().chain(others).chain(split) {
            if found.len() < CANDIDATES && !found.contains(&t) && self.fits(&t, class) {
                found.push(t);
            }
        }
        found
    }

    /// Tiles of `lanes` of other widths and heights, and C the other way round.
    fn lanes_beside(&self, table: Tiling, class: Class) -> Vec<Tiling> {
        let [m4, n4] = table.blocks;
        let (rows, columns) = if table.turned { (self.n, self.m) } else { (self.m, self.n) };
        let make = |blocks, turned| self.tiling(Variant::Lanes, blocks, class.lanes, turned, class);
        let mut out = vec![];
        if n4 == 2 {
            out.push(make([m4, 1], table.turned));
        } else if columns > 4 * class.lanes {
            out.push(make([m4, 2], table.turned));
        }
        out.extend([8, 4, 2].map(|most| make([even(rows, most), n4], table.turned)));
        if rows >= class.lanes {
            out.push(make([even(columns, m4), 1], !table.turned));
        }
        out
    }

    /// Register tiles up to 16 x 16, which llvmpipe compiles in bearable time.
    fn rows_in_software(&self, class: Class) -> Vec<Tiling> {
        let make = |blocks| self.tiling(Variant::Rows, blocks, 16, false, class);
        self.blocks([[4, 4], [2, 4], [4, 2], [2, 2], [1, 4]]).into_iter().map(make).collect()
    }

    /// Tiles in workgroup memory from 64 x 64 to 128 x 128, 8 x 8 an invocation, and, for GPUs whose
    /// caches do as well, without workgroup memory: by teams of a subgroup, or each invocation alone.
    fn tiled_on_gpu(&self, class: Class) -> Vec<Tiling> {
        let tiled = |blocks, threads| self.tiling(Variant::Tiled, blocks, threads, false, class);
        let mut out = vec![tiled([2, 2], 64)];
        out.extend(self.teams_on_gpu(class));
        out.extend(self.blocks([[2, 2]]).into_iter().map(|b| self.tiling(Variant::Rows, b, 64, false, class)));
        match (self.m > 64, self.n > 64) {
            (true, true) => out.extend([tiled([2, 2], 256), tiled([2, 2], 128)]),
            (true, false) => out.extend([tiled([2, 1], 256), tiled([1, 1], 64)]),
            (false, true) => out.extend([tiled([1, 2], 256), tiled([2, 2], 128), tiled([1, 1], 64)]),
            (false, false) => out.extend([tiled([1, 1], 64), tiled([1, 1], 128)]),
        }
        out
    }

    /// Register tiles for a side of at most 16, with whole subgroups in a workgroup, and a small tile in
    /// workgroup memory.
    fn narrow_on_gpu(&self, table: Tiling, class: Class) -> Vec<Tiling> {
        let rows = |blocks| self.tiling(Variant::Rows, blocks, 64, false, class);
        let mut out = vec![rows(table.blocks)];
        out.extend(self.teams_on_gpu(class));
        let wide = if self.m < self.n { [[1, 1], [1, 4]] } else { [[1, 1], [4, 1]] };
        out.extend(self.blocks(wide).into_iter().map(rows));
        if self.m.min(self.n) > 4 {
            out.push(self.tiling(Variant::Tiled, [1, 1], 64, false, class));
        }
        out
    }

    /// Up to 16 rows, which the lanes of a team hand round, by 64 columns: 128 sums a lane.
    fn teams_on_gpu(&self, class: Class) -> Option<Tiling> {
        let team = TEAM.min(class.lanes);
        let (turned, _) = self.lane_blocks(team);
        let (rows, columns) = if turned { (self.n, self.m) } else { (self.m, self.n) };
        let blocks = [even(rows, 4), if columns > 4 * team { 2 } else { 1 }];
        (SUBGROUPS && team > 0).then(|| self.tiling(Variant::Lanes, blocks, team, turned, class))
    }

    /// Tiles in blocks, none wider than the product.
    fn blocks<const N: usize>(&self, wanted: [[usize; 2]; N]) -> [[usize; 2]; N] {
        wanted.map(|[m4, n4]| [m4.min(self.m.div_ceil(4)).max(1), n4.min(self.n.div_ceil(4)).max(1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(batch: usize, m: usize, n: usize, k: usize, computed: [bool; 2]) -> Product {
        Product {
            file: ("matmul.wgsl", ""),
            batch,
            m,
            n,
            k,
            computed,
            turns: 0,
            halves: false,
            pairs: false,
            window: None,
        }
    }

    fn classes() -> [Class; 3] {
        let class = |software, lanes| Class { software, lanes, max_buffer_bytes: 128 << 20, flat: false, tiling: None };
        [class(true, 8), class(true, 0), class(false, 32)]
    }

    fn products() -> Vec<Product> {
        let sides = [1, 5, 16, 17, 64, 100, 1000];
        let mut out = vec![];
        for m in sides {
            for n in sides {
                for k in [1, 27, 1024, 100_000] {
                    for computed in [[false, false], [true, false], [false, true], [true, true]] {
                        out.push(product(1 + m % 3, m, n, k, computed));
                    }
                }
            }
        }
        out
    }

    #[test]
    fn candidates_are_few_different_and_fit_and_the_first_is_the_tables() {
        for class in classes() {
            for p in products() {
                let found = p.candidates(class);
                assert!((1..=CANDIDATES).contains(&found.len()), "{p:?}");
                assert_eq!(found[0], p.choose(class).tiling, "{p:?}");
                for (i, t) in found.iter().enumerate() {
                    assert!(p.fits(t, class), "{t} of {p:?}");
                    assert!(!found[..i].contains(t), "{t} twice of {p:?}");
                    let s = p.choose(Class { tiling: Some(*t), ..class });
                    assert_eq!((s.tiling, s.splits), (*t, t.splits), "{p:?}");
                    assert!(s.span * s.splits >= p.k && s.span * (s.splits - 1) < p.k.max(1), "{t}: {s:?}");
                    assert_eq!(t.to_string().parse(), Ok(*t));
                }
            }
        }
    }

    #[test]
    fn each_class_of_device_has_something_to_try() {
        let p = product(1, 1024, 1024, 1024, [false, false]);
        for class in classes() {
            assert!(p.candidates(class).len() >= 4, "{class:?}");
        }
        let tiles = |p: Product, class| -> Vec<String> { p.candidates(class).iter().map(Tiling::to_string).collect() };
        let [_, _, gpu] = classes();
        assert_eq!(
            tiles(p, gpu),
            [
                "tiled 1x1 by 256",
                "tiled 2x2 by 64",
                "lanes 4x2 by 8 split 2",
                "rows 2x2 by 64",
                "tiled 2x2 by 256 split 4",
                "tiled 2x2 by 128 split 2"
            ]
        );
        let narrow = tiles(product(1, 64, 10, 20_000, [false, false]), gpu);
        assert!(narrow[0].starts_with("rows") && narrow.iter().any(|t| t.starts_with("tiled")), "{narrow:?}");
        assert!(narrow.iter().any(|t| t.starts_with("lanes")), "{narrow:?}");
    }

    /// 16 KiB, WebGPU's default, for every tile of `tiled`.
    #[test]
    fn tiles_fit_workgroup_memory() {
        for threads in [64, 128, 256] {
            for blocks in [[1, 1], [1, 2], [2, 1], [2, 2]] {
                let t = Tiling { variant: Variant::Tiled, blocks, threads, turned: false, splits: 1 };
                let [rows, columns] = t.threads_by_side();
                assert_eq!(rows * columns, threads);
                let bytes = 64 * t.step() * (rows * blocks[0] + columns * blocks[1]);
                assert!((4096..=16_384).contains(&bytes) && 32 % (4 * t.step()) == 0, "{t}: {bytes}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_falls_back_to_the_table() {
        let [lanes, rows, gpu] = classes();
        let p = product(1, 100, 100, 100, [true, false]);
        for (text, class) in [
            ("tiled 1x1 by 256", rows),
            ("tiled 1x1 by 32", gpu),
            ("tiled 4x4 by 256", gpu),
            ("lanes 4x1 by 32", gpu),
            ("lanes 4x1 by 8", rows),
            ("lanes 4x1 by 16", lanes),
            // A is computed.
            ("rows 2x4 by 16", gpu),
            ("rows 1x1 by 17", gpu),
            ("rows 1x1 by 16 turned", gpu),
            ("rows 1x1 by 16 split 500", gpu),
        ] {
            let tiling = text.parse().unwrap();
            assert_eq!(p.choose(Class { tiling: Some(tiling), ..class }), p.choose(class), "{text}");
        }
        for text in ["rows 1x4 by 64", "lanes 4x2 by 8", "lanes 4x2 by 4"] {
            let fits: Tiling = text.parse().unwrap();
            assert_eq!(p.choose(Class { tiling: Some(fits), ..gpu }).tiling, fits);
        }
        // No team is larger than the smallest subgroup.
        let tiling = "lanes 4x2 by 8".parse().unwrap();
        let small = Class { lanes: 4, ..gpu };
        assert_eq!(p.choose(Class { tiling: Some(tiling), ..small }), p.choose(small));
    }
}
