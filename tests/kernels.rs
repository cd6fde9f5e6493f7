//! The suite of the kernels ([`tests::suite`]) natively: on a Vulkan adapter in all variants, and
//! on the cpu backend.

use compute::backend::gpu::{AdapterChoice, Gpu, Variants};
use compute::ops::{PAGES, Sample};
use pollster::block_on;
use tests::suite::{self, HAND_WRITTEN, check_cpu, check_gpu, page};

/// `Device` is what this machine's adapter gets: with subgroups where it has them.
const ALL: [Variants; 4] = [Variants::Naive, Variants::Device, Variants::Software, Variants::Hardware];

#[test]
fn naive_kernels_of_all_pages_but_products() {
    let rest: Vec<Sample> =
        PAGES.iter().filter(|p| !HAND_WRITTEN.contains(&p.name)).flat_map(|p| (p.samples)()).collect();
    block_on(check_gpu(&[Variants::Naive], &rest));
}

#[test]
fn matmul_in_all_variants() {
    block_on(check_gpu(&ALL, &page("matmul")));
}

#[test]
fn conv2d_in_all_variants() {
    block_on(check_gpu(&ALL, &page("conv2d")));
}

#[test]
fn reductions_in_both_variants() {
    block_on(check_gpu(&[Variants::Naive, Variants::Device], &page("reduce")));
}

#[test]
fn large_shapes_in_all_variants() {
    block_on(check_gpu(&ALL[1..], &suite::large_shapes()));
}

#[test]
fn all_pages_on_the_cpu_backend() {
    block_on(check_cpu(&tests::samples::all()));
    block_on(check_cpu(&suite::large_shapes()));
}

#[test]
fn accessors_equal_stored_operands() {
    block_on(suite::accessors_equal_stored_operands());
}

#[test]
fn steps_make_nothing() {
    block_on(suite::steps_make_nothing());
}

#[test]
fn errors_name_what_is_wrong() {
    let none = block_on(Gpu::open(&AdapterChoice::Name("no such adapter".into())));
    assert!(none.is_err_and(|e| e.to_string().contains("no such adapter") && e.to_string().contains("there are")));
    block_on(suite::errors_name_what_is_wrong());
}
