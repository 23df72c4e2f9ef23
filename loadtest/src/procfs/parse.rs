//! Parsers of what `/proc` and `ss` print: pure functions over text, after proc(5), ss(8) and the kernel's Documentation/filesystems/proc.rst.
//!
//! What they deliberately do not do: open files, or turn clock ticks into seconds.

use std::collections::BTreeMap;

/// Of `/proc/PID/stat`, clock ticks where not said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Not a zombie, which only waits for its parent to take note.
    pub alive: bool,
    pub user: u64,
    pub system: u64,
    pub threads: u32,
    /// Since boot: with the pid, what names a process for good.
    pub started: u64,
}

/// `/proc/PID/stat`; fields are counted from behind the last `)`, for a command's name may hold blanks and parentheses.
pub fn stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // proc(5) counts from 1 and the first here is its third, the state.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let (threads, started) = (u32::try_from(field(20)?).ok()?, field(22)?);
    let alive = !matches!(fields[0], "Z" | "X");
    Some(Stat { alive, user: field(14)?, system: field(15)?, threads, started })
}

/// Time on a processor, nanoseconds, of `/proc/PID/task/TID/schedstat`.
pub fn schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Time that it could have run and waited for a processor, nanoseconds, of the same.
pub fn run_delay(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `Slab` of `/proc/meminfo`: small objects of the kernel, sockets among them; bytes.
pub fn slab(text: &str) -> Option<u64> {
    Some(number(text, "Slab:")? * 1024)
}

/// Of `/proc/PID/task/TID/status`: voluntary and involuntary context switches.
pub fn context_switches(text: &str) -> Option<(u64, u64)> {
    Some((number(text, "voluntary_ctxt_switches:")?, number(text, "nonvoluntary_ctxt_switches:")?))
}

/// `VmRSS` and `VmHWM` (the most it ever was) of `/proc/PID/status`, bytes. A kernel thread or a zombie has neither.
pub fn resident(text: &str) -> Option<(u64, u64)> {
    Some((number(text, "VmRSS:")? * 1024, number(text, "VmHWM:")? * 1024))
}

/// `RssAnon` and `RssFile` of `/proc/PID/status`, bytes.
pub fn anon_and_file(text: &str) -> Option<(u64, u64)> {
    Some((number(text, "RssAnon:")? * 1024, number(text, "RssFile:")? * 1024))
}

/// Resident bytes of mapped files of memory, by inode, of `/proc/PID/smaps`: the most of a file's maps, for they share its pages.
pub fn memory_files(text: &str) -> BTreeMap<u64, u64> {
    let mut files = BTreeMap::new();
    let mut inode = None;
    for line in text.lines() {
        // A map begins with `start-end perms offset device inode path`; its figures are `Name: value kB`.
        let fields: Vec<&str> = line.split_ascii_whitespace().take(6).collect();
        if let [range, _, _, _, number, ..] = fields[..]
            && range.contains('-')
        {
            let is_memory = fields.get(5).is_some_and(|path| path.starts_with("/memfd:"));
            inode = number.parse().ok().filter(|_| is_memory);
        } else if let (Some(inode), ["Rss:", kib, "kB"]) = (inode, &fields[..])
            && let Ok(kib) = kib.parse::<u64>()
        {
            let held = files.entry(inode).or_insert(0);
            *held = (kib * 1024).max(*held);
        }
    }
    files
}

/// Send queues of the connected sockets of a local port, bytes, of `/proc/net/tcp` and `tcp6`.
pub fn send_queues(text: &str, port: u16) -> Vec<u64> {
    const ESTABLISHED: &str = "01";
    let queue = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(5).collect();
        let [_, local, _, state, queues] = fields[..] else { return None };
        let (_, local_port) = local.rsplit_once(':')?;
        let is_ours = state == ESTABLISHED && u16::from_str_radix(local_port, 16) == Ok(port);
        u64::from_str_radix(queues.split_once(':')?.0, 16).ok().filter(|_| is_ours)
    };
    text.lines().filter_map(queue).collect()
}

/// `MemTotal` of `/proc/meminfo`, bytes.
pub fn memory_total(text: &str) -> Option<u64> {
    Some(number(text, "MemTotal:")? * 1024)
}

/// Of a core in `/proc/stat`, clock ticks since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// User (nice included), system, interrupts and soft interrupts; neither idle, nor waiting for a disk, nor stolen by a hypervisor.
    pub busy: u64,
    /// Of these, soft interrupts.
    pub softirq: u64,
}

/// The cores of `/proc/stat` that are online, in order.
pub fn cores(text: &str) -> Vec<Core> {
    let per_core =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    text.lines().filter(per_core).filter_map(core).collect()
}

fn core(line: &str) -> Option<Core> {
    let ticks: Vec<u64> = line.split_ascii_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    // Guests' time (fields 9 and 10) is within user and nice already.
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some(Core { busy: user + nice + system + irq + softirq, softirq })
}

/// `ctxt` of `/proc/stat`: context switches since boot.
pub fn machine_context_switches(text: &str) -> Option<u64> {
    number(text, "ctxt")
}

/// Pages of all TCP sockets, of `/proc/net/sockstat`.
pub fn tcp_pages(text: &str) -> Option<u64> {
    let fields = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut fields = fields.split_ascii_whitespace().skip_while(|field| *field != "mem");
    fields.nth(1)?.parse().ok()
}

/// Name of the first processor and the count of all, of `/proc/cpuinfo`. Not every architecture tells a name.
pub fn processors(text: &str) -> (Option<String>, u32) {
    let values = |key: &'static str| {
        text.lines().filter_map(|line| line.split_once(':')).filter(move |(name, _)| name.trim_end() == key)
    };
    (values("model name").next().map(|(_, model)| model.trim().to_owned()), values("processor").count() as u32)
}

/// `/proc/PID/cmdline`: arguments end with a zero byte. They are separated by blanks here, for people.
pub fn command_line(bytes: &[u8]) -> String {
    let ended = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    ended.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
}

/// Kernel memory of the TCP sockets of these processes, bytes, of `ss -tmnpH`'s output.
///
/// A socket is a line with its owners, and a line with `skmem` that begins with a blank. Counted is what is charged to the socket: received
/// and not read (`r`), queued to be sent (`w`), allocated ahead (`f`), options (`o`) and backlog (`bl`).
pub fn socket_memory(text: &str, pids: &[u32]) -> u64 {
    let owners: Vec<String> = pids.iter().map(|pid| format!("pid={pid},")).collect();
    let mut ours = false;
    let mut bytes = 0;
    for line in text.lines() {
        if !line.starts_with(char::is_whitespace) {
            ours = owners.iter().any(|owner| line.contains(owner));
        }
        if ours {
            bytes += skmem(line);
        }
    }
    bytes
}

fn skmem(line: &str) -> u64 {
    let Some((_, rest)) = line.split_once("skmem:(") else { return 0 };
    let fields = rest.split(')').next().unwrap_or_default().split(',');
    fields
        .filter_map(|field| {
            let digits = field.find(|c: char| c.is_ascii_digit())?;
            let charged = matches!(&field[..digits], "r" | "w" | "f" | "o" | "bl");
            charged.then(|| field[digits..].parse::<u64>().ok())?
        })
        .sum()
}

/// The first number behind `key` at a line's start.
fn number(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_parentheses_shifts_no_field() {
        let text = "4741 (mill (race) 1) R 4739 4739 32309 0 -1 4194304 103 0 0 0 250 130 0 0 20 0 7 0 2188550 3133440 409 18446744073709551615\n";
        assert_eq!(stat(text), Some(Stat { alive: true, user: 250, system: 130, threads: 7, started: 2_188_550 }));
        assert!(!stat(&text.replace(" R ", " Z ")).unwrap().alive);
        assert_eq!(stat("4741 (cat) R 4739"), None);
        assert_eq!(stat(""), None);
    }

    #[test]
    fn the_status_file_gives_memory_and_context_switches() {
        let text = "Name:\tcat\nVmHWM:\t    1752 kB\nVmRSS:\t    1500 kB\nThreads:\t1\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(resident(text), Some((1500 * 1024, 1752 * 1024)));
        assert_eq!(context_switches(text), Some((12, 3)));
        assert_eq!(resident("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn a_file_of_memory_counts_once_however_often_it_is_mapped() {
        let map = |inode: u64, path: &str, rss: u64| {
            format!(
                "7f0000000000-7f0000100000 rw-s 00000000 00:01 {inode}    {path}\nSize: 1024 kB\nRss: {rss} kB\nPss: 1 kB\n"
            )
        };
        let deleted = "/memfd:store (deleted)";
        let text = [map(7, deleted, 100), map(7, deleted, 80), map(9, deleted, 5), map(3, "/usr/bin/x", 50)].concat()
            + "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\nRss: 16 kB\n";
        assert_eq!(memory_files(&text).into_iter().collect::<Vec<_>>(), [(7, 102_400), (9, 5_120)]);
        assert_eq!(anon_and_file("RssAnon:\t 12 kB\nRssFile:\t 3 kB\nRssShmem:\t 9 kB\n"), Some((12_288, 3_072)));
        assert_eq!(anon_and_file("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn send_queues_are_those_of_connected_sockets_of_the_port() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n\
            1: 0100007F:1F90 0100007F:C350 01 00001000:00000000 01:00000000 00000000     0        0 2 1 0 20 4 30 10 -1\n\
            2: 0100007F:C350 0100007F:1F90 01 00000005:00010000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1\n";
        assert_eq!(send_queues(text, 8080), [4096]);
        assert_eq!(send_queues(text, 50_000), [5]);
        assert!(send_queues("", 8080).is_empty());
    }

    #[test]
    fn time_on_a_processor_is_the_first_of_schedstat() {
        assert_eq!(schedstat("123456789 2684841 17\n"), Some(123_456_789));
        assert_eq!(run_delay("123456789 2684841 17\n"), Some(2_684_841));
        assert_eq!((schedstat("\n"), run_delay("1\n")), (None, None));
    }

    #[test]
    fn busy_is_neither_idle_nor_waiting_nor_stolen() {
        let text = "cpu  30 3 30 300 60 3 33 90 0 0\n\
            cpu0 10 1 10 100 20 1 11 30 0 0\n\
            cpu1 20 2 20 200 40 2 22 60 5 0\n\
            intr 12193972 0 0\nctxt 28466253\nbtime 1795676084\n";
        let expected =
            [Core { busy: 10 + 1 + 10 + 1 + 11, softirq: 11 }, Core { busy: 20 + 2 + 20 + 2 + 22, softirq: 22 }];
        assert_eq!(cores(text), expected);
        assert_eq!(machine_context_switches(text), Some(28_466_253));
        assert_eq!(cores("cpu0 1 2\n"), []);
    }

    #[test]
    fn tcp_memory_is_not_that_of_udp() {
        let text = "sockets: used 26\nTCP: inuse 13 orphan 0 tw 577 alloc 13 mem 122\nUDP: inuse 0 mem 5\n";
        assert_eq!(tcp_pages(text), Some(122));
        assert_eq!(tcp_pages("UDP: inuse 0 mem 5\n"), None);
    }

    #[test]
    fn the_machine_is_described() {
        let text = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: AMD EPYC\n";
        assert_eq!(processors(text), (Some("AMD EPYC".to_owned()), 2));
        assert_eq!(memory_total("MemTotal:       24684092 kB\nMemFree: 1 kB\n"), Some(24_684_092 * 1024));
        assert_eq!(slab("SwapFree: 0 kB\nSlab:     93312 kB\n"), Some(93_312 * 1024));
        assert_eq!(command_line(b"relay\0--listen\0:80\0"), "relay --listen :80");
        assert_eq!(command_line(b""), "");
    }

    #[test]
    fn socket_memory_is_that_of_the_server_alone() {
        let text = "ESTAB 0 50 127.0.0.1:46042 127.0.0.1:37935 users:((\"relay\",pid=466,fd=6))\n\
            \t skmem:(r1,rb1625258,t99,tb3939840,f20,w300,o4000,bl50000,d7)\n\
            ESTAB 0 50 127.0.0.1:37935 127.0.0.1:46042 users:((\"load\",pid=4664,fd=6))\n\
            \t skmem:(r1,rb131072,t0,tb3939840,f20,w300,o0,bl0,d0)\n\
            ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 users:((\"relay\",pid=466,fd=8),(\"relay\",pid=466,fd=9)) skmem:(r7,rb1,t0,tb1,f0,w0,o0,bl0,d0)\n";
        assert_eq!(socket_memory(text, &[466]), 54_321 + 7);
        assert_eq!(socket_memory(text, &[466, 4664]), 54_321 + 7 + 321);
        assert_eq!(socket_memory("", &[466]), 0);
    }
}
