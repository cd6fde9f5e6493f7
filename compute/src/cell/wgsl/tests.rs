//! Every sample of every op page prints, parses and validates; no adapter is needed.

use super::*;
use crate::cell::{Cmp, cmp_idx, exp, load, local, max, max_over, num, rand_bits, sum, var, when, within};
use crate::ops::PAGES;
use crate::tensor::TensorType;

fn validate(code: &str) {
    let module = naga::front::wgsl::parse_str(code).unwrap_or_else(|e| panic!("{}\n{code}", e.emit_to_string(code)));
    // For unpack2x16float, which is part of WebGPU; only OpenGL lacks it now and then.
    let halves = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), halves);
    if let Err(e) = validator.validate(&module) {
        panic!("{}\n{code}", e.emit_to_string(code));
    }
}

#[test]
fn every_sample_of_every_page_is_valid_wgsl() {
    let mut count = 0;
    for page in PAGES {
        for sample in (page.samples)() {
            let types: Vec<&TensorType> = sample.inputs.iter().map(|(t, _)| t).collect();
            let output = sample.op.infer(&types).expect("samples are well formed");
            let cell = sample.op.cell(&types, &output);
            let inputs: Vec<(DType, &[usize])> = types.iter().map(|t| (t.dtype, t.shape.as_slice())).collect();
            let kernel = naive_kernel(sample.op.name(), &cell, &inputs, (output.dtype, &output.shape));
            validate(&kernel.expect("pages read only their inputs").code);
            count += 1;
        }
    }
    assert!(count > 300, "{count}");
}

fn kernel(cell: &Cell, shape: &[usize], inputs: &[(DType, &[usize])]) -> String {
    let code = naive_kernel("test", cell, inputs, (DType::F32, shape)).expect("prints").code;
    validate(&code);
    code
}

/// Softmax exactly as a page would define it: the inner maximum must leave the sum's loop, and be
/// shared with the numerator's.
#[test]
fn invariant_reductions_are_hoisted_and_shared() {
    let (j, k) = (var("j"), var("k"));
    let top = |v| max_over(v, at(0), at(50), load(0, [ax(0), v.into()]));
    let total = sum(j, at(0), at(50), exp(load(0, [ax(0), j.into()]) - top(k)));
    let softmax = exp(load(0, [ax(0), ax(1)]) - top(j)) / total;
    let code = kernel(&softmax, &[3, 50], &[(DType::F32, &[3, 50])]);
    assert_eq!(code.matches("for (").count(), 2, "{code}");
    assert_eq!(code.matches("\n    for (").count(), 2, "{code}");
}

/// The same where the sum comes first and is tiled.
#[test]
fn hoisted_reductions_precede_tiled_loops() {
    let (j, k) = (var("j"), var("k"));
    let top = |v| max_over(v, at(0), at(9), load(0, [ax(0), v.into()]));
    let total = sum(j, at(0), at(5000), exp(load(1, [j.into()]) - top(k)));
    let code = kernel(&(total - top(j)), &[3], &[(DType::F32, &[3, 9]), (DType::F32, &[5000])]);
    assert!(code.find("var top_").expect("a maximum") < code.find("var j_").expect("a sum"), "{code}");
}

#[test]
fn long_sums_are_tiled() {
    let of = |n: usize| {
        let k = var("k");
        kernel(&sum(k, at(0), at(n), load(0, [k.into()])), &[], &[(DType::F32, &[n])]).matches("for (").count()
    };
    assert_eq!([of(1024), of(1025), of(1 << 20), of((1 << 20) + 1)], [1, 2, 2, 3]);
}

/// Turns are counted through calls, and long loops are unrolled so that they stay few.
#[test]
fn turns_are_counted() {
    let k = var("k");
    let of = |n: usize, read: Read| {
        function("f", &sum(k, at(0), at(n), load(0, [k.into()])), &[], &[read]).expect("prints").turns
    };
    assert_eq!(of(100, Read::buffer("b", DType::F32, &[100])), 101);
    assert_eq!(of(100, Read::call("n", &[100], 7)), 101 + 700);
    assert!(of(70_001, Read::buffer("b", DType::F32, &[70_001])) < 5000);
}

/// Flat code has fewer turns and the same statements; loops around loops stay.
#[test]
fn short_loops_can_be_written_out() {
    let (i, j) = (var("i"), var("j"));
    let cell = sum(i, at(0), at(3), sum(j, at(0), at(3), load(0, [i.into(), j.into()])));
    let reads = [Read::buffer("in0", DType::F32, &[3, 3])];
    let flat = function_of("element", &cell, &[], &[], &reads, true).expect("prints");
    assert_eq!((flat.turns, flat.text.matches("for (").count(), flat.text.matches("in0[").count()), (4, 1, 3));
    let code = binding(0, "in0", DType::F32, false) + &binding(1, "out", DType::F32, true) + &flat.text;
    validate(&import::with_math(&(code + &main_over(&[("element".into(), "out".into())], DType::F32, &[]))));
}

#[test]
fn bytes_are_written_by_the_word() {
    let code = naive_kernel("t", &load(0, [ax(0)]), &[(DType::U8, &[7])], (DType::U8, &[7])).expect("prints").code;
    validate(&code);
    assert!(code.contains("if (word >= 2)"), "{code}");
}

#[test]
fn branches_are_lazy_and_keep_their_reductions() {
    let k = var("k");
    let inside = sum(k, at(0), at(9), load(0, [k.into()]));
    let code = kernel(&when(cmp_idx(Cmp::Gt, ax(0), at(2)), inside, num(0.0)), &[5], &[(DType::F32, &[9])]);
    assert!(code.find("if (").expect("a branch") < code.find("for (").expect("a loop"), "{code}");
}

#[test]
fn division_is_floored_only_where_needed() {
    let x = [(DType::F32, &[40usize] as &[usize])];
    let plain = kernel(&load(0, [ax(0) / at(3)]), &[100], &x);
    assert!(plain.contains("in0[i0 / 3]") && !plain.contains("div_floor"), "{plain}");
    let below = ax(0) - at(5);
    let guarded = when(within(&below, 0, 40), load(0, [below.clone() / at(3)]), num(f64::INFINITY));
    let floored = kernel(&guarded, &[100], &x);
    assert!(floored.contains("div_floor(i0 - 5, 3)") && floored.contains("fn div_floor"), "{floored}");
    assert!(floored.contains("from_bits(0x7f800000u)"), "{floored}");
    assert!(kernel(&load(0, [below % at(8)]), &[9], &x).contains("& 7"));
}

#[test]
fn packed_bytes_random_numbers_and_names_print() {
    let bits = rand_bits(7, at(3), crate::cell::load_idx(1, vec![]), ax(0));
    let cell = load(0, [ax(0)]) + Cell::Int(bits);
    let code = kernel(&cell, &[6], &[(DType::U8, &[6]), (DType::U32, &[])]);
    assert!(code.contains("byte_of(in0[") && code.contains("random_bits(7u, 3u, u32(i32(in1[0])), u32(i0))"), "{code}");
    let v = var("mean");
    let twice = crate::cell::bind(v, load(0, [ax(0)]), max(local(v), local(v) * 2.0));
    assert!(kernel(&twice, &[6], &[(DType::F32, &[6])]).contains("let mean_1 = in0[i0];"));
}

#[test]
fn accessors_call_each_other() {
    let f = |name: &str, cell: &Cell, read: Read| function(name, cell, &[4, 5], &[read]).expect("prints").text;
    let relu = max(load(0, [ax(0), ax(1)]), num(0.0));
    let inner = f("n1", &relu, Read::buffer("in0", DType::F32, &[4, 5]));
    let other = load(0, [ax(0), at(4) - ax(1)]);
    let outer = f("element", &(other.clone() * 2.0 + other), Read::call("n1", &[4, 5], 0));
    assert_eq!(outer.matches("n1(").count(), 1, "{outer}");
    assert!(outer.contains("let f_1 = n1(i0, 4 - i1);") && outer.contains("f_1 * 2.0f"), "{outer}");
    let code = binding(0, "in0", DType::F32, false) + &binding(1, "out", DType::F32, true) + &inner + &outer;
    validate(&import::with_math(&(code + &main_over(&[("element".into(), "out".into())], DType::F32, &[4, 5]))));
}

#[test]
fn what_cannot_be_printed_is_an_error() {
    let missing = naive_kernel("t", &load(1, [ax(0)]), &[(DType::F32, &[3])], (DType::F32, &[3]));
    assert_eq!(missing, Err(PrintError::NoInput { function: "element".into(), input: 1, given: 1 }));
    assert!(matches!(function("f", &local(var("x")), &[], &[]), Err(PrintError::Unbound { name: "x", .. })));
    let rank = function("f", &load(0, [ax(0)]), &[3], &[Read::buffer("b", DType::F32, &[3, 3])]);
    assert!(matches!(rank, Err(PrintError::Rank { expected: 2, got: 1, .. })));
    assert!(matches!(function("f", &num(1.0), &[1 << 20, 1 << 20], &[]), Err(PrintError::TooLarge { .. })));
}

#[test]
fn grids_fold_past_the_limit_of_a_side() {
    for count in [1, 64, 65_535, 65_536, 200_003, 65_535 * 65_535 + 1] {
        let [x, y, z] = fold_groups(count).map(|v| v as usize);
        assert!(x * y * z >= count && x <= 65_535 && y <= 65_535 && z <= 65_535, "{count}: {x} {y} {z}");
    }
}
