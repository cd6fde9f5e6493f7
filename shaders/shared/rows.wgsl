// What the invocations of a workgroup that share one row tell each other: the sum, the largest and the smallest of
// their values, in the order of a tree, so that the bits do not change from run to run. The memory of a workgroup
// holds one number an invocation.

const ROW_LANES: i32 = 64;

var<workgroup> row_parts: array<f32, ROW_LANES>;

// The value that all invocations find at the root when the tree is done.
fn across_root() -> f32 {
    workgroupBarrier();
    let root = row_parts[0];
    workgroupBarrier();
    return root;
}

fn across_sum(lane: i32, value: f32) -> f32 {
    row_parts[lane] = value;
    for (var half = ROW_LANES / 2; half > 0; half /= 2) {
        workgroupBarrier();
        if (lane < half) {
            row_parts[lane] += row_parts[lane + half];
        }
    }
    return across_root();
}

fn across_top(lane: i32, value: f32) -> f32 {
    row_parts[lane] = value;
    for (var half = ROW_LANES / 2; half > 0; half /= 2) {
        workgroupBarrier();
        if (lane < half) {
            row_parts[lane] = max_of(row_parts[lane], row_parts[lane + half]);
        }
    }
    return across_root();
}

fn across_low(lane: i32, value: f32) -> f32 {
    row_parts[lane] = value;
    for (var half = ROW_LANES / 2; half > 0; half /= 2) {
        workgroupBarrier();
        if (lane < half) {
            row_parts[lane] = min_of(row_parts[lane], row_parts[lane + half]);
        }
    }
    return across_root();
}
