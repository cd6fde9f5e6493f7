//! `chainrule serve`: the built page and the fetched data sets, for a browser on this machine, so
//! that nobody has to set up a web server. With `--lan` also for a classroom.
//!
//! The parts: `site` finds the page and turns request paths into files; `data` lists what the
//! cache holds; `answer` makes a response of a request; `listen` has sockets, connections and the
//! orderly end; `certificate` is the TLS identity of `--lan`.
//!
//! HTTP is hyper's, which most Rust servers stand on, and files are sent by tower-http: ranges,
//! revalidation and compression are easy to get subtly wrong. axum would add a router for two
//! routes; tiny_http, which is smaller, has had no release since 2022. What is compressed on the way is
//! gzip, whose code is in the program already; denser copies come from the build (`app/prose`).
//!
//! The page carries its Content-Security-Policy itself, in `index.html`, so that it holds on every
//! server; here are only the headers that a page cannot give itself.

mod answer;
mod certificate;
mod data;
mod listen;
mod site;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;

use self::answer::Answerer;
use self::certificate::Identity;
use self::data::Data;
use self::site::Site;
use super::args::ServeArgs;
use super::{CliError, cache, system};

/// See the module's introduction.
pub fn serve(args: &ServeArgs) -> Result<(), CliError> {
    let site = Site::find(args.dist.as_deref())?;
    let networks = if args.lan { networks()? } else { vec![] };
    let identity = match args.lan {
        true => Some(Identity::for_addresses(networks.iter().map(|(_, ip)| *ip))?),
        false => None,
    };
    let interface = if args.lan { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let listener = listen::bind(interface, args.port)?;
    let port = listener.local_addr().map_err(|e| CliError::Other(format!("the socket has no address: {e}")))?.port();
    // `localhost` would do too, but some systems look it up as ::1 first, where nobody listens.
    let address = match &identity {
        None => format!("http://127.0.0.1:{port}/"),
        Some(_) => format!("https://127.0.0.1:{port}/"),
    };
    let answerer = Answerer { site, data: Data { cache: cache::folder() }, lan: args.lan };
    let tls = identity.as_ref().map(Identity::acceptor).transpose()?;
    // Before the address is told: whoever reads it may stop the program at once.
    let stop = system::interrupted();
    let server = listen::Server::new(listener, tls, answerer)?;
    announce(args, &address, port, &networks, identity.as_ref());
    if args.open
        && let Err(e) = open::that_detached(&address)
    {
        system::note(&format!("cannot open a browser ({e}); open {address} in one"));
    }
    server.run(&stop);
    Ok(())
}

/// Name and IPv4 address of each network interface but loopback. IPv6 is left out: its addresses
/// cannot be read out to a class, and those of a link need a zone, which browsers do not take.
fn networks() -> Result<Vec<(String, IpAddr)>, CliError> {
    let found = if_addrs::get_if_addrs()
        .map_err(|e| CliError::Other(format!("cannot list this machine's addresses: {e}; leave out --lan")))?;
    let mut out: Vec<(String, IpAddr)> =
        found.into_iter().filter(|i| !i.is_loopback() && i.ip().is_ipv4()).map(|i| (i.name.clone(), i.ip())).collect();
    out.sort();
    out.dedup();
    Ok(out)
}

/// Says where the page is, and with `--lan` what the browser's warning is about.
fn announce(args: &ServeArgs, address: &str, port: u16, networks: &[(String, IpAddr)], identity: Option<&Identity>) {
    let reachable: Vec<String> = networks.iter().map(|(_, ip)| format!("https://{ip}:{port}/")).collect();
    if args.json {
        let mut object = json!({ "address": address });
        if let Some(identity) = identity {
            object["addresses"] = json!(reachable);
            object["certificate_sha256"] = json!(identity.fingerprint());
        }
        system::line(&object.to_string());
        return;
    }
    system::line(&format!("The page is at {address} (Ctrl-C ends the server)"));
    let Some(identity) = identity else { return };
    if networks.is_empty() {
        system::note("this machine is in no network: only its own browsers can open the page");
    } else {
        system::line("and for others in the same network:");
    }
    for ((name, _), url) in networks.iter().zip(&reachable) {
        system::line(&format!("  {url}  ({name})"));
    }
    for line in [
        "Certificate, SHA-256 fingerprint:",
        &format!("  {}", identity.fingerprint()),
        "Each browser warns once, because this machine made the certificate itself and no authority vouches",
        "for it. Compare the fingerprint in the browser's certificate view with the line above; if they are",
        "equal, the connection is to this machine and it is safe to go on. A different one is not this server.",
        "Everybody in the network can read the page and the data sets; nobody can change anything.",
    ] {
        system::line(line);
    }
}
