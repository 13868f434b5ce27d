//! The page when its connections are cut, by something between it and the daemon.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flow_e2e::chromium::Chromium;
use flow_e2e::flowd::Flowd;

const ENDLESS: &str = "
sources:
  in: {generator: {rate: 10, value: x}}
sinks:
  out: {blackhole: {}, from: in}
";

/// Both ends of what it passes on.
type Sockets = Arc<Mutex<Vec<TcpStream>>>;

/// Passes on whatever comes to the address that it returns.
fn proxy(flowd: &Flowd) -> (String, Sockets) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (daemon, sockets) = (flowd.url.trim_start_matches("http://").to_owned(), Sockets::default());
    let open = sockets.clone();
    // It ends with the test's process.
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let upstream = TcpStream::connect(&daemon).expect("it listens");
            let copy = |from: &TcpStream, to: &TcpStream| {
                let [mut from, mut to] = [from, to].map(|socket| socket.try_clone().expect("a socket"));
                thread::spawn(move || {
                    // However it ends, both do.
                    _ = io::copy(&mut from, &mut to);
                    _ = to.shutdown(Shutdown::Both);
                });
            };
            copy(&client, &upstream);
            copy(&upstream, &client);
            open.lock().expect("nobody panics with it").extend([client, upstream]);
        }
    });
    (url, sockets)
}

#[test]
fn the_log_goes_on_where_it_was_cut() {
    let flowd = Flowd::new();
    let job = flowd.deploy("endless", ENDLESS);
    let (url, sockets) = proxy(&flowd);
    let mut browser = Chromium::new(900, 700);
    browser.open(&url);
    browser.until("/job started/.test(document.getElementById('log')?.textContent)");
    for socket in sockets.lock().expect("nobody panics with it").drain(..) {
        // It may be gone already.
        _ = socket.shutdown(Shutdown::Both);
    }
    assert_eq!(flowd.ctl(&["cancel", &job, "--wait"]).code, 0, "it stops");
    browser.until("/job is canceled/.test(document.getElementById('log').textContent)");
    let lines = "Array.from(document.querySelectorAll('#log li'), (line) => line.textContent).join('\\n')";
    let log = browser.value(lines).as_str().expect("text").to_owned();
    assert_eq!((log.matches("job started").count(), log.matches("missing").count()), (1, 0), "{log}");
}
