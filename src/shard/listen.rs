//! Listening sockets: one for each shard and address, in one SO_REUSEPORT group, so that every shard accepts for itself.
//!
//! The kernel picks the shard of a new connection by its own hash, or, where the operator says so, by the CPU that the
//! packet arrived on: a classic BPF program on the group returns the index of the socket (SO_ATTACH_REUSEPORT_CBPF,
//! socket(7)), and sockets stand in the group in the order in which they were bound.

use super::boot::BootError;
use crate::config::Steering;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

const LISTEN_BACKLOG: i32 = 4096;

/// One listening socket of one shard.
pub(super) struct Listener {
    pub socket: Socket,
    pub is_admin: bool,
}

/// Binds `addr` once for each of `cores`, in order, and appends the sockets. Returns the address with the port that was taken.
pub(super) fn bind_group(
    addr: SocketAddr,
    is_admin: bool,
    cores: &[usize],
    steering: Steering,
    listeners: &mut Vec<Listener>,
) -> Result<SocketAddr, BootError> {
    let mut addr = addr;
    let first = listeners.len();
    for _ in cores {
        let socket = bind(addr).map_err(|error| BootError::Listen { addr, error })?;
        let local = socket.local_addr().map_err(|error| BootError::Listen { addr, error })?;
        // A port of 0 is chosen once and shared by all shards.
        addr = local.as_socket().unwrap_or(addr);
        listeners.push(Listener { socket, is_admin });
    }
    if steering == Steering::Cpu {
        steer_by_cpu(&listeners[first].socket, cores).map_err(|error| BootError::Listen { addr, error })?;
    }
    Ok(addr)
}

fn bind(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket)
}

/// Gives a connection to the shard that is pinned to the CPU its packet arrived on; packets of other CPUs are spread evenly.
fn steer_by_cpu(socket: &Socket, cores: &[usize]) -> io::Result<()> {
    let program = cpu_program(cores);
    let filter = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_ptr().cast_mut() };
    // SAFETY: `filter` points to `program`, which outlives the call; the kernel copies both and writes neither.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The program: CPU number to index in `cores`. Two instructions for each shard, at most 2 x [`crate::limits::SHARDS_MAX`] + 3.
fn cpu_program(cores: &[usize]) -> Vec<libc::sock_filter> {
    /// Ancillary data: the number of the current CPU (linux/filter.h SKF_AD_OFF + SKF_AD_CPU).
    const CPU: u32 = 0xffff_f000 + 36;
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const MODULO: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
    const RETURN_CONSTANT: u16 = 0x06; // BPF_RET | BPF_K
    const RETURN_ACCUMULATOR: u16 = 0x16; // BPF_RET | BPF_A
    let op = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut program = vec![op(LOAD_WORD, 0, CPU)];
    for (index, core) in cores.iter().enumerate() {
        program.push(op(JUMP_IF_EQUAL, 1, *core as u32));
        program.push(op(RETURN_CONSTANT, 0, index as u32));
    }
    program.push(op(MODULO, 0, cores.len() as u32));
    program.push(op(RETURN_ACCUMULATOR, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn the_kernel_takes_the_program_and_steers_by_it() {
        let cores = [0, 1];
        let mut listeners = Vec::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let addr = bind_group(any, false, &cores, Steering::Cpu, &mut listeners).unwrap();
        // On loopback the packet arrives on the CPU that sent it: pinned to one CPU, all connections go to one socket.
        let pinned = core_affinity::get_core_ids().unwrap_or_default().into_iter().next().unwrap();
        let clients = std::thread::spawn(move || {
            assert!(core_affinity::set_for_current(pinned));
            (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect::<Vec<_>>()
        });
        let _clients = clients.join().unwrap();
        let accepted: Vec<usize> = listeners.iter().map(|l| drain(&l.socket)).collect();
        let expected = cores.iter().position(|core| *core == pinned.id).unwrap_or(pinned.id % cores.len());
        assert_eq!(accepted[expected], 20, "{accepted:?}");
    }

    fn drain(socket: &Socket) -> usize {
        socket.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| socket.accept().ok()).count()
    }
}
