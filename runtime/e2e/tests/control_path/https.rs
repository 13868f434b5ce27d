//! flowctl through TLS, which a proxy in front of the daemon speaks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use flow_e2e::authority::{Authority, DAY};
use flow_e2e::flowd::Flowd;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod, SslStream};
use openssl::x509::X509;

use crate::GENERATOR;

/// A proxy with this certificate and key. Returns its address.
fn proxy(flowd: &Flowd, (certificate, key): (Vec<u8>, Vec<u8>)) -> String {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("a context");
    acceptor.set_certificate(&X509::from_pem(&certificate).expect("a certificate")).expect("it is good");
    acceptor.set_private_key(&PKey::private_key_from_pem(&key).expect("a key")).expect("it is the certificate's");
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("it is bound").port());
    let daemon = flowd.url.trim_start_matches("http://").to_owned();
    // It ends with the test's process.
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let upstream = TcpStream::connect(&daemon).expect("it listens");
            // Who does not trust the certificate goes away.
            if let Ok(client) = acceptor.accept(client) {
                thread::spawn(move || pass_on(client, upstream));
            }
        }
    });
    url
}

/// One direction at a time, whichever has something to say.
fn pass_on(mut client: SslStream<TcpStream>, mut upstream: TcpStream) -> io::Result<()> {
    let turn = Some(Duration::from_millis(5));
    client.get_ref().set_read_timeout(turn)?;
    upstream.set_read_timeout(turn)?;
    let mut piece = vec![0; 16 << 10];
    loop {
        if let Some(length) = some(client.read(&mut piece))? {
            upstream.write_all(&piece[..length])?;
        }
        if let Some(length) = some(upstream.read(&mut piece))? {
            client.write_all(&piece[..length])?;
        }
    }
}

/// How much was read; none if nothing is there yet.
fn some(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

#[test]
fn flowctl_speaks_https_to_whom_it_trusts() {
    let flowd = Flowd::new();
    let ca = Authority::new("ca");
    let url = proxy(&flowd, ca.sign("proxy", (-DAY, DAY)));
    flowd.write("ca.pem", ca.pem());
    flowd.write("other.pem", Authority::new("other").pem());
    let config = flowd.path("config").display().to_string();
    let good = |arguments: &[&str], more: &[(&str, &str)]| {
        let called = flowd.ctl_with(arguments, &[&[("XDG_CONFIG_HOME", config.as_str())], more].concat());
        assert_eq!(called.code, 0, "{arguments:?}: {}", called.stderr);
        called.stdout
    };
    good(&["context", "add", "near", "--server", &url, "--ca", "ca.pem"], &[]);
    let file = flowd.pipeline("beside", GENERATOR);
    assert!(good(&["deploy", &file, "--context", "near"], &[]).contains(" running"));
    assert!(good(&["list", "--context", "near"], &[]).contains("beside"));
    // Without a context.
    assert!(good(&["list", "--server", &url], &[("FLOW_CA", "ca.pem")]).contains("beside"));
    good(&["cancel", "beside", "--wait", "--context", "near"], &[]);
    assert!(good(&["logs", "beside", "-f", "--context", "near"], &[]).contains("job is canceled"));

    let bad = |url: &str, ca: &str, expect: &str| {
        let called = flowd.ctl_with(&["list", "--server", url], &[("FLOW_CA", ca)]);
        assert_eq!((called.code, called.stdout.as_str()), (3, ""), "{}", called.stderr);
        assert!(called.stderr.contains(expect) && called.stderr.contains("--ca FILE"), "{}", called.stderr);
    };
    // Nobody of this machine knows who signed it.
    bad(&url, "", "certificate verify failed");
    bad(&url, "other.pem", "certificate verify failed");
    bad(&proxy(&flowd, ca.sign("proxy", (-2 * DAY, -DAY))), "ca.pem", "certificate has expired");
    let plain = flowd.url.replace("http:", "https:");
    let called = flowd.ctl_with(&["list", "--server", &plain], &[]);
    assert_eq!(called.code, 3, "{}", called.stderr);
    assert!(called.stderr.contains("http://"), "it says what may be meant: {}", called.stderr);
    let invalid = |arguments: &[&str], ca: &str, expect: &str| {
        let called = flowd.ctl_with(arguments, &[("FLOW_CA", ca), ("XDG_CONFIG_HOME", &config)]);
        assert!(called.code == 2 && called.stderr.contains(expect), "{}", called.stderr);
    };
    invalid(&["list", "--server", &url], "nowhere.pem", "can't read the certificates in nowhere.pem");
    invalid(&["list", "--server", &url], &file, "beside.yaml holds no certificate");
    let add = ["context", "add", "x", "--server", "http://f:1", "--ca", "ca.pem"];
    invalid(&add, "", "--ca is for https");
}
