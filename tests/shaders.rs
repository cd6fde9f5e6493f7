//! Every shader file parses and validates with its plain accessors, without an adapter, and binds
//! what it should: inputs read-only from 0, then the output, then the partial sums.

use compute::backend::gpu::shaders::{ALL, CONV2D_DIRECT, CONV2D_FORWARD, GEMM_LANES, ROWS, ROWS_LANES, SHARED};
use compute::cell::wgsl::import::Shader;
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn parse(code: &str) -> naga::Module {
    parse_with(code, Capabilities::empty())
}

fn parse_with(code: &str, capabilities: Capabilities) -> naga::Module {
    let module = naga::front::wgsl::parse_str(code).unwrap_or_else(|e| panic!("{}", e.emit_to_string(code)));
    let checked = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    if let Err(e) = checked {
        panic!("{}", e.emit_to_string(code));
    }
    module
}

/// (binding, name, whether it is written)
fn bindings(module: &naga::Module) -> Vec<(u32, String, bool)> {
    let mut all: Vec<_> = module
        .global_variables
        .iter()
        .filter_map(|(_, v)| {
            let b = v.binding?;
            assert_eq!(b.group, 0);
            let naga::AddressSpace::Storage { access } = v.space else { panic!("{:?} is no storage", v.name) };
            Some((b.binding, v.name.clone()?, access.contains(naga::StorageAccess::STORE)))
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_shader_stands_alone() {
    for (name, text) in ALL {
        let code = Shader::new(name, text, SHARED).expect("imports exist").finish();
        let module = parse(&code);
        let mut entries: Vec<String> = module.entry_points.iter().map(|e| e.name.clone()).collect();
        entries.sort();
        let found = bindings(&module);
        let inputs = if *name == "reduce.wgsl" { 1 } else { 2 };
        let names: Vec<(u32, &str, bool)> = found.iter().map(|(b, n, w)| (*b, n.as_str(), *w)).collect();
        let mut expected: Vec<(u32, &str, bool)> = [(0, "in0", false), (1, "in1", false)][..inputs].to_vec();
        expected.extend([(inputs as u32, "out", true), (inputs as u32 + 1, "parts", false)]);
        assert_eq!(names, expected, "{name}");
        assert!(entries.contains(&"combine".to_string()), "{name}: {entries:?}");
        assert!(text.starts_with("// "), "{name} needs a header");
        for e in &module.entry_points {
            let size = e.workgroup_size.iter().product::<u32>();
            assert!((1..=256).contains(&size), "{name} {}: {size} invocations", e.name);
        }
    }
}

/// The entry point for subgroups joins every product, and asks for nothing but subgroups.
#[test]
fn lanes_join_every_product() {
    for (name, text) in ALL.iter().filter(|(name, _)| *name != "reduce.wgsl") {
        let code = Shader::new(name, text, SHARED).expect("imports exist").append(GEMM_LANES).finish();
        let module = parse_with(&code, Capabilities::SUBGROUP);
        assert!(module.entry_points.iter().any(|e| e.name == "lanes"), "{name}");
    }
}

/// The direct form joins the forward convolution, and asks for nothing.
#[test]
fn the_direct_form_joins_the_forward_convolution() {
    let code = Shader::new("conv2d_forward.wgsl", CONV2D_FORWARD, SHARED).expect("imports exist").append(CONV2D_DIRECT);
    let module = parse(&code.finish());
    assert!(module.entry_points.iter().any(|e| e.name == "direct"));
}

/// What lanes that share a row tell each other is the same functions for workgroups and subgroups.
#[test]
fn rows_are_shared_by_a_workgroup_or_a_subgroup() {
    let functions = |text: &str, capabilities| {
        let code = Shader::new("rows.wgsl", text, SHARED).and_then(|s| s.set("ROW_LANES", 32)).expect("lanes").finish();
        let module = parse_with(&code, capabilities);
        let names = module.functions.iter().filter_map(|(_, f)| f.name.clone());
        names.filter(|n| n.starts_with("across_") && n != "across_root").collect::<Vec<_>>()
    };
    let all = ["across_sum", "across_top", "across_low"];
    assert_eq!(functions(ROWS, Capabilities::empty()), all);
    assert_eq!(functions(ROWS_LANES, Capabilities::SUBGROUP), all);
}

/// What one workgroup may hold by default.
#[test]
fn workgroup_memory_fits_webgpu() {
    for (name, text) in ALL {
        let module = parse(&Shader::new(name, text, SHARED).expect("imports exist").finish());
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("layouts");
        let used: u32 = module
            .global_variables
            .iter()
            .filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup)
            .map(|(_, v)| layouter[v.ty].size)
            .sum();
        assert!(used <= 16_384, "{name}: {used} bytes");
    }
}

#[test]
fn what_is_missing_is_named() {
    let shader = || Shader::new("matmul.wgsl", ALL[0].1, SHARED).expect("imports exist");
    assert!(shader().set("NONSENSE", 1).is_err_and(|e| e.to_string().contains("NONSENSE")));
    assert!(shader().replace("nonsense", "").is_err_and(|e| e.to_string().contains("nonsense")));
    assert!(Shader::new("x", "#import \"shared/none.wgsl\"", SHARED).is_err_and(|e| e.to_string().contains("none")));
}
