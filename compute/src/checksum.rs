//! Cyclic checksums: CRC-32C of run folders and event files, CRC-32 of PNG chunks and ZIP archives.

use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, Crc, Table};

/// Tables of 1 KiB each: sixteen natively, where large files pass through; one in the browser, where
/// each of them would be downloaded, and does not compress.
const TABLES: usize = if cfg!(target_arch = "wasm32") { 1 } else { 16 };

pub type Digest = crc::Digest<'static, u32, Table<TABLES>>;

static CRC32C: Crc<u32, Table<TABLES>> = Crc::<u32, Table<TABLES>>::new(&CRC_32_ISCSI);
static CRC32: Crc<u32, Table<TABLES>> = Crc::<u32, Table<TABLES>>::new(&CRC_32_ISO_HDLC);

/// CRC-32C (Castagnoli). Source: RFC 3720, appendix B.4.
pub fn crc32c(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes)
}

/// A CRC-32C of bytes that come in parts.
pub fn crc32c_digest() -> Digest {
    CRC32C.digest()
}

/// CRC-32 of PNG and ZIP. Source: ISO/IEC 15948 (PNG), annex D.
pub fn crc32(bytes: &[u8]) -> u32 {
    CRC32.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of CRC algorithms: of the digits 1 to 9.
    #[test]
    fn known_values() {
        assert_eq!((crc32c(b"123456789"), crc32(b"123456789")), (0xe306_9283, 0xcbf4_3926));
        let mut parts = crc32c_digest();
        parts.update(b"1234");
        parts.update(b"56789");
        assert_eq!(parts.finalize(), 0xe306_9283);
    }
}
