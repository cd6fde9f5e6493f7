// The same as shared/rows.wgsl where the lanes of one subgroup share a row: each step hands values to the lane half,
// a quarter, ... of the subgroup away. No memory moves.

const ROW_LANES: i32 = 8;

fn across_sum(lane: i32, value: f32) -> f32 {
    var total = value;
    for (var half = ROW_LANES / 2; half > 0; half /= 2) {
        total += subgroupShuffleXor(total, u32(half));
    }
    return total;
}

fn across_top(lane: i32, value: f32) -> f32 {
    var top = value;
    for (var half = ROW_LANES / 2; half > 0; half /= 2) {
        top = max_of(top, subgroupShuffleXor(top, u32(half)));
    }
    return top;
}

fn across_low(lane: i32, value: f32) -> f32 {
    var low = value;
    for (var half = ROW_LANES / 2; half > 0; half /= 2) {
        low = min_of(low, subgroupShuffleXor(low, u32(half)));
    }
    return low;
}
