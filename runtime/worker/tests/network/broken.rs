//! What goes wrong between workers: each attempt that it concerns is told on both sides, with the peer and the cause, and nobody else is.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flow_dataflow::Element;
use flow_dataflow::exchange::{Reader, Writer};
use flow_e2e::authority::{Authority, DAY};
use flow_model::channel::ChannelId;
use flow_rpc::exchange::exchange_client::ExchangeClient;
use flow_rpc::exchange::{
    Announce, Back, Data, Forward, GiveBack, Hello, PROTOCOL, Piece, back, data::Content, forward,
};
use flow_worker::network::{Options, Peer, Tls};
use tokio::sync::mpsc;
use tonic::transport::Endpoint;

use crate::nodes::{Node, PATIENCE, attempt, id, node, quiet, records, values};

fn batch(value: &str) -> Element {
    Element::Batch(records(&[("k", value)]))
}

fn pop(reader: &Reader) -> String {
    let begun = Instant::now();
    loop {
        match reader.pop() {
            Some(Element::Batch(batch)) => return values(&batch).remove(0),
            other => assert!(other.is_none() && begun.elapsed() < PATIENCE, "{other:?} instead of a batch"),
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A way to a worker that can be cut.
struct Way {
    address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(server: SocketAddr) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Arc::<Mutex<Vec<TcpStream>>>::default();
        let all = streams.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(server).unwrap();
                for (mut from, mut to) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server.try_clone().unwrap(), client.try_clone().unwrap()),
                ] {
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
                all.lock().unwrap().extend([client, server]);
            }
        });
        Way { address, streams }
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            // One that is gone is cut.
            _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn open(a: &Node, b: &Node, at: SocketAddr, id: &ChannelId) -> (Writer, Reader) {
    let peer = Peer { name: "b".into(), address: at.to_string() };
    (a.network.open_sender(id, &peer, quiet()).unwrap(), b.network.open_receiver(id, "a", quiet()).unwrap())
}

#[test]
fn a_connection_that_breaks_fails_what_uses_it_on_both_sides_and_a_new_one_follows() {
    let (a, b, c) = (node("a", |_| ()), node("b", |_| ()), node("c", |_| ()));
    let way = Way::to(b.network.address());
    let (first, bystander) = (id(&attempt(1), 0, 0, 0), id(&attempt(9), 0, 0, 0));
    let (writer, reader) = open(&a, &b, way.address, &first);
    let beside = a.network.open_sender(&bystander, &c.peer("c"), quiet()).unwrap();
    let beside_reader = c.network.open_receiver(&bystander, "a", quiet()).unwrap();
    for n in 0..10 {
        writer.push(batch(&n.to_string())).unwrap();
        assert_eq!(pop(&reader), n.to_string());
    }
    way.cut();
    let (failed, failure) = a.failure();
    assert_eq!((failed, failure.peer), (attempt(1), format!("worker \"b\" at {}", way.address)));
    assert!(failure.cause.contains("broken") || failure.cause.contains("ended"), "{}", failure.cause);
    let (failed, failure) = b.failure();
    assert_eq!((failed, failure.peer.as_str()), (attempt(1), "worker \"a\""));
    assert!(!failure.cause.is_empty());
    for node in [&a, &b] {
        node.network.close(&attempt(1));
        assert!(node.is_well(), "told once");
    }
    beside.push(batch("beside")).unwrap();
    assert_eq!(pop(&beside_reader), "beside");
    let (writer, reader) = open(&a, &b, way.address, &id(&attempt(2), 0, 0, 0));
    writer.push(batch("again")).unwrap();
    assert_eq!(pop(&reader), "again");
}

#[test]
fn a_worker_that_dies_fails_those_that_exchange_with_it() {
    let (a, b) = (node("a", |_| ()), node("b", |_| ()));
    let there = open(&a, &b, b.network.address(), &id(&attempt(1), 0, 0, 0));
    let back_id = id(&attempt(1), 1, 0, 0);
    let back = b.network.open_sender(&back_id, &a.peer("a"), quiet()).unwrap();
    let back_reader = a.network.open_receiver(&back_id, "b", quiet()).unwrap();
    there.0.push(batch("there")).unwrap();
    back.push(batch("back")).unwrap();
    assert_eq!((pop(&there.1), pop(&back_reader)), ("there".into(), "back".into()));
    drop(b);
    // Once by the stream to it, once by the one from it.
    for _ in 0..2 {
        let (failed, failure) = a.failure();
        assert!(failed == attempt(1) && failure.peer.starts_with("worker \"b\""), "{failure}");
    }
}

#[test]
fn nobody_another_one_or_somebody_who_is_no_worker_at_the_address_fails_the_attempt() {
    let hurry = |options: &mut Options| options.patience = Duration::from_millis(1500);
    let (a, c) = (node("a", hurry), node("c", hurry));
    let check = |number: u32, address: String, expected: &str| {
        let peer = Peer { name: "b".into(), address };
        let writer = a.network.open_sender(&id(&attempt(number), 0, 0, 0), &peer, quiet()).unwrap();
        let (failed, failure) = a.failure();
        assert_eq!(failed, attempt(number));
        let text = failure.to_string();
        assert!(text.contains("exchange with worker \"b\" at ") && text.contains(expected), "{text}");
        drop(writer);
    };
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(1, nobody.to_string(), "it can't be reached: ");
    check(2, c.network.address().to_string(), "worker \"b\" was meant, and this is worker \"c\"");
    check(3, "no address".into(), "is no address of a worker");
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = web.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in web.incoming().flatten() {
            _ = client.read(&mut [0; 100]);
            _ = client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    check(4, at.to_string(), "exchange with");
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    check(5, mute.local_addr().unwrap().to_string(), "it does not answer");
}

/// Says what it likes to a worker.
struct Impostor {
    runtime: tokio::runtime::Runtime,
}

impl Impostor {
    fn new() -> Impostor {
        Impostor { runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap() }
    }

    /// What the worker answers in the end.
    fn says(&self, node: &Node, messages: Vec<forward::Message>) -> String {
        let address = format!("http://{}", node.network.address());
        self.runtime.block_on(async {
            let connection = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
            let (send, receive) = mpsc::channel(100);
            for message in messages {
                send.send(Forward { message: Some(message) }).await.unwrap();
            }
            let stream = tokio_stream::wrappers::ReceiverStream::new(receive);
            let mut back = match ExchangeClient::new(connection).stream(stream).await {
                Ok(response) => response.into_inner(),
                Err(status) => return status.message().to_owned(),
            };
            loop {
                match back.message().await {
                    Ok(Some(Back { message: Some(back::Message::Credit(_) | back::Message::Hello(_)) })) => {}
                    Ok(other) => return format!("{other:?}"),
                    Err(status) => return status.message().to_owned(),
                }
            }
        })
    }
}

fn hello(protocol: u32, worker: &str, to: &str) -> forward::Message {
    forward::Message::Hello(Hello { protocol, version: "9.9.9".into(), worker: worker.into(), to: to.into() })
}

fn announce(number: u32, id: &ChannelId) -> forward::Message {
    forward::Message::Announce(Announce { number, channel: Some(id.into()) })
}

fn data(number: u32, sequence: u64, content: Content) -> forward::Message {
    forward::Message::Data(Data { number, sequence, content: Some(content) })
}

#[test]
fn what_no_worker_says_ends_the_stream_and_fails_the_attempts_on_it_alone() {
    let (a, b) = (node("a", |_| ()), node("b", |_| ()));
    let (good, good_reader) = open(&a, &b, b.network.address(), &id(&attempt(100), 0, 0, 0));
    let impostor = Impostor::new();
    let piece = |bytes: &'static [u8]| Content::Piece(Piece { bytes: bytes.into(), more: false, unpacked: 0 });
    let mut number = 0;
    let mut check = |fails: bool, expected: &str, messages: &dyn Fn(&ChannelId) -> Vec<forward::Message>| {
        number += 1;
        let channel = id(&attempt(number), 0, 0, 0);
        let reader = b.network.open_receiver(&channel, "x", quiet()).unwrap();
        let answer = impostor.says(&b, messages(&channel));
        assert!(answer.contains(expected), "{answer}");
        if fails {
            let (failed, failure) = b.failure();
            assert_eq!((failed, failure.peer.as_str()), (attempt(number), "worker \"x\""));
            assert!(failure.cause.contains(expected), "{failure}");
        }
        assert!(reader.pop().is_none(), "nothing of it arrives");
    };
    let x = || hello(PROTOCOL, "x", "b");
    check(false, "speaks protocol 2, this one runs Flow", &|_| vec![hello(2, "x", "b")]);
    check(false, "run the same version on all nodes", &|_| vec![hello(0, "x", "b")]);
    check(false, "worker \"z\" was meant, and this is worker \"b\"", &|_| vec![hello(PROTOCOL, "x", "z")]);
    check(false, "begins with a greeting", &|channel| vec![announce(0, channel)]);
    check(false, "announced by worker \"y\" and expected of worker \"x\"", &|channel| {
        vec![hello(PROTOCOL, "y", "b"), announce(0, channel)]
    });
    check(false, "channel 5, which was not announced", &|_| vec![x(), data(5, 0, Content::Watermark(1))]);
    check(true, "number 0 stands for two channels", &|channel| vec![x(), announce(0, channel), announce(0, channel)]);
    check(true, "is open twice", &|channel| vec![x(), announce(0, channel), announce(1, channel)]);
    check(true, "what no worker does", &|channel| vec![x(), announce(0, channel), x()]);
    check(true, "a batch that can't be read", &|channel| {
        vec![x(), announce(0, channel), data(0, 0, piece(b"FLW\x02 of another version of frames"))]
    });
    check(true, "message 1 of a channel came where 0 was due", &|channel| {
        vec![x(), announce(0, channel), data(0, 1, Content::Watermark(1))]
    });
    check(true, "more credit came back than there was", &|channel| {
        vec![x(), announce(0, channel), forward::Message::GiveBack(GiveBack { number: 0, bytes: 1 << 40 })]
    });
    // All its credit is used by a batch that is larger: of another one it takes no piece.
    let Element::Batch(large) = batch(&"x".repeat(100_000)) else { panic!("it is a batch") };
    let (ids, mut frame) = (large.columns().iter().map(|column| column.id).collect::<Vec<u16>>(), Vec::new());
    large.to_frame(&ids, &mut frame);
    let whole = Content::Piece(Piece { bytes: frame.into(), more: false, unpacked: 0 });
    let begun = Content::Piece(Piece { bytes: vec![0; 1000].into(), more: true, unpacked: 0 });
    let channel = id(&attempt(50), 0, 0, 0);
    let reader = b.network.open_receiver(&channel, "x", quiet()).unwrap();
    let answer = impostor.says(&b, vec![x(), announce(0, &channel), data(0, 0, whole), data(0, 1, begun)]);
    assert!(answer.contains("credit"), "{answer}");
    drop(reader);
    b.failure();
    good.push(batch("still good")).unwrap();
    assert_eq!(pop(&good_reader), "still good");
    assert!(b.is_well(), "nobody else has failed");
}

#[test]
fn garbage_on_the_port_harms_nobody() {
    let (a, b) = (node("a", |_| ()), node("b", |_| ()));
    let (good, good_reader) = open(&a, &b, b.network.address(), &id(&attempt(1), 0, 0, 0));
    let mut dice = fastrand::Rng::with_seed(5);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for round in 0..60 {
        let mut garbage: Vec<u8> = (0..dice.usize(1..5000)).map(|_| dice.u8(..)).collect();
        match round % 3 {
            0 => {}
            1 => garbage.splice(0..0, *preface).for_each(drop),
            _ => garbage.splice(0..0, *b"GET / HTTP/1.1\r\nhost: b\r\n\r\n").for_each(drop),
        }
        let mut stream = TcpStream::connect(b.network.address()).unwrap();
        // It may hang up at once.
        _ = stream.write_all(&garbage);
        if round % 2 == 0 {
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            _ = stream.read(&mut [0; 1000]);
        }
        good.push(batch(&round.to_string())).unwrap();
        assert_eq!(pop(&good_reader), round.to_string());
    }
    assert!(b.is_well() && a.is_well());
}

#[test]
fn workers_of_one_authority_speak_to_each_other_and_to_nobody_else() {
    let (ours, theirs) = (Authority::new("flow test"), Authority::new("somebody else"));
    let tls = |authority: &Authority, trusted: &Authority, seconds| {
        let (certificate, key) = authority.sign("worker", seconds);
        Some(Tls { authority: trusted.pem(), certificate, key })
    };
    let good = (-DAY, DAY);
    let b = node("b", |options| options.tls = tls(&ours, &ours, good));
    let mut number = 0;
    let mut check = |tls: Option<Tls>, expected: Option<&str>| {
        number += 1;
        let a = node("a", |options| options.tls = tls);
        let channel = id(&attempt(number), 0, 0, 0);
        let (writer, reader) = open(&a, &b, b.network.address(), &channel);
        writer.push(batch("secret")).unwrap();
        match expected {
            None => assert_eq!(pop(&reader), "secret"),
            Some(expected) => {
                let (_, failure) = a.failure();
                assert!(failure.cause.contains(expected), "{failure}, not {expected}");
                assert!(reader.pop().is_none());
            }
        }
    };
    check(tls(&ours, &ours, good), None);
    check(tls(&theirs, &ours, good), Some(""));
    check(tls(&ours, &ours, (-DAY, -60)), Some(""));
    check(tls(&ours, &theirs, good), Some("certificate"));
    check(None, Some(""));
    let expired = node("b", |options| options.tls = tls(&ours, &ours, (-DAY, -60)));
    let a = node("a", |options| options.tls = tls(&ours, &ours, good));
    let _channel = open(&a, &expired, expired.network.address(), &id(&attempt(99), 0, 0, 0));
    let (_, failure) = a.failure();
    assert!(failure.cause.to_lowercase().contains("expired"), "{failure}");
}

#[test]
fn what_can_not_work_is_refused_at_once() {
    let listen = |address: &str, tls| {
        let options = Options { tls, ..Options::new("a") };
        let network = flow_worker::network::Network::listen(address.parse().unwrap(), options, Arc::new(|_, _| ()));
        network.err().expect("it can't").to_string()
    };
    let taken = node("b", |_| ());
    let error = listen(&taken.network.address().to_string(), None);
    assert!(error.contains("is another process listening there?"), "{error}");
    let tls = Tls { authority: b"no PEM".into(), certificate: b"nor this".into(), key: b"secret-key".into() };
    let error = listen("127.0.0.1:0", Some(tls.clone()));
    assert!(
        error.starts_with("the certificates for workers can't be used") && !error.contains("secret-key"),
        "{error}"
    );
    assert!(!format!("{tls:?}").contains("secret"), "a key has no text form");
}
