//! Finds a file's PAT and PMT packets. All files of the collection have 188-byte packets and a PAT of one packet.

const PACKET_BYTES: usize = 188;

/// The file with its first PAT packet and the programme's first PMT in front.
pub fn in_front(bytes: &[u8], program: u16) -> Vec<u8> {
    let pat = packets(bytes, 0).next();
    let pmt_pid = pat.and_then(|packet| programs(packet).find(|e| e.0 == program).map(|e| e.1));
    let mut pmt = Vec::new();
    for packet in pmt_pid.into_iter().flat_map(|pid| packets(bytes, pid)) {
        let begins = packet[1] & 0x40 != 0;
        if begins && !pmt.is_empty() {
            break;
        }
        let is_ours = section(packet).is_some_and(|s| s[0] == 2 && be16(&s[3..]) == program);
        if !pmt.is_empty() || begins && is_ours {
            pmt.extend(packet);
        }
    }
    [pat.unwrap_or_default(), &pmt, bytes].concat()
}

/// program_number of the first programme in the file's first PAT.
pub fn first_program(bytes: &[u8]) -> Option<u16> {
    packets(bytes, 0).next().and_then(|packet| programs(packet).next()).map(|e| e.0)
}

/// (program_number, PMT PID) of a PAT packet, the network PID left out.
fn programs(packet: &[u8]) -> impl Iterator<Item = (u16, u16)> {
    let section = section(packet).unwrap_or_default();
    let length = section.get(1..3).map_or(0, |l| (be16(l) & 0x0fff) as usize);
    let entries = section.get(8..(3 + length).saturating_sub(4).min(section.len())).unwrap_or_default();
    entries.chunks_exact(4).map(|e| (be16(e), be16(&e[2..]) & 0x1fff)).filter(|e| e.0 != 0)
}

fn packets(bytes: &[u8], pid: u16) -> impl Iterator<Item = &[u8]> {
    bytes.chunks_exact(PACKET_BYTES).filter(move |p| be16(&p[1..]) & 0x1fff == pid)
}

/// The section that begins in a packet without adaptation field.
fn section(packet: &[u8]) -> Option<&[u8]> {
    let at = 5 + packet[4] as usize;
    (packet[3] & 0x30 == 0x10).then(|| packet.get(at..)).flatten()
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}
