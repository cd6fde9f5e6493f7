// The product of shared/gemm.wgsl for devices with subgroups, without workgroup memory or barriers. On a software
// device a lane's read of memory costs as much as forty of its multiplications, and a read of a vec4 half as much an
// element; on a GPU one shuffle serves four or eight multiplications of each lane.
//
// A team, LANES lanes of one subgroup, computes 4 LANE_M4 rows by 4 LANES LANE_N4 columns of C in registers, blocks of
// four columns a lane. It walks k in steps of LANES: each lane reads its four columns of B, and one block of A (4 x 4)
// of a group of 16 rows by LANES of k, whose elements it hands round; so every read of A, too,
// brings LANES different blocks. A step's products are added first: a chain of additions is at
// most SPAN / LANES + LANES long.

const LANES: i32 = 8;
// Teams of a workgroup. On a software device a team is a subgroup and a workgroup; a GPU's subgroup, of whatever
// size, holds several.
const TEAMS: i32 = 1;
const LANE_M4: i32 = 2;
const LANE_N4: i32 = 1;
// Rows and columns of the whole. Where C has few columns and many rows, it is formed transposed:
// these change places, and the three functions below turn their blocks.
const LANE_ROWS: i32 = M;
const LANE_COLUMNS: i32 = N;

fn lane_rows(batch: i32, m: i32, k: i32) -> mat4x4<f32> {
    return block_a(batch, m, k);
}

fn lane_columns(batch: i32, k: i32, n: i32) -> mat4x4<f32> {
    return block_b(batch, k, n);
}

fn lane_put(part: i32, batch: i32, m: i32, n: i32, block: mat4x4<f32>) {
    put_block(part, batch, m, n, block);
}

// The tile at (m0, n) over a part of k; n is the lane's own, `first` the place of the team's first lane in the subgroup.
// Written out for its sizes before it runs: a tile that is indexed at run time leaves the registers.
fn lanes_tile(part: i32, batch: i32, lane: i32, first: u32, m0: i32, n: i32, k_begin: i32, k_end: i32, keep: bool) {
    var c: array<array<mat4x4<f32>, LANE_N4>, LANE_M4>;
    for (var k = k_begin; k < k_end; k += LANES) {
        var b: array<array<mat4x4<f32>, LANE_N4>, LANES / 4>;
        for (var h = 0; h < LANES / 4; h++) {
            for (var j = 0; j < LANE_N4; j++) {
                b[h][j] = lane_columns(batch, k + 4 * h, n + 4 * LANES * j);
            }
        }
        for (var group = 0; group < LANE_M4; group += 4) {
            var a = lane_rows(batch, m0 + 4 * group + lane / (LANES / 4) * 4, k + lane % (LANES / 4) * 4);
            for (var i = 0; i < min(4, LANE_M4 - group); i++) {
                for (var r = 0; r < 4; r++) {
                    var step: array<vec4<f32>, LANE_N4>;
                    for (var q = 0; q < LANES; q++) {
                        let element = subgroupShuffle(a[r][q % 4], first + u32(i * (LANES / 4) + q / 4));
                        for (var j = 0; j < LANE_N4; j++) {
                            step[j] += element * b[q / 4][j][q % 4];
                        }
                    }
                    for (var j = 0; j < LANE_N4; j++) {
                        c[group + i][j][r] += step[j];
                    }
                }
            }
        }
    }
    for (var i = 0; i < LANE_M4 && keep; i++) {
        for (var j = 0; j < LANE_N4; j++) {
            lane_put(part, batch, m0 + 4 * i, n + 4 * LANES * j, c[i][j]);
        }
    }
}

@compute @workgroup_size(LANES * TEAMS)
fn lanes(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_size) size: u32,
         @builtin(subgroup_invocation_id) place: u32) {
    let group = flat_group(group_id, groups);
    let tiles_n = (LANE_COLUMNS + 4 * LANES * LANE_N4 - 1) / (4 * LANES * LANE_N4);
    let tiles_m = (LANE_ROWS + 4 * LANE_M4 - 1) / (4 * LANE_M4);
    let tiles = tiles_m * tiles_n;
    // The teams of a workgroup have the same part, so that they go through the same loops.
    let shared_by_teams = (tiles + TEAMS - 1) / TEAMS;
    if (group >= shared_by_teams * SPLITS * BATCH) {
        return;
    }
    let part = group / shared_by_teams % SPLITS;
    let team = i32(subgroup * (size / u32(LANES)) + place / u32(LANES));
    let own = group % shared_by_teams * TEAMS + team;
    let tile = min(own, tiles - 1);
    // Down the columns first: their part of B, which is gathered from far apart, stays in a cache.
    let m0 = tile % tiles_m * (4 * LANE_M4);
    let n0 = tile / tiles_m * (4 * LANES * LANE_N4);
    let lane = i32(place) % LANES;
    lanes_tile(part, group / (shared_by_teams * SPLITS), lane, place - u32(lane), m0, n0 + 4 * lane, part * SPAN,
               min(K, (part + 1) * SPAN), own < tiles);
}
