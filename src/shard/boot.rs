//! From a configuration to running shards: preflight, listeners, executors, pacemaker, signals, the end.

use super::hot::HotSegments;
use super::listen::{Listener, bind_group};
use super::mesh::Mesh;
use super::pacemaker::Tempo;
use super::relay::Relay;
use super::{Shard, conn, pacemaker, tick};
use crate::config::{Config, Steering};
use crate::http::response::HttpDate;
use crate::limits::{REQUEST_READ_BYTES, RESOLVER_THREADS, SEGMENT_VIEWERS_MAX, SHARDS_MAX};
use crate::session::viewers::SegmentViewers;
use crate::store::Arena;
use crate::transcode::{IS_BUILT_IN, TranscodeConfig};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use socket2::Socket;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// Exit code when the system lacks something that an operator can grant (sysexits.h EX_CONFIG).
pub const EXIT_SYSTEM: i32 = 78;
/// Exit code when a shard stopped moving (sysexits.h EX_SOFTWARE).
pub const EXIT_SHARD_DEAD: i32 = 70;

/// Entries of each executor's ring. The kernel finds armed polls, one a connection, in a table that it sizes by this, of 256 buckets at most, and glommio has
/// it look there on each wake. Registered buffers are small, so that many executors fit in 8 MiB of memlock.
const RING_DEPTH: usize = 4_096;
const RING_MEMORY_BYTES: usize = 64 << 10;
/// Locked memory one executor needs at least, bytes.
const MEMLOCK_BYTES_PER_SHARD: u64 = 512 << 10;
const PREEMPT_TIMER: Duration = Duration::from_millis(2);

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The system lacks something; exit code [`EXIT_SYSTEM`].
    #[error("{0}")]
    System(String),
    #[error("cannot listen on {addr}: {error}")]
    Listen { addr: SocketAddr, error: io::Error },
    #[error("shard {shard} did not start: {reason}")]
    Shard { shard: usize, reason: String },
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
}

/// A relay that runs on threads of its own.
pub struct Running {
    pub relay: Arc<Relay>,
    /// Addresses viewers reach, with the ports that the system chose.
    pub listen: Vec<SocketAddr>,
    pub admin_listen: SocketAddr,
    shards: Vec<glommio::ExecutorJoinHandle<()>>,
    pacemaker: std::thread::JoinHandle<()>,
    /// The listening sockets stay open for life, so that no connection in a backlog is lost while shards come and go.
    _listeners: Vec<Listener>,
}

/// Checks the system, binds, starts all shards, and returns when each of them said from inside that it listens.
pub fn start(config: Config) -> Result<Running, BootError> {
    let Layout { shards: cores, transcode } = layout(&config);
    preflight(cores.len())?;
    raise_open_files();
    let mut listeners = Vec::new();
    let mut listen = Vec::new();
    for addr in &config.server.listen {
        listen.push(bind_group(*addr, false, &cores, config.server.steering, &mut listeners)?);
    }
    let admin = config.server.admin_listen;
    let admin_listen = bind_group(admin, true, &cores, Steering::Hash, &mut listeners)?;
    let relay = Arc::new(Relay::new(config, cores.len(), transcode));
    let mut spawned = spawn_shards(&relay, &cores, &listeners)?;
    let pacemaker = spawn_pacemaker(relay.clone())?;
    wait_until_ready(&relay, &cores, &mut spawned)?;
    let transcode = relay.transcoder.config();
    if transcode.cores_are_shared {
        tracing::info!(cores = ?transcode.cores, "transcoders share cores with shards, and give way to them");
    }
    let shards = spawned.into_iter().map(|shard| shard.handle).collect();
    Ok(Running { relay, listen, admin_listen, shards, pacemaker, _listeners: listeners })
}

impl Running {
    /// Begins the end: no new connections, what is being sent goes on until it is done or the deadline passes.
    pub fn drain(&self) {
        self.relay.draining.store(true, Ordering::Release);
    }

    /// Waits for the end of all shards.
    pub fn join(self) {
        for shard in self.shards {
            if let Err(error) = shard.join() {
                tracing::error!(%error, "a shard ended with an error");
            }
        }
        self.relay.transcoder.shutdown();
        // The pacemaker has no state worth saving if it panicked.
        let _ = self.pacemaker.join();
    }
}

/// Which CPUs do what.
struct Layout {
    /// The CPU of each shard, in order.
    shards: Vec<usize>,
    transcode: TranscodeConfig,
}

/// With [`OWN_CORES_FROM`] usable CPUs and more transcoders get the last quarter of them for their own; with fewer they share the shards'.
fn layout(config: &Config) -> Layout {
    let wanted = &config.transcode;
    let is_on = wanted.enabled && IS_BUILT_IN;
    let mut usable = usable_cores(config);
    let can_part = wanted.cores.is_empty() && config.server.cores.is_empty() && usable.len() >= OWN_CORES_FROM;
    let own = match (is_on, can_part) {
        (false, _) => Vec::new(),
        (true, true) => usable.split_off(usable.len() - usable.len() / 4),
        (true, false) if wanted.cores.is_empty() => usable.clone(),
        (true, false) => wanted.cores.clone(),
    };
    let count = if config.server.shards == 0 { usable.len() } else { config.server.shards };
    let shards: Vec<usize> = (0..count.min(SHARDS_MAX)).map(|shard| usable[shard % usable.len()]).collect();
    let cores_are_shared = own.iter().any(|core| shards.contains(core));
    let load_max = wanted.load_percent_max as f64 / 100.0;
    Layout { shards, transcode: TranscodeConfig { cores: own, cores_are_shared, load_max, hang_ms: wanted.hang_ms } }
}

/// Usable CPUs from which on transcoders get some for their own.
const OWN_CORES_FROM: usize = 4;

fn usable_cores(config: &Config) -> Vec<usize> {
    let mut cores: Vec<usize> = match config.server.cores.as_slice() {
        [] => core_affinity::get_core_ids().unwrap_or_default().iter().map(|c| c.id).collect(),
        cores => cores.to_vec(),
    };
    if cores.is_empty() {
        cores.push(0);
    }
    cores
}

/// What a shard's executor takes along when it begins to run.
struct Luggage {
    mesh: Mesh,
    /// Listening sockets, and whether each is the operators'.
    sockets: Vec<(Socket, bool)>,
}

/// A shard whose executor was spawned. The luggage is still there for as long as that did not begin to run.
struct Spawned {
    handle: glommio::ExecutorJoinHandle<()>,
    luggage: Arc<Mutex<Option<Luggage>>>,
}

fn spawn_shards(relay: &Arc<Relay>, cores: &[usize], listeners: &[Listener]) -> Result<Vec<Spawned>, BootError> {
    let mut shards = Vec::new();
    for (index, mesh) in Mesh::build(cores.len()).into_iter().enumerate() {
        let mut sockets = Vec::new();
        // Listeners were bound address by address, a socket for each shard in order.
        for listener in listeners.iter().skip(index).step_by(cores.len()) {
            let socket = listener.socket.try_clone();
            let socket = socket.map_err(|e| BootError::Shard { shard: index, reason: e.to_string() })?;
            sockets.push((socket, listener.is_admin));
        }
        let luggage = Arc::new(Mutex::new(Some(Luggage { mesh, sockets })));
        shards.push(Spawned { handle: spawn_executor(relay, cores, index, &luggage)?, luggage });
    }
    Ok(shards)
}

fn spawn_executor(
    relay: &Arc<Relay>,
    cores: &[usize],
    index: usize,
    luggage: &Arc<Mutex<Option<Luggage>>>,
) -> Result<glommio::ExecutorJoinHandle<()>, BootError> {
    let (relay, luggage) = (relay.clone(), luggage.clone());
    LocalExecutorBuilder::new(Placement::Fixed(cores[index]))
        .name(&format!("shard-{index}"))
        .io_memory(RING_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_TIMER)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(RESOLVER_THREADS))
        .spawn(move || async move {
            let luggage = luggage.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(luggage) = luggage {
                run_shard(index, relay, luggage).await;
            }
        })
        .map_err(|e| BootError::Shard { shard: index, reason: e.to_string() })
}

/// Waits until every shard listens. An executor of glommio may park for good before its first task ran, where no waker of ours can
/// reach it (about one start in a thousand on an overloaded machine): its luggage goes to another one.
fn wait_until_ready(relay: &Arc<Relay>, cores: &[usize], shards: &mut [Spawned]) -> Result<(), BootError> {
    const NAPS_UNTIL_RESPAWN: u32 = 50;
    for nap in 1..=1_000 {
        if relay.shards_ready.load(Ordering::Acquire) == shards.len() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
        if nap % NAPS_UNTIL_RESPAWN == 0 {
            respawn_stuck(relay, cores, shards)?;
        }
    }
    let shard = relay.shards_ready.load(Ordering::Acquire);
    Err(BootError::Shard { shard, reason: "it did not come up within 10 s".into() })
}

fn respawn_stuck(relay: &Arc<Relay>, cores: &[usize], shards: &mut [Spawned]) -> Result<(), BootError> {
    for (index, shard) in shards.iter_mut().enumerate() {
        let is_stuck = shard.luggage.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_stuck {
            tracing::warn!(shard = index, "the executor did not begin to run: trying another one");
            shard.handle = spawn_executor(relay, cores, index, &shard.luggage)?;
        }
    }
    Ok(())
}

async fn run_shard(index: usize, relay: Arc<Relay>, luggage: Luggage) {
    let Luggage { mesh, sockets } = luggage;
    let heart = relay.shards[index].heart.clone();
    // Before the first sleep, for from then on the executor may park for good unless it is woken.
    poll_fn(|cx| {
        heart.register(cx.waker());
        Poll::Ready(())
    })
    .await;
    heart.set_tempo(Tempo::Fast);
    // The first timer sleep takes 10 ms (membarrier registration): pay for it before there are viewers.
    glommio::timer::sleep(Duration::from_micros(1)).await;
    let arena = match Arena::new(relay.config.media.store_bytes_max) {
        Ok(arena) => arena,
        Err(error) => {
            tracing::error!(shard = index, %error, "no memory file for the store");
            heart.stop();
            return;
        }
    };
    let shard = Rc::new(Shard {
        index,
        metrics: relay.shards[index].metrics.clone(),
        arena,
        mesh: RefCell::new(mesh),
        beats: Default::default(),
        swept_us: Cell::new(0),
        owned: RefCell::default(),
        mirrors: RefCell::default(),
        deadlines: Default::default(),
        segment_viewers: RefCell::new(SegmentViewers::new(SEGMENT_VIEWERS_MAX)),
        hot_segments: RefCell::new(HotSegments::new(relay.shards.len())),
        asked_us: Cell::new(0),
        connections: Cell::new(0),
        addresses: RefCell::default(),
        listeners: RefCell::default(),
        scratch: RefCell::new(vec![0; REQUEST_READ_BYTES].into_boxed_slice()),
        texts: Cell::default(),
        date: RefCell::new(HttpDate::new(0)),
        last_numbers: RefCell::default(),
        relay,
    });
    for (socket, is_admin) in sockets {
        glommio::spawn_local(conn::accept_all(shard.clone(), socket, is_admin)).detach();
    }
    shard.relay.shards_ready.fetch_add(1, Ordering::Release);
    tick::run(shard).await;
    heart.stop();
}

fn spawn_pacemaker(relay: Arc<Relay>) -> Result<std::thread::JoinHandle<()>, BootError> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // The second signal ends the process at once, for the impatient.
        signal_hook::flag::register_conditional_shutdown(signal, 1, asked.clone()).map_err(BootError::Signals)?;
        signal_hook::flag::register(signal, asked.clone()).map_err(BootError::Signals)?;
    }
    let thread = std::thread::Builder::new().name("pacemaker".into()).spawn(move || {
        pacemaker::run(&relay, || {
            if asked.load(Ordering::Relaxed) && !relay.draining.swap(true, Ordering::AcqRel) {
                tracing::info!("asked to stop: finishing what is being sent");
            }
        });
    });
    thread.map_err(|e| BootError::Shard { shard: 0, reason: format!("no pacemaker thread: {e}") })
}

/// Asks the kernel for a ring before glommio does, for glommio panics without one.
fn preflight(shards: usize) -> Result<(), BootError> {
    // SAFETY: io_uring_params is plain data for which all zeros are valid; the struct is 120 bytes by the kernel's ABI.
    let mut params = [0u8; 120];
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, RING_DEPTH as libc::c_uint, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(BootError::System(remedy(&io::Error::last_os_error())));
    }
    // SAFETY: `fd` was returned by the kernel just now and belongs to nobody else.
    unsafe { libc::close(fd as i32) };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live struct of the type that the call fills.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } == 0;
    let wanted = MEMLOCK_BYTES_PER_SHARD * shards as u64;
    // SAFETY: takes nothing, cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    if known && !is_root && limit.rlim_cur < wanted {
        return Err(BootError::System(format!(
            "RLIMIT_MEMLOCK is {} KiB and {shards} shards need {} KiB: raise it (ulimit -l {}, or LimitMEMLOCK= in the systemd unit)",
            limit.rlim_cur >> 10,
            wanted >> 10,
            wanted >> 10,
        )));
    }
    Ok(())
}

/// Takes as many descriptors as the system grants: a viewer is one, and the usual soft limit is 1024.
fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live struct of the type that both calls take; setrlimit changes this process's soft limit only.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if !raised {
        tracing::warn!(error = %io::Error::last_os_error(), "cannot raise the limit of open files");
    }
}

fn remedy(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "io_uring is missing in this kernel: use Linux 5.8 or later".into(),
        Some(libc::EPERM | libc::EACCES) => "io_uring is forbidden here: set sysctl kernel.io_uring_disabled=0, and in a container allow io_uring_setup, io_uring_enter and io_uring_register (docker: --security-opt seccomp=unconfined or a profile with them)".into(),
        Some(libc::ENOMEM) => "io_uring got no locked memory: raise RLIMIT_MEMLOCK (ulimit -l 8192, or LimitMEMLOCK=8M in the systemd unit)".into(),
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptor is left for io_uring: raise the limit of open files (ulimit -n)".into(),
        _ => format!("io_uring does not work here: {error}"),
    }
}
