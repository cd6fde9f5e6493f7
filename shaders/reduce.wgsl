// y[r] = sum | max | min (k) x[r, k] over rows of K elements, in two stages.
//
// Stage one: invocation (r, part) reduces SPAN consecutive elements of row r (at most 1,024, so no
// chain of additions is longer). Stage two, `combine`: one invocation a row reduces the PARTS
// results. Each element of x moves once. `load` is replaced for rows that do not lie in memory one
// after the other, or for elements that are recomputed.

@group(0) @binding(0) var<storage, read> in0: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> parts: array<f32>;

const R: i32 = 1;
const K: i32 = 64;
const SPAN: i32 = 1024;
const PARTS: i32 = 1;
// The value of an empty reduction, as bits, and the factor of a mean.
const IDENTITY: u32 = 0u;
const SCALE: f32 = 1.0;

fn load(r: i32, k: i32) -> f32 {
    return in0[r * K + k];
}

fn merge(a: f32, b: f32) -> f32 {
    return a + b;
}

fn store(r: i32, value: f32) {
    out[r] = value;
}

// Where a part goes; replaced by a write into `parts` when PARTS > 1.
fn put(r: i32, part: i32, value: f32) {
    store(r, value * SCALE);
}

fn flat_group(group: vec3<u32>, groups: vec3<u32>) -> i32 {
    return i32((group.z * groups.y + group.y) * groups.x + group.x);
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
      @builtin(local_invocation_index) lane: u32) {
    let invocation = flat_group(group, groups) * 64 + i32(lane);
    if (invocation >= R * PARTS) {
        return;
    }
    let r = invocation / PARTS;
    let part = invocation % PARTS;
    var total = from_bits(IDENTITY);
    for (var k = part * SPAN; k < min(K, (part + 1) * SPAN); k++) {
        total = merge(total, load(r, k));
    }
    put(r, part, total);
}

@compute @workgroup_size(64)
fn combine(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
      @builtin(local_invocation_index) lane: u32) {
    let r = flat_group(group, groups) * 64 + i32(lane);
    if (r >= R) {
        return;
    }
    var total = from_bits(IDENTITY);
    for (var first = 0; first < PARTS; first += 1024) {
        var some = from_bits(IDENTITY);
        for (var part = first; part < min(first + 1024, PARTS); part++) {
            some = merge(some, parts[r * PARTS + part]);
        }
        total = merge(total, some);
    }
    store(r, total * SCALE);
}
