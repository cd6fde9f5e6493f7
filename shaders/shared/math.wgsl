// Functions that generated code calls: what WGSL's own operators leave open (floored division,
// NaN in max, tanh of large numbers) is settled here, so that every device computes the same.
// A kernel receives only the functions it uses. They move no memory.

// Floored quotient of a by a positive b.
fn div_floor(a: i32, b: i32) -> i32 {
    return select(a / b, (a + 1) / b - 1, a < 0);
}

// Remainder of the floored division by a positive b: 0 <= r < b.
fn mod_floor(a: i32, b: i32) -> i32 {
    return a - b * div_floor(a, b);
}

// Unlike the built-in max, keeps a NaN in `a`: an error must not vanish in a relu.
fn max_of(a: f32, b: f32) -> f32 {
    return select(a, b, b > a);
}

fn min_of(a: f32, b: f32) -> f32 {
    return select(a, b, b < a);
}

// The number of these bits. A function, because WGSL refuses constant infinities.
fn from_bits(bits: u32) -> f32 {
    return bitcast<f32>(bits);
}

// Neither infinite nor NaN, decided on the bits: WGSL may assume that neither exists.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// Byte i of a packed tensor, given the word that holds it.
fn byte_of(word: u32, i: i32) -> u32 {
    return extractBits(word, (u32(i) & 3u) * 8u, 8u);
}

// Number i of a tensor of packed halves (IEEE binary16), given the word that holds it.
fn half_at(word: u32, i: i32) -> f32 {
    let pair = unpack2x16float(word);
    return select(pair.x, pair.y, (i & 1) == 1);
}

// Four packed halves.
fn four_halves(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

// The nearest half, ties to even, infinite past the largest. On the bits, so that every device
// computes the same: quantizeToF16 may flush what is small.
fn half_of(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    let near = (size + 0xfffu + ((size >> 13u) & 1u)) & 0xffffe000u;
    let large = select(near, 0x7f800000u, near >= 0x47800000u);
    // Below 2^-14 halves are multiples of 2^-24.
    let shift = min(126u - (size >> 23u), 25u);
    let mantissa = (size & 0x7fffffu) | 0x800000u;
    let count = (mantissa + (1u << (shift - 1u)) - 1u + ((mantissa >> shift) & 1u)) >> shift;
    let small = bitcast<u32>(f32(count) * 5.9604645e-8);
    let finite = select(large, small, size < 0x38800000u);
    return bitcast<f32>((bits & 0x80000000u) | select(finite, size, size >= 0x7f800000u));
}

// The bits of a number that is a half.
fn half_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    let finite = select((size - 0x38000000u) >> 13u, u32(bitcast<f32>(size) * 16777216.0), size < 0x38800000u);
    let other = select(0x7c00u, 0x7e00u, size > 0x7f800000u);
    return ((bits >> 16u) & 0x8000u) | select(finite, other, size >= 0x7f800000u);
}

// Four numbers that are halves, packed.
fn packed_halves(x: vec4<f32>) -> vec2<u32> {
    return vec2<u32>(half_bits(x.x) | (half_bits(x.y) << 16u), half_bits(x.z) | (half_bits(x.w) << 16u));
}

// The nearest halves of two numbers, packed.
fn two_halves(x: vec2<f32>) -> u32 {
    return half_bits(half_of(x.x)) | (half_bits(half_of(x.y)) << 16u);
}

// The nearest halves of four numbers, packed.
fn nearest_halves(x: vec4<f32>) -> vec2<u32> {
    return vec2<u32>(two_halves(x.xy), two_halves(x.zw));
}

// exp, split as 2^n e^r with |r| <= ln(2)/2: relative error below 3e-7 on every device, where the
// built-in is allowed 3 + 2|x| units in the last place.
fn exp_of(x: f32) -> f32 {
    let c = select(select(x, 89.0, x > 89.0), -104.0, x < -104.0);
    let n = floor(c * 1.4426950 + 0.5);
    // ln 2 in two parts, the first exact in few bits
    let r = (c - n * 0.693359375) + n * 2.1219444e-4;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (0.16666667 + r * (0.041666668 + r * (0.008333334 + r * 0.0013888889)))));
    // two steps, because 2^n alone may overflow or be subnormal
    let half_n = i32(n) / 2;
    let rest = i32(n) - half_n;
    return p * bitcast<f32>((half_n + 127) << 23u) * bitcast<f32>((rest + 127) << 23u);
}

// tanh by its Taylor polynomial near 0 (no cancellation) and by exp beyond (no overflow).
fn tanh_of(x: f32) -> f32 {
    let a = abs(x);
    let s = x * x;
    let near = x + x * s * (-0.33333334 + s * (0.13333334 + s * (-0.053968254 + s * (0.021869488 + s * (-0.008863236 + s * 0.003592128)))));
    let far = 1.0 - 2.0 / (exp_of(2.0 * a) + 1.0);
    return select(select(far, -far, x < 0.0), near, a < 0.5);
}

// erf by its series near 0 and by Abramowitz & Stegun 7.1.26 beyond (absolute error 1.5e-7).
fn erf_of(x: f32) -> f32 {
    let a = abs(x);
    let s = x * x;
    let near = x * (1.1283792 + s * (-0.37612639 + s * (0.11283792 + s * (-0.026866171 + s * (0.0052239776 + s * -8.5483270e-4)))));
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    let far = 1.0 - tail * exp_of(-s);
    return select(select(far, -far, x < 0.0), near, a < 0.5);
}

// a^b as PyTorch has it: also for negative a with a whole b.
fn pow_of(a: f32, b: f32) -> f32 {
    let p = pow(abs(a), b);
    let odd = b - 2.0 * floor(0.5 * b) == 1.0;
    let signed = select(p, -p, odd);
    let below = select(from_bits(0x7fc00000u), signed, b == floor(b));
    let zero = select(0.0, from_bits(0x7f800000u), b < 0.0);
    let value = select(select(p, below, a < 0.0), zero, a == 0.0);
    return select(value, 1.0, b == 0.0);
}

fn square(x: f32) -> f32 {
    return x * x;
}

// One round of integer mixing (C. Wellons' lowbias32).
fn mix_bits(seed: u32) -> u32 {
    var x = seed;
    x ^= x >> 16u;
    x *= 0x7feb352du;
    x ^= x >> 15u;
    x *= 0x846ca68bu;
    return x ^ (x >> 16u);
}

// 24 random bits as a function of four keys.
fn random_bits(key: u32, seed: u32, step: u32, counter: u32) -> i32 {
    let h = mix_bits(mix_bits(mix_bits(key) + seed) + step);
    return i32(mix_bits(h + counter) >> 8u);
}
