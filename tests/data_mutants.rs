//! 100,000 structured mutants for each data parser: none may panic, allocate by what a header merely
//! claims, or fail without naming the file. Deterministic: the same mutants in every run.

use compute::data::picture::{EXPANSION, EXPANSION_FREE};
use compute::data::{cifar, idx, picture};
use image::ImageFormat;

use crate::heap;
use crate::pictures::{encode, gradient, png_chunk, with_orientation};

const MUTANTS: usize = 100_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// One to three changes; half of them near the front, where headers are.
fn mutate(random: &mut Random, bases: &[Vec<u8>]) -> Vec<u8> {
    let chosen = random.below(bases.len());
    let mut out = bases[chosen].clone();
    for _ in 0..1 + random.below(3) {
        let reach = if random.below(2) == 0 { out.len().min(48) } else { out.len() };
        let at = random.below(reach);
        match random.below(8) {
            0 if !out.is_empty() => out[at] ^= 1 << random.below(8),
            1 if !out.is_empty() => out[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xfe, 0xff]),
            // A length field, either byte order.
            2 => {
                let value = random.pick(&[0u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 1 << 16, 1 << 28]);
                let bytes = if random.below(2) == 0 { value.to_be_bytes() } else { value.to_le_bytes() };
                out.iter_mut().skip(at).zip(bytes).for_each(|(o, b)| *o = b);
            }
            3 => out.truncate(random.below(out.len() + 1)),
            4 => drop(out.drain(at..(at + random.below(16)).min(out.len()))),
            5 => drop(out.splice(at..at, (0..random.below(16)).map(|k| k as u8 * 17))),
            // The tail of another file.
            6 => {
                let other = &bases[random.below(bases.len())];
                out.truncate(at);
                out.extend_from_slice(&other[random.below(other.len())..]);
            }
            // A piece of itself again.
            _ => {
                let piece = out[at..(at + random.below(40)).min(out.len())].to_vec();
                out.extend(piece);
            }
        }
    }
    out
}

/// Runs `parse` on the mutants. It returns the length of what it accepted, and the bytes it may have
/// held at once. Returns how many were accepted.
fn run(
    bases: &[Vec<u8>],
    seed: u64,
    fix: impl Fn(Vec<u8>) -> Vec<u8>,
    limit: impl Fn(&[u8]) -> usize,
    parse: impl Fn(&[u8]) -> Result<(), String>,
) -> usize {
    let mut random = Random(seed);
    let mut accepted = 0;
    for k in 0..MUTANTS {
        let mutant = fix(mutate(&mut random, bases));
        let (result, peak) = heap::peak_bytes(|| parse(&mutant));
        assert!(peak <= limit(&mutant), "mutant {k} of {} bytes: {peak} bytes held", mutant.len());
        match result {
            Ok(()) => accepted += 1,
            Err(error) => assert!(error.contains("m.x") && error.contains("byte"), "mutant {k}: {error}"),
        }
    }
    accepted
}

fn idx_bases() -> Vec<Vec<u8>> {
    let file = |dims: &[u32], data: &[u8]| {
        let mut out = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|d| out.extend(d.to_be_bytes()));
        out.extend_from_slice(data);
        out
    };
    vec![file(&[3, 2, 2], &[7; 12]), file(&[5], &[1, 2, 3, 4, 5]), file(&[1, 2, 1, 2], &[9; 4])]
}

fn parse_idx(bytes: &[u8]) -> Result<(), String> {
    let idx = idx::parse("m.x", bytes).map_err(|e| e.to_string())?;
    assert_eq!(idx.shape.iter().product::<usize>(), idx.data.len());
    Ok(())
}

#[test]
fn idx_plain() {
    let accepted = run(&idx_bases(), 1, |m| m, |m| 4096 + 4 * m.len(), parse_idx);
    assert!(accepted > 1000, "{accepted}: the mutants are too wild to reach the end");
}

#[test]
fn idx_gzip() {
    let gz = |bytes: &Vec<u8>| {
        let mut out = Vec::new();
        std::io::copy(&mut flate2::read::GzEncoder::new(&bytes[..], flate2::Compression::fast()), &mut out).unwrap();
        out
    };
    // Damage to the gzip stream itself ...
    let bases: Vec<_> = idx_bases().iter().map(gz).collect();
    // The decoder keeps a window and tables of about 50 KB; deflate expands by 1,032 at most.
    let limit = |m: &[u8]| (1 << 18) + 3000 * m.len();
    let accepted = run(&bases, 2, |m| m, limit, parse_idx);
    assert!(accepted > 1000, "{accepted}");
    // ... and damaged files in an intact one.
    let accepted = run(&idx_bases(), 3, |m| gz(&m), limit, parse_idx);
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn cifar_records() {
    let records = |labels: &[u8]| -> Vec<u8> {
        labels.iter().flat_map(|&l| std::iter::once(l).chain((1..cifar::RECORD_BYTES).map(|k| k as u8))).collect()
    };
    let parse = |bytes: &[u8]| {
        // The strict form must refuse all of these: none has the size of a batch.
        assert!(cifar::parse_batch("m.x", bytes).is_err());
        let set = cifar::parse_records("m.x", bytes).map_err(|e| e.to_string())?;
        assert!(set.labels.iter().all(|&l| l < 10) && set.pixels.len() == 3072 * set.len());
        Ok(())
    };
    let bases = [records(&[0]), records(&[9, 3])];
    let accepted = run(&bases, 4, |m| m, |m| 4096 + 2 * m.len(), parse);
    assert!(accepted > 1000, "{accepted}");
}

/// What decoding may hold: the expansion that is allowed (several forms of the picture exist at once
/// while it is converted) and the decoders' own tables.
fn picture_limit(file: &[u8]) -> usize {
    4 * (EXPANSION_FREE as usize + EXPANSION as usize * file.len()) + (2 << 20)
}

fn parse_picture(bytes: &[u8]) -> Result<(), String> {
    let picture = picture::decode("m.x", bytes).map_err(|e| e.to_string())?;
    assert_eq!(picture.pixels.len(), 3 * picture.width * picture.height);
    Ok(())
}

fn picture_bases(format: ImageFormat) -> Vec<Vec<u8>> {
    let colour = encode(&gradient(8, 8), format);
    let turned = with_orientation(&colour, format, [8, 8], 6);
    let mut bases = vec![colour, turned];
    if format != ImageFormat::WebP {
        bases.push(encode(&gradient(8, 8).to_luma8().into(), format));
    }
    if format != ImageFormat::Jpeg {
        bases.push(encode(&gradient(8, 8).to_rgba8().into(), format));
    }
    bases
}

/// Gives the chunks of a PNG right checksums again, so that mutants reach the decoder.
fn fix_png(mutant: Vec<u8>) -> Vec<u8> {
    let mut out = mutant.get(..8).unwrap_or(&mutant).to_vec();
    let mut rest = mutant.get(8..).unwrap_or_default();
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(body) = tail.get(..length).filter(|_| tail.len() >= length + 4) else {
            break;
        };
        out.extend(png_chunk(&[head[4], head[5], head[6], head[7]], body));
        rest = &tail[length + 4..];
    }
    out.extend_from_slice(rest);
    out
}

#[test]
fn png_pictures() {
    let accepted = run(&picture_bases(ImageFormat::Png), 5, fix_png, picture_limit, parse_picture);
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn jpeg_pictures() {
    let accepted = run(&picture_bases(ImageFormat::Jpeg), 6, |m| m, picture_limit, parse_picture);
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn webp_pictures() {
    let accepted = run(&picture_bases(ImageFormat::WebP), 7, |m| m, picture_limit, parse_picture);
    assert!(accepted > 1000, "{accepted}");
}
