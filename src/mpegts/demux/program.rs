//! Which programme to take: the PAT over all its sections, the PMTs of the programmes it lists, and the choice among them.
//!
//! By default the first programme of the PAT whose PMT names video or audio. One whose PMT has not come by the time that a
//! later candidate's PMT is repeated is passed over, so a dead entry in the PAT holds nobody up. When a PMT came
//! [`DATA_PMTS`] times and there is still neither video nor audio, the first programme with any stream is taken.
//!
//! Memory: at most [`PROGRAMS_MAX`] entries with a PMT section in progress each while choosing, one afterwards.

use super::kind;
use super::stream::{Continuity, Order};
use crate::es::TrackKind;
use crate::limits::PROGRAMS_MAX;
use crate::mpegts::packet::{Header, PID_NULL, PID_PAT};
use crate::mpegts::psi::{self, Pmt, Section, SectionAssembler, TABLE_PAT, TABLE_PMT};

/// Lowest PID that a PMT or an elementary stream may have (2.4.3.2, table 2-3).
const PID_FREE_MIN: u16 = 0x10;

/// A programme of data alone is taken when its PMT came so often.
const DATA_PMTS: u8 = 3;

/// What a table packet changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Other PMT PIDs are to be listened to. `gone`: the programme that was in force is no longer listed.
    Pids {
        gone: bool,
    },
    /// A PMT to put in force, whole and with a good CRC.
    Pmt(Vec<u8>),
}

/// One programme of the PAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    number: u16,
    pid: u16,
    /// PMTs that came for it, saturating.
    pmts: u8,
}

/// A programme that may be taken. The smaller is the better one: first those with media, then by place in the PAT.
#[derive(Debug)]
struct Candidate {
    /// (has neither video nor audio, place in the PAT).
    rank: (bool, usize),
    /// Its PMT section.
    pmt: Vec<u8>,
}

/// PAT sections of one version on their way to a whole table.
#[derive(Debug, Default)]
struct Pending {
    /// transport_stream_id, version and last_section_number.
    key: (u16, u8, u8),
    /// Section numbers that are there, a bit each.
    sections: [u64; 4],
    entries: Vec<Entry>,
}

/// A PID that carries tables.
#[derive(Debug)]
struct TablePid {
    pid: u16,
    continuity: Continuity,
    assembler: SectionAssembler,
}

impl TablePid {
    fn new(pid: u16) -> Self {
        TablePid { pid, continuity: Continuity::Fresh, assembler: SectionAssembler::default() }
    }
}

/// Follows PAT and PMTs up to the PMT of one programme.
pub(super) struct ProgramChoice {
    /// program_number that the caller asks for.
    wanted: Option<u16>,
    /// program_number and PMT PID in force.
    chosen: Option<Entry>,
    /// The programme chosen last, preferred after a reconnect.
    preferred: Option<u16>,
    pending: Pending,
    entries: Vec<Entry>,
    /// The best candidate so far.
    best: Option<Candidate>,
    /// CRC of the PMT in force.
    pmt_crc: Option<u32>,
    /// The PAT's PID first, then the PMT PIDs.
    tables: Vec<TablePid>,
}

impl ProgramChoice {
    pub(super) fn new(wanted: Option<u16>) -> Self {
        ProgramChoice {
            wanted,
            chosen: None,
            preferred: None,
            pending: Pending::default(),
            entries: Vec::new(),
            best: None,
            pmt_crc: None,
            tables: vec![TablePid::new(PID_PAT)],
        }
    }

    /// The connection ended: forgets the tables, but not which programme it was.
    pub(super) fn reset(&mut self) {
        let preferred = self.chosen.map(|c| c.number).or(self.preferred);
        *self = ProgramChoice { preferred, ..ProgramChoice::new(self.wanted) };
    }

    /// PIDs to hand to [`ProgramChoice::packet`].
    pub(super) fn pids(&self) -> impl Iterator<Item = u16> + '_ {
        self.tables.iter().map(|t| t.pid)
    }

    /// Takes a packet of one of [`ProgramChoice::pids`]. `errors` counts sections that cannot be read.
    pub(super) fn packet(&mut self, header: Header, discontinuity: bool, payload: &[u8], errors: &mut u64) -> Change {
        let Some(at) = self.tables.iter().position(|t| t.pid == header.pid()) else { return Change::None };
        let mut table = std::mem::replace(&mut self.tables[at], TablePid::new(header.pid()));
        let mut change = Change::None;
        let order = table.continuity.step(header.continuity_counter(), discontinuity, || true);
        if matches!(order, Order::Lost | Order::Jump) {
            table.assembler.reset();
        }
        if order != Order::Duplicate && !header.scrambled() {
            let whole =
                table.assembler.push(payload, header.unit_start(), |bytes| match self.section(header.pid(), bytes) {
                    Ok(Change::None) => {}
                    Ok(news) => change = news,
                    Err(_) => *errors += 1,
                });
            *errors += u64::from(!whole);
        }
        // Another choice may have changed the list.
        if let Some(slot) = self.tables.iter_mut().find(|t| t.pid == table.pid) {
            *slot = table;
        }
        change
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        let assemblers: usize = self.tables.iter().map(|t| t.assembler.memory_bytes()).sum();
        let entries = self.entries.capacity() + self.pending.entries.capacity();
        let best = self.best.as_ref().map_or(0, |b| b.pmt.capacity());
        assemblers + best + entries * size_of::<Entry>() + self.tables.capacity() * size_of::<TablePid>()
    }

    fn section(&mut self, pid: u16, bytes: &[u8]) -> Result<Change, psi::SectionError> {
        // Other tables may share the PID: they are none of our business, nor is their CRC.
        let expected = if pid == PID_PAT { TABLE_PAT } else { TABLE_PMT };
        if bytes[0] != expected {
            return Ok(Change::None);
        }
        let section = Section::parse(bytes)?;
        Ok(match () {
            () if !section.current => Change::None,
            () if pid == PID_PAT => self.pat(&section),
            () => self.pmt(pid, &section, bytes),
        })
    }

    fn pat(&mut self, section: &Section<'_>) -> Change {
        let key = (section.table_id_extension, section.version, section.last_number);
        let pending = &mut self.pending;
        if pending.key != key || pending.has(section.number) {
            *pending = Pending { key, ..Pending::default() };
        }
        pending.sections[section.number as usize / 64] |= 1 << (section.number % 64);
        let room = PROGRAMS_MAX - pending.entries.len();
        let programs = psi::pat_programs(section.body).filter(|&(_, pid)| (PID_FREE_MIN..PID_NULL).contains(&pid));
        pending.entries.extend(programs.map(|(number, pid)| Entry { number, pid, pmts: 0 }).take(room));
        if !(0..=section.last_number).all(|number| pending.has(number)) {
            return Change::None;
        }
        let entries = std::mem::take(&mut self.pending).entries;
        self.install(entries)
    }

    /// Puts a whole PAT in force.
    fn install(&mut self, entries: Vec<Entry>) -> Change {
        if entries.len() == self.entries.len() && entries.iter().zip(&self.entries).all(|(a, b)| a.same(b)) {
            return Change::None;
        }
        self.entries = entries;
        self.best = None;
        let find = |number| self.entries.iter().find(|e| e.number == number).copied();
        let sought = self.wanted.or(self.chosen.map(|c| c.number)).or(self.preferred);
        let before = self.chosen;
        self.chosen = sought.and_then(find);
        match (before, self.chosen) {
            (Some(before), Some(chosen)) if before.same(&chosen) => return Change::None,
            _ => self.pmt_crc = None,
        }
        self.listen();
        Change::Pids { gone: before.is_some() && self.chosen.is_none() }
    }

    /// Listens to the chosen programme's PMT, or to all when the choice is open.
    fn listen(&mut self) {
        self.tables.truncate(1);
        let all = if self.wanted.is_none() { &self.entries[..] } else { &[] };
        for entry in self.chosen.as_ref().map_or(all, std::slice::from_ref) {
            if self.tables.iter().all(|t| t.pid != entry.pid) {
                self.tables.push(TablePid::new(entry.pid));
            }
        }
    }

    fn pmt(&mut self, pid: u16, section: &Section<'_>, bytes: &[u8]) -> Change {
        let number = section.table_id_extension;
        if let Some(chosen) = self.chosen {
            if chosen.number != number || chosen.pid != pid || self.pmt_crc == Some(section.crc) {
                return Change::None;
            }
            self.pmt_crc = Some(section.crc);
            return Change::Pmt(bytes.to_vec());
        }
        let Some(at) = self.entries.iter().position(|e| e.number == number && e.pid == pid) else {
            return Change::None;
        };
        let pmts = &mut self.entries[at].pmts;
        *pmts = pmts.saturating_add(1);
        let pmts = *pmts;
        if let Some(has_media) = has_media(section) {
            let rank = (!has_media, at);
            if self.best.as_ref().is_none_or(|best| rank <= best.rank) {
                self.best = Some(Candidate { rank, pmt: bytes.to_vec() });
            }
        }
        match self.best.take() {
            Some(best) if self.is_settled(best.rank, at, pmts) => self.choose(best),
            best => {
                self.best = best;
                Change::None
            }
        }
    }

    /// Whether nothing better than a candidate of this rank is to be waited for, now that `at`'s PMT came for the `pmts`-th time.
    fn is_settled(&self, rank: (bool, usize), at: usize, pmts: u8) -> bool {
        match rank {
            (true, _) => pmts >= DATA_PMTS,
            (false, best) => self.entries[..best].iter().all(|e| e.pmts > 0) || (at == best && pmts > 1),
        }
    }

    fn choose(&mut self, best: Candidate) -> Change {
        let Candidate { rank: (_, at), pmt } = best;
        self.chosen = Some(self.entries[at]);
        self.pmt_crc = Some(psi::crc32(&pmt[..pmt.len() - 4]));
        self.listen();
        Change::Pmt(pmt)
    }
}

impl Entry {
    /// The same programme on the same PID.
    fn same(&self, other: &Entry) -> bool {
        (self.number, self.pid) == (other.number, other.pid)
    }
}

impl Pending {
    fn has(&self, section: u8) -> bool {
        self.sections[section as usize / 64] >> (section % 64) & 1 != 0
    }
}

/// Whether a PMT names video or audio; `None` when it names no stream that the relay carries.
fn has_media(section: &Section<'_>) -> Option<bool> {
    let pmt = Pmt::parse(section.body)?;
    let codecs = pmt.streams().filter_map(|s| kind::codec(s.stream_type, s.descriptors, pmt.descriptors));
    codecs.map(|codec| codec.kind() != TrackKind::Data).reduce(|a, b| a || b)
}
