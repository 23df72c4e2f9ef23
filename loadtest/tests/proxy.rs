//! The fault proxy between real sockets: a tiny echo server and a tiny sender behind it, a plain client before it.

use loadtest::proxy::faults::Direction;
use loadtest::proxy::line::{CATCH_UP, MTU_BYTES};
use loadtest::proxy::{Faults, Proxy};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const LOCALHOST: &str = "127.0.0.1:0";

/// Serves each connection in a thread of its own, until the test ends.
fn serve(on_connection: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(LOCALHOST).unwrap();
    let address = listener.local_addr().unwrap();
    let on_connection = Arc::new(on_connection);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let on_connection = on_connection.clone();
            thread::spawn(move || on_connection(socket.unwrap()));
        }
    });
    address
}

/// Sends back what comes in, up to its end.
fn echo_server() -> SocketAddr {
    serve(|socket| {
        let _ = std::io::copy(&mut &socket, &mut &socket);
    })
}

/// Sends without end; the counter says how many bytes its sockets took.
fn sender() -> (SocketAddr, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    let counter = taken.clone();
    let address = serve(move |mut socket| {
        while let Ok(count) = socket.write(&[0x47; 8_192]) {
            counter.fetch_add(count as u64, Relaxed);
        }
    });
    (address, taken)
}

fn proxy(to: SocketAddr, faults: Faults) -> Proxy {
    Proxy::start(LOCALHOST.parse().unwrap(), to, faults).unwrap()
}

fn connect(proxy: &Proxy) -> TcpStream {
    let socket = TcpStream::connect(proxy.local_addr()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Reads up to the end or an error: the bytes, and how it ended.
fn read_out(mut socket: &TcpStream) -> (usize, Result<(), ErrorKind>) {
    let (mut count, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return (count, Ok(())),
            Ok(read) => count += read,
            Err(error) => return (count, Err(error.kind())),
        }
    }
}

/// Reads for a while: time and size of each read.
fn reads_within(mut socket: &TcpStream, time: Duration) -> Vec<(Duration, usize)> {
    let start = Instant::now();
    let (mut reads, mut buffer) = (vec![], vec![0; 1 << 16]);
    while start.elapsed() < time {
        let count = socket.read(&mut buffer).unwrap();
        reads.push((start.elapsed(), count));
    }
    reads
}

fn round_trip(mut socket: &TcpStream) -> Duration {
    let start = Instant::now();
    socket.write_all(b"ping").unwrap();
    socket.read_exact(&mut [0; 4]).unwrap();
    start.elapsed()
}

/// Processor time of a proxy's thread, in ticks of 10 ms (proc_pid_stat(5), fields 14 and 15).
fn thread_ticks(proxy: &Proxy) -> u64 {
    let name = format!("(proxy:{})", proxy.local_addr().port());
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let stat = stats.into_iter().find(|stat| stat.contains(&name)).expect("the thread is there");
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn without_faults_it_is_transparent_to_many_at_once() {
    let proxy = proxy(echo_server(), Faults::default());
    let sockets: Vec<_> = (0..100).map(|_| connect(&proxy)).collect();
    let clients = sockets.into_iter().enumerate().map(|(number, socket)| {
        thread::spawn(move || {
            let sent: Vec<u8> = (0..300_000_usize).map(|i| (i * (number + 3) / 7) as u8).collect();
            let mut received = vec![];
            thread::scope(|scope| {
                scope.spawn(|| {
                    (&socket).write_all(&sent).unwrap();
                    // What is echoed after this shows that the end goes one way only, and behind the bytes.
                    socket.shutdown(Shutdown::Write).unwrap();
                });
                (&socket).read_to_end(&mut received).unwrap();
            });
            assert!(received == sent, "{} bytes came back", received.len());
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    wait_until("all are closed", || proxy.counters().open == 0);
    let counters = proxy.counters();
    assert_eq!((counters.connections, counters.bytes_down, counters.bytes_up), (100, 30_000_000, 30_000_000));
    assert_eq!((counters.resets, counters.failures, counters.stalls), (0, 0, 0));
}

#[test]
fn latency_holds_each_way() {
    for (direction, least_ms) in [(Direction::Both, 120), (Direction::Down, 60), (Direction::Up, 60)] {
        let proxy = proxy(echo_server(), Faults { latency_ms: 60, direction, ..Faults::default() });
        let socket = connect(&proxy);
        let fastest = (0..4).map(|_| round_trip(&socket)).min().unwrap();
        let least = Duration::from_millis(least_ms);
        assert!(fastest >= least && fastest < least + Duration::from_millis(40), "{direction:?}: {fastest:?}");
    }
}

#[test]
fn rate_is_kept_and_pushes_back() {
    let (address, taken) = sender();
    // 4 Mbit/s: 500,000 bytes per second.
    let faults = Faults { rate_kbps: Some(4_000), queue_kb: 64, ..Faults::default() };
    let proxy = proxy(address, faults);
    let reads = reads_within(&connect(&proxy), Duration::from_millis(1_500));
    let (last, _) = *reads.last().unwrap();
    let count: usize = reads.iter().map(|(_, count)| count).sum();
    let most = 500_000.0 * (last + CATCH_UP).as_secs_f64() + MTU_BYTES as f64;
    assert!((count as f64) <= most, "{count} bytes in {last:?}");
    assert!(count as f64 >= most * 0.6, "{count} bytes in {last:?}: {:.3} of the rate", count as f64 / most);
    // Beyond what arrived: the queue, and the socket buffers of both sides of the proxy, 8 MB at most if the kernel had its way.
    let ahead = taken.load(Relaxed) - count as u64;
    assert!(ahead < 4_000_000, "the sender is {ahead} bytes ahead");
}

#[test]
fn nothing_passes_in_a_stall() {
    let (address, _) = sender();
    let faults = Faults {
        rate_kbps: Some(8_000),
        stall_every_s: Some(0.5),
        stall_ms: Some(200),
        direction: Direction::Down,
        ..Faults::default()
    };
    let proxy = proxy(address, faults);
    let reads = reads_within(&connect(&proxy), Duration::from_millis(1_500));
    let pauses: Vec<_> =
        reads.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|gap| gap.as_millis() >= 150).collect();
    assert!((2..=3).contains(&pauses.len()), "{pauses:?}");
    assert!(pauses.iter().all(|gap| gap.as_millis() < 300), "{pauses:?}");
    assert!((2..=4).contains(&proxy.counters().stalls), "{:?}", proxy.counters());
}

#[test]
fn a_reset_comes_after_its_bytes() {
    let (address, _) = sender();
    let proxy = proxy(address, Faults { reset_after_kb: Some(50), ..Faults::default() });
    assert_eq!(read_out(&connect(&proxy)), (50_000, Err(ErrorKind::ConnectionReset)));
    assert_eq!(proxy.counters().resets, 1);
    assert_eq!(proxy.counters().open, 0);
}

#[test]
fn the_same_seed_cuts_at_the_same_positions() {
    let (address, _) = sender();
    let cuts = |seed| {
        let proxy = proxy(address, Faults { reset_probability: Some(1.0), seed, ..Faults::default() });
        let positions = (0..8).map(|number| {
            let before = proxy.counters().bytes_down;
            assert_eq!(read_out(&connect(&proxy)).1, Err(ErrorKind::ConnectionReset));
            wait_until("the reset is counted", || proxy.counters().resets == number + 1);
            proxy.counters().bytes_down - before
        });
        positions.collect::<Vec<_>>()
    };
    assert_eq!(cuts(5), cuts(5));
    assert_ne!(cuts(5), cuts(6));
}

#[test]
fn a_half_open_connection_is_silent_both_ways() {
    let closed = Arc::new(AtomicU64::new(0));
    let count = closed.clone();
    let address = serve(move |mut socket| {
        socket.write_all(&[0x47; 60_000]).unwrap();
        // Ends when the client's end arrives, which it must not.
        let _ = std::io::copy(&mut &socket, &mut std::io::sink());
        count.fetch_add(1, Relaxed);
    });
    let proxy = proxy(address, Faults { half_open_after_kb: Some(30), ..Faults::default() });
    let socket = connect(&proxy);
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(read_out(&socket), (30_000, Err(ErrorKind::WouldBlock)));
    (&socket).write_all(b"is anyone there?").unwrap();
    drop(socket);
    thread::sleep(Duration::from_millis(200));
    let counters = proxy.counters();
    assert_eq!((counters.half_opens, counters.bytes_up, counters.open, closed.load(Relaxed)), (1, 0, 1, 0));
    drop(proxy);
    wait_until("the server is let go", || closed.load(Relaxed) == 1);
}

#[test]
fn slices_arrive_one_by_one() {
    // 10 bytes per slice at 8 kB/s: 1.25 ms from one to the next, so that a client that has a processor sees them apart.
    let faults = Faults { slice_bytes: Some(10), rate_kbps: Some(64), ..Faults::default() };
    let (address, _) = sender();
    let proxy = proxy(address, faults);
    let reads = reads_within(&connect(&proxy), Duration::from_millis(500));
    assert!(reads.iter().all(|(_, count)| count % 10 == 0), "{reads:?}");
    let single = reads.iter().filter(|(_, count)| *count == 10).count();
    assert!(single > 20, "{single} of {} reads", reads.len());
}

#[test]
fn refused_connections_are_closed_at_once_and_go_nowhere() {
    let reached = Arc::new(AtomicU64::new(0));
    let count = reached.clone();
    let address = serve(move |_| {
        count.fetch_add(1, Relaxed);
    });
    let proxy = proxy(address, Faults { refuse_probability: 1.0, ..Faults::default() });
    assert_eq!(read_out(&connect(&proxy)), (0, Ok(())));
    assert_eq!((proxy.counters().connections, proxy.counters().refused, reached.load(Relaxed)), (1, 1, 0));
}

#[test]
fn a_server_that_is_not_there_is_a_reset() {
    let nobody = TcpListener::bind(LOCALHOST).unwrap().local_addr().unwrap();
    let proxy = proxy(nobody, Faults::default());
    let (count, ended) = TcpStream::connect(proxy.local_addr()).map(|socket| read_out(&socket)).unwrap();
    assert_eq!((count, ended), (0, Err(ErrorKind::ConnectionReset)));
    assert_eq!((proxy.counters().failures, proxy.counters().open), (1, 0));
}

#[test]
fn a_client_that_goes_takes_the_server_along() {
    let failed = Arc::new(AtomicU64::new(0));
    let count = failed.clone();
    let address = serve(move |mut socket| {
        while socket.write(&[0x47; 8_192]).is_ok() {}
        count.fetch_add(1, Relaxed);
    });
    let proxy = proxy(address, Faults::default());
    let socket = connect(&proxy);
    (&socket).read_exact(&mut [0; 1_000]).unwrap();
    drop(socket);
    wait_until("the server cannot send any more", || failed.load(Relaxed) == 1);
    assert_eq!((proxy.counters().open, proxy.counters().resets), (0, 0));
}

#[test]
fn what_waits_takes_no_processor_time() {
    let (address, _) = sender();
    let faults = Faults { latency_ms: 5_000, stall_every_s: Some(0.2), stall_ms: Some(100), ..Faults::default() };
    // Full queues with nothing due, and clients that do not read, some of which shut down their writing.
    let waiting = proxy(address, faults);
    let blocked = proxy(address, Faults::default());
    let sockets: Vec<_> = (0..40).flat_map(|_| [connect(&waiting), connect(&blocked)]).collect();
    sockets.iter().step_by(3).for_each(|socket| socket.shutdown(Shutdown::Write).unwrap());
    thread::sleep(Duration::from_millis(1_500));
    let before = [thread_ticks(&waiting), thread_ticks(&blocked)];
    thread::sleep(Duration::from_millis(600));
    let spent = [thread_ticks(&waiting) - before[0], thread_ticks(&blocked) - before[1]];
    assert!(spent.iter().all(|&ticks| ticks <= 6), "{spent:?} ticks of 60");
}

#[test]
fn dropping_it_closes_everything() {
    let proxy = proxy(echo_server(), Faults { latency_ms: 60_000, ..Faults::default() });
    let (address, socket) = (proxy.local_addr(), connect(&proxy));
    (&socket).write_all(b"never comes back").unwrap();
    wait_until("it is accepted", || proxy.counters().open == 1);
    drop(proxy);
    assert_eq!(read_out(&socket).0, 0);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn the_command_says_where_it_listens() {
    let to = format!("localhost:{}", echo_server().port());
    let arguments = ["proxy", "--listen", LOCALHOST, "--to", &to, "--latency-ms", "30"];
    let mut process =
        Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: SocketAddr = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
    let took = round_trip(&TcpStream::connect(address).unwrap());
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(took >= Duration::from_millis(60), "{took:?}");
}
