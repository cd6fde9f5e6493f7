//! The few parts of the protobuf wire format that event files need.
//!
//! A message is a sequence of `key value`; `key = field_number << 3 | wire_type` as a varint;
//! wire types: 0 varint, 1 eight bytes, 2 length-delimited (strings, bytes, messages, packed
//! lists), 5 four bytes. Source: protobuf.dev, "Encoding". Written by hand because five messages
//! do not pay for a code generator.

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub fn new() -> Message {
        Message::default()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Seven bits a byte, lowest first; the high bit says that more follow.
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.bytes.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.bytes.push(v as u8);
    }

    fn key(&mut self, field: u32, wire_type: u64) {
        self.varint(u64::from(field) << 3 | wire_type);
    }

    /// An int64 or int32 field that is not negative.
    pub fn uint(mut self, field: u32, v: u64) -> Message {
        self.key(field, 0);
        self.varint(v);
        self
    }

    pub fn double(mut self, field: u32, v: f64) -> Message {
        self.key(field, 1);
        self.bytes.extend(v.to_le_bytes());
        self
    }

    pub fn float(mut self, field: u32, v: f32) -> Message {
        self.key(field, 5);
        self.bytes.extend(v.to_le_bytes());
        self
    }

    pub fn bytes(mut self, field: u32, v: &[u8]) -> Message {
        self.key(field, 2);
        self.varint(v.len() as u64);
        self.bytes.extend(v);
        self
    }

    pub fn string(self, field: u32, v: &str) -> Message {
        self.bytes(field, v.as_bytes())
    }

    pub fn message(self, field: u32, v: Message) -> Message {
        self.bytes(field, &v.bytes)
    }

    /// `repeated double [packed = true]`.
    pub fn doubles(self, field: u32, v: &[f64]) -> Message {
        let packed: Vec<u8> = v.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.bytes(field, &packed)
    }
}

/// The value of one field, by wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut v = 0u64;
    for (k, &b) in bytes.iter().enumerate().take(10) {
        v |= u64::from(b & 0x7f).checked_shl(7 * k as u32)?;
        if b & 0x80 == 0 {
            return Some((v, &bytes[k + 1..]));
        }
    }
    None
}

/// The fields of a message in order; `None` where the bytes are not a message.
pub fn read_fields(mut bytes: &[u8]) -> Option<Vec<(u32, Field<'_>)>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (key, rest) = read_varint(bytes)?;
        let (field, rest) = match key & 7 {
            0 => {
                let (v, rest) = read_varint(rest)?;
                (Field::Varint(v), rest)
            }
            1 => {
                let (v, rest) = rest.split_first_chunk::<8>()?;
                (Field::Fixed64(u64::from_le_bytes(*v)), rest)
            }
            2 => {
                let (n, rest) = read_varint(rest)?;
                let (v, rest) = rest.split_at_checked(usize::try_from(n).ok()?)?;
                (Field::Bytes(v), rest)
            }
            5 => {
                let (v, rest) = rest.split_first_chunk::<4>()?;
                (Field::Fixed32(u32::from_le_bytes(*v)), rest)
            }
            _ => return None,
        };
        out.push((u32::try_from(key >> 3).ok()?, field));
        bytes = rest;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_encoding_page() {
        // Test1 { a = 150 } and Test2 { b = "testing" } of protobuf.dev.
        assert_eq!(Message::new().uint(1, 150).as_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(
            Message::new().string(2, "testing").as_bytes(),
            [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]
        );
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let m = Message::new().uint(1, u64::MAX).double(2, -1.5).float(3, 2.0).doubles(16, &[1.0]);
        let fields = read_fields(m.as_bytes()).unwrap();
        assert_eq!(fields[0], (1, Field::Varint(u64::MAX)));
        assert_eq!(fields[1], (2, Field::Fixed64((-1.5f64).to_bits())));
        assert_eq!(fields[2], (3, Field::Fixed32(2f32.to_bits())));
        assert_eq!(fields[3], (16, Field::Bytes(&1f64.to_le_bytes())));
    }

    #[test]
    fn cut_or_endless_bytes_are_not_a_message() {
        let m = Message::new().string(1, "abc");
        for cut in 1..m.as_bytes().len() {
            assert_eq!(read_fields(&m.as_bytes()[..cut]), None);
        }
        assert_eq!(read_fields(&[0xff; 20]), None);
    }
}
