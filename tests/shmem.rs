//! The memory of rings and stores goes back to the system when they are dropped.
//!
//! In a process of its own with one test, because it reads the whole process's shared memory from `/proc/self/status`.

use millrace::es::{Key, SampleMeta};
use millrace::limits::BLOCK_BYTES;
use millrace::ring::{es::EsRing, spsc};
use millrace::store::{Arena, StoreWriter};
use millrace::time::MediaTime;

/// RssShmem of this process, bytes.
fn shmem() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssShmem:")).expect("Linux 4.5 and later have it");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

fn meta(dts: i64) -> SampleMeta {
    let time = MediaTime(dts);
    SampleMeta { pts: time, dts: time, key: Key::Idr, discontinuity: false, header_len: 0, corrupt: false, pcr: None }
}

#[test]
fn dropped_rings_and_stores_leave_nothing_behind() {
    const MIB: u64 = 1 << 20;
    let sample = vec![7; 100_000];
    let baseline = shmem();

    let mut ring = EsRing::new(1_000, 16 << 20).unwrap();
    let (mut tx, rx) = spsc::channel(16 << 20, 1_000).unwrap();
    let arena = Arena::new(64 << 20).unwrap();
    let mut writer = StoreWriter::new(arena.clone());
    assert!(shmem() <= baseline + MIB / 4, "made but unused, they take nothing");

    for dts in 0..100 {
        ring.push(meta(dts), &sample).unwrap();
        tx.push(meta(dts), &sample).unwrap();
        writer.append(&sample).unwrap();
    }
    writer.publish();
    // The store's pages count once they were read through the map.
    let held = writer.shared().hold(0..writer.end()).unwrap();
    assert!(held.pieces().all(|piece| piece.bytes.iter().all(|&byte| byte == 7)));
    assert!(shmem() >= baseline + 28 * MIB, "{} from {baseline}", shmem());

    drop((ring, tx, rx));
    assert!(shmem() <= baseline + 11 * MIB, "{} from {baseline}", shmem());
    writer.trim(writer.end());
    assert!(arena.blocks_in_use() * BLOCK_BYTES >= 9 << 20, "held by a reader");
    drop((held, writer));
    // The arena itself is still there.
    assert!(shmem() <= baseline + MIB / 4, "{} from {baseline}", shmem());
    assert_eq!((arena.bytes_in_use(), arena.bytes_resident().unwrap()), (0, 0));
}
