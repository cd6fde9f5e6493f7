// The product of shared/gemm.wgsl for software devices with subgroups, where a lane's read of
// memory costs as much as a hundred of its multiplications.
//
// One subgroup computes 4 LANE_M4 rows by LANES * LANE_N columns of C in registers, a column a lane.
// It walks k in steps of LANES: each lane reads its columns of B, and of each row of A the element
// at k + lane, which it hands round; so every read of A, too, brings LANES different numbers.
// A step's products are added first: a chain of additions is at most SPAN / LANES + LANES long.
//
// The loops over the tile have 16 turns at most: compilers write out no more, and a tile that is
// indexed at run time leaves the registers.

const LANES: i32 = 8;
const LANE_M4: i32 = 2;
const LANE_N: i32 = 2;

@compute @workgroup_size(LANES)
fn lanes(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane_id: u32) {
    let group = flat_group(group_id, groups);
    let lane = i32(lane_id);
    let tiles_n = (N + LANES * LANE_N - 1) / (LANES * LANE_N);
    let tiles = (M + 4 * LANE_M4 - 1) / (4 * LANE_M4) * tiles_n;
    if (group >= tiles * SPLITS * BATCH) {
        return;
    }
    let part = group / tiles % SPLITS;
    let batch = group / (tiles * SPLITS);
    let m0 = group % tiles / tiles_n * (4 * LANE_M4);
    let n0 = group % tiles % tiles_n * (LANES * LANE_N) + lane;
    let k_end = min(K, (part + 1) * SPAN);

    var c: array<array<vec4<f32>, LANE_N>, LANE_M4>;
    for (var k = part * SPAN; k < k_end; k += LANES) {
        var b: array<array<f32, LANE_N>, LANES>;
        for (var q = 0; q < LANES; q++) {
            for (var j = 0; j < LANE_N; j++) {
                b[q][j] = b_at(batch, k + q, n0 + j * LANES);
            }
        }
        for (var i = 0; i < LANE_M4; i++) {
            let m = m0 + 4 * i;
            let own = k + lane;
            let a = vec4<f32>(a_at(batch, m, own), a_at(batch, m + 1, own), a_at(batch, m + 2, own), a_at(batch, m + 3, own));
            var step: array<vec4<f32>, LANE_N>;
            for (var q = 0; q < LANES; q++) {
                let column = subgroupShuffle(a, u32(q));
                for (var j = 0; j < LANE_N; j++) {
                    step[j] += column * b[q][j];
                }
            }
            for (var j = 0; j < LANE_N; j++) {
                c[i][j] += step[j];
            }
        }
    }
    for (var i = 0; i < LANE_M4; i++) {
        for (var j = 0; j < LANE_N; j++) {
            for (var r = 0; r < 4; r++) {
                if (m0 + 4 * i + r < M && n0 + j * LANES < N) {
                    put(part, batch, m0 + 4 * i + r, n0 + j * LANES, c[i][j][r]);
                }
            }
        }
    }
}
