//! The TLS identity of `--lan`: a certificate that this machine makes for its own addresses.
//! Browsers give WebGPU only to pages that came over TLS or from the same machine.
//!
//! It is kept in the user's configuration folder and used again, so that a class which has compared
//! the fingerprint once sees the same one the next day. It is made anew when the machine has an
//! address that it does not name (the old ones are kept in it), and before it expires.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use etcetera::BaseStrategy;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, version};

use crate::cli::error::io;
use crate::cli::{CliError, system};

const FILE: &str = "lan-certificate.json";
/// Days that a new certificate holds; some browsers refuse more than 398.
const DAYS: u64 = 365;
/// It is replaced when fewer days are left: nobody should meet the change in the middle of a course.
const LEAST_DAYS: u64 = 30;
/// No kept file is longer; a longer one is none of ours.
const MOST_BYTES: u64 = 1 << 20;
/// Addresses of many networks gather over a year; beyond this a new certificate names only those of today.
const MOST_NAMES: usize = 100;

/// Certificate and key as kept on disk, in one file so that the two always belong together.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    /// Addresses and names that it holds for.
    names: BTreeSet<String>,
    /// Days since 1970-01-01.
    expires: u64,
    certificate: String,
    key: String,
}

/// A certificate with its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// The kept certificate if it holds for all of `addresses`, else a new one, which is then kept.
    pub fn for_addresses(addresses: impl Iterator<Item = IpAddr>) -> Result<Identity, CliError> {
        let folder = etcetera::choose_base_strategy()
            .map_err(|e| CliError::Other(format!("no folder to keep a certificate in: {e}; leave out --lan")))?
            .config_dir()
            .join("chainrule");
        let own = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        let mut names: BTreeSet<String> = own.into_iter().chain(addresses).map(|ip| ip.to_string()).collect();
        names.insert("localhost".into());
        Identity::kept_or_new(&folder.join(FILE), names, today())
    }

    fn kept_or_new(path: &Path, mut names: BTreeSet<String>, today: u64) -> Result<Identity, CliError> {
        if let Some(kept) = load(path)? {
            let lasts = kept.expires >= today + LEAST_DAYS;
            if lasts && names.is_subset(&kept.names) {
                return identity(&kept).map_err(|e| refused(path, &e));
            }
            if lasts && kept.names.len() + names.len() <= MOST_NAMES {
                names.extend(kept.names);
            }
            system::note("a new certificate was made, with another fingerprint: the addresses or the year changed");
        }
        let kept = make(names, today).map_err(|e| CliError::Other(format!("cannot make a certificate: {e}")))?;
        store(path, &kept)?;
        identity(&kept).map_err(|e| refused(path, &e))
    }

    /// SHA-256 of the certificate, as browsers show it: `AB:CD:...`.
    pub fn fingerprint(&self) -> String {
        let pairs: Vec<String> = Sha256::digest(&self.certificate).iter().map(|b| format!("{b:02X}")).collect();
        pairs.join(":")
    }

    /// For incoming connections. TLS 1.3 alone: every browser with WebGPU speaks it.
    pub fn acceptor(&self) -> Result<TlsAcceptor, CliError> {
        let failed = |e| CliError::Other(format!("the certificate cannot be used: {e}"));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(failed)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn refused(path: &Path, problem: &str) -> CliError {
    CliError::Other(format!("{}: {problem}; remove the file, and a new certificate is made", path.display()))
}

/// Days since 1970-01-01. A clock set beyond the four-digit years, which certificates cannot write,
/// counts as their end.
fn today() -> u64 {
    const LAST: u64 = 2_900_000;
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400).min(LAST)
}

/// The kept file. An unreadable one is an error rather than a reason to make another: the class
/// would meet a new fingerprint and nobody would know why.
fn load(path: &Path) -> Result<Option<Kept>, CliError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(path, "open")(e)),
    };
    if !private(&file).map_err(io(path, "read"))? {
        return Err(refused(path, "other users of this machine can read the key in it"));
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(io(path, "read"))?;
    serde_json::from_str(&text).map(Some).map_err(|e| refused(path, &e.to_string()))
}

/// Whether only its owner may read a file.
#[cfg(unix)]
fn private(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o077 == 0)
}

/// Windows gives files of the user's profile to the user alone.
#[cfg(not(unix))]
fn private(_: &File) -> std::io::Result<bool> {
    Ok(true)
}

/// Writes through a private temporary file, so that no moment shows the key or half a file.
fn store(path: &Path, kept: &Kept) -> Result<(), CliError> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    fs::create_dir_all(&folder).map_err(io(&folder, "create"))?;
    let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(io(&folder, "write in"))?;
    let text = serde_json::to_string_pretty(kept).map_err(|e| CliError::Other(format!("cannot write JSON: {e}")))?;
    file.write_all(text.as_bytes()).map_err(io(path, "write"))?;
    file.persist(path).map_err(|e| io(path, "write")(e.error))?;
    Ok(())
}

fn identity(kept: &Kept) -> Result<Identity, String> {
    let certificate = CertificateDer::from_pem_slice(kept.certificate.as_bytes()).map_err(|e| e.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(kept.key.as_bytes()).map_err(|e| e.to_string())?;
    Ok(Identity { certificate, key })
}

fn make(names: BTreeSet<String>, today: u64) -> Result<Kept, rcgen::Error> {
    let day = |days| {
        let (year, month, day) = system::civil(days);
        rcgen::date_time_ymd(year as i32, month as u8, day as u8)
    };
    let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
    // From yesterday on: clocks of a class differ.
    params.not_before = day(today.saturating_sub(1));
    let expires = today + DAYS;
    params.not_after = day(expires);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Chainrule on this machine");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(Kept { names, expires, certificate, key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|n| (*n).to_string()).collect()
    }

    #[test]
    fn kept_until_an_address_is_new_or_the_year_is_nearly_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chainrule").join(FILE);
        let at = |list: &[&str], today| Identity::kept_or_new(&path, names(list), today).unwrap().fingerprint();
        let day = 20_781;
        let first = at(&["localhost", "10.0.0.1"], day);
        assert_eq!(first, at(&["localhost", "10.0.0.1"], day));
        assert_eq!(first, at(&["localhost"], day + DAYS - LEAST_DAYS));
        // Another room, and back again.
        let second = at(&["localhost", "10.0.0.2"], day);
        assert_ne!(first, second);
        assert_eq!(second, at(&["localhost", "10.0.0.1"], day));
        // The last month: new, and only today's names are left in it.
        let third = at(&["localhost"], day + DAYS - LEAST_DAYS + 1);
        assert_ne!(second, third);
        assert_eq!(load(&path).unwrap().unwrap().names, names(&["localhost"]));
    }

    #[test]
    fn a_file_that_is_not_ours_or_not_private_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let problem = |path: &Path| {
            let outcome = Identity::kept_or_new(path, names(&["localhost"]), 20_781);
            outcome.err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(problem(&path), "");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |m| fs::set_permissions(&path, fs::Permissions::from_mode(m)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            mode(0o640);
            assert!(problem(&path).contains("other users"), "{}", problem(&path));
            mode(0o600);
        }
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let said = problem(&path);
        assert!(said.contains(FILE) && said.contains("remove the file"), "{said}");
    }
}
