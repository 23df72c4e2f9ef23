//! The transcoding cores: what is admitted, on which of them it runs, and its end.

use super::gauge::Gauge;
use super::status::{CoreStatus, JobStatus, OutputStatus, Status, Totals};
use super::worker::{self, Mail, Start};
use super::{OpenPipeline, cost, watch};
use crate::es::rendition::RenditionId;
use crate::es::{Track, TrackId};
use crate::limits::{TRANSCODE_JOBS_MAX, TRANSCODE_RETRY_AFTER_S};
use crate::ring::branch::{Branch, OutputId, Progress};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// What the transcoding cores may be used for.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscodeConfig {
    /// CPU ids that workers are pinned to. Empty: nothing is transcoded.
    pub cores: Vec<usize>,
    /// Shards run on the same cores: workers give way to them.
    pub cores_are_shared: bool,
    /// Share of a core that admitted jobs may take together, 0 to 1.
    pub load_max: f64,
    /// A worker that is busy with one sample for longer is abandoned, milliseconds.
    pub hang_ms: u64,
}

/// Why a branch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// One line, fit for viewers.
    pub why: Arc<str>,
    /// Seconds after which it is worth to ask again; `None`: it will not change.
    pub retry_after_s: Option<u32>,
}

/// The transcoding cores and what runs on them. One for the process; any thread may call it, and none waits for more than a short lock.
pub struct Transcoder {
    config: TranscodeConfig,
    open: Arc<OpenPipeline>,
    start: Instant,
    pub(super) state: Mutex<State>,
    watch: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
pub(super) struct State {
    pub jobs: Vec<Job>,
    /// Cores that a hung thread sits on.
    pub lost: Vec<usize>,
    pub totals: Totals,
    started: u64,
    /// No more jobs: the process ends.
    pub is_closing: bool,
}

/// One worker thread.
pub(super) struct Job {
    pub worker: String,
    channel: String,
    source: Arc<Track>,
    pub core: usize,
    mail: Arc<Mail>,
    pub gauge: Arc<Gauge>,
    /// `None` once it was joined or given up.
    pub thread: Option<JoinHandle<()>>,
    pub outputs: Vec<JobOutput>,
    /// Expected share of a core.
    expected: f64,
    /// Measured share of a core over the last seconds; `None` until it ran for long enough.
    pub measured: Option<f64>,
    pub cpu_seen: watch::CpuSeen,
    /// When its last output was stopped, microseconds of the gauge's clock.
    pub stopped_us: Option<u64>,
    pub is_hung: bool,
}

/// One output as the coordinator knows it.
pub(super) struct JobOutput {
    pub id: OutputId,
    rendition: RenditionId,
    pub progress: Arc<Progress>,
    pub frames_seen: u64,
    pub fps: f64,
}

impl Transcoder {
    pub fn new(config: TranscodeConfig) -> Arc<Transcoder> {
        Self::with_pipelines(config, Arc::new(super::open_pipeline))
    }

    /// With pipelines other than libav's.
    pub fn with_pipelines(config: TranscodeConfig, open: Arc<OpenPipeline>) -> Arc<Transcoder> {
        let transcoder = Transcoder {
            config,
            open,
            start: Instant::now(),
            state: Mutex::new(State::default()),
            watch: Mutex::new(None),
        };
        Arc::new(transcoder)
    }

    pub fn config(&self) -> &TranscodeConfig {
        &self.config
    }

    /// Takes a branch: joins it to the worker of the same channel and track where its core has room, else starts one where there is most. `channel`: for
    /// the API and the log. Never waits for an encoder to open: what fails later stands in the outputs' progress.
    pub fn start(self: &Arc<Self>, channel: &str, branch: Branch) -> Result<(), Refused> {
        let mut state = self.lock();
        let result = self.place(&mut state, channel, branch);
        match &result {
            Ok(()) => state.totals.started += 1,
            Err(_) => state.totals.refused += 1,
        }
        drop(state);
        if result.is_ok() {
            self.ensure_watch();
        }
        result
    }

    /// Ends these outputs at once, and the workers that have no others.
    pub fn stop(&self, outputs: &[OutputId]) {
        let mut state = self.lock();
        for job in &mut state.jobs {
            for output in job.outputs.iter().filter(|output| outputs.contains(&output.id)) {
                output.progress.stop.store(true, Ordering::Release);
                job.call();
            }
            job.note_stop();
        }
        drop(state);
        self.wake_watch();
    }

    /// Ends everything: the process ends. Returns when all workers are gone, but for those that hang.
    pub fn shutdown(&self) {
        let ids: Vec<OutputId> = {
            let mut state = self.lock();
            state.is_closing = true;
            state.jobs.iter().flat_map(|job| job.outputs.iter().map(|output| output.id)).collect()
        };
        self.stop(&ids);
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watch) = watch {
            watch.thread().unpark();
            let _ = watch.join();
        }
    }

    pub fn status(&self) -> Status {
        let state = self.lock();
        let cores = self.config.cores.iter().map(|core| {
            let on_it = || state.jobs.iter().filter(|job| job.core == *core);
            let lost = state.lost.contains(core);
            CoreStatus { core: *core, load: on_it().map(Job::load).sum(), jobs: on_it().count(), lost }
        });
        let mut totals = state.totals;
        for job in &state.jobs {
            totals.cpu_seconds += job.cpu_seconds();
            for output in &job.outputs {
                totals.frames += output.progress.frames.load(Ordering::Relaxed);
                totals.dropped += output.progress.dropped.load(Ordering::Relaxed);
            }
        }
        Status { cores: cores.collect(), jobs: state.jobs.iter().map(Job::status).collect(), totals }
    }

    fn place(&self, state: &mut State, channel: &str, branch: Branch) -> Result<(), Refused> {
        self.check_open(state)?;
        let encodings = branch.outputs.iter().map(|output| cost::encode(&branch.source, output.encoding));
        let encode: f64 = encodings.sum();
        let is_it = |job: &Job| job.channel == channel && job.source.id == branch.source.id && job.takes_more();
        if let Some(index) = state.jobs.iter().position(is_it)
            && state.load_of(state.jobs[index].core) + encode <= self.config.load_max
        {
            let job = &mut state.jobs[index];
            let branch = branch.listed(job, encode);
            let mail = job.mail.clone();
            let Some(branch) = mail.post(branch) else {
                job.call();
                return Ok(());
            };
            // It ended just now.
            job.outputs.retain(|output| branch.outputs.iter().all(|new| new.id != output.id));
            return self.start_worker(state, channel, branch, encode);
        }
        self.start_worker(state, channel, branch, encode)
    }

    fn check_open(&self, state: &State) -> Result<(), Refused> {
        let never = |why: &str| Err(Refused { why: why.into(), retry_after_s: None });
        if self.config.cores.is_empty() {
            return never("nothing is transcoded here");
        }
        if state.is_closing {
            return never("the relay is shutting down");
        }
        if state.lost.len() == self.config.cores.len() {
            return never("all transcoding cores are lost to transcoders that hang");
        }
        Ok(())
    }

    fn start_worker(&self, state: &mut State, channel: &str, branch: Branch, encode: f64) -> Result<(), Refused> {
        let expected = encode + cost::decode(&branch.source);
        let free = self.config.cores.iter().filter(|core| !state.lost.contains(core));
        let least = free.min_by(|a, b| state.load_of(**a).total_cmp(&state.load_of(**b))).copied();
        let fits = |core: &usize| state.load_of(*core) + expected <= self.config.load_max;
        let Some(core) = least.filter(fits).filter(|_| state.jobs.len() < TRANSCODE_JOBS_MAX) else {
            let used = least.map_or(1.0, |core| state.load_of(core));
            let (used, needed, most) = (used * 100.0, expected * 100.0, self.config.load_max * 100.0);
            let why = format!(
                "the transcoding cores are full: the least busy one is used to {used:.0} %, this needs about {needed:.0} % more, and \
                 {most:.0} % is the limit"
            );
            return Err(Refused { why: why.into(), retry_after_s: Some(TRANSCODE_RETRY_AFTER_S) });
        };
        state.started += 1;
        let gauge = Arc::new(Gauge::new(self.start));
        let mut job = Job {
            // Linux shows 15 characters.
            worker: format!("transcode-{}", state.started),
            channel: channel.to_owned(),
            source: branch.source.clone(),
            core,
            mail: Arc::default(),
            gauge: gauge.clone(),
            thread: None,
            outputs: Vec::new(),
            expected: cost::decode(&branch.source),
            measured: None,
            cpu_seen: watch::CpuSeen::default(),
            stopped_us: None,
            is_hung: false,
        };
        let branch = branch.listed(&mut job, encode);
        let (mail, open, gives_way) = (job.mail.clone(), self.open.clone(), self.config.cores_are_shared);
        let start = Start { name: job.worker.clone(), core, gives_way, branch, mail, gauge, open };
        let thread = worker::spawn(start).map_err(|error| {
            let why = format!("a transcoder's thread does not start: {error}");
            Refused { why: why.into(), retry_after_s: Some(TRANSCODE_RETRY_AFTER_S) }
        })?;
        job.thread = Some(thread);
        tracing::info!(channel, worker = job.worker, core, outputs = job.outputs.len(), "transcoder started");
        state.jobs.push(job);
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ensure_watch(self: &Arc<Self>) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        match &*watch {
            Some(thread) => thread.thread().unpark(),
            None => *watch = watch::spawn(Arc::downgrade(self)),
        }
    }

    fn wake_watch(&self) {
        if let Some(thread) = &*self.watch.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.thread().unpark();
        }
    }
}

impl State {
    /// Share of a core that its jobs take.
    fn load_of(&self, core: usize) -> f64 {
        self.jobs.iter().filter(|job| job.core == core).map(Job::load).sum()
    }
}

impl Branch {
    /// Enters the outputs into a job's list, with what they are expected to cost together.
    fn listed(self, job: &mut Job, encode: f64) -> Branch {
        for output in &self.outputs {
            job.outputs.push(JobOutput {
                id: output.id,
                rendition: RenditionId::encoded(self.source.id, output.encoding),
                progress: output.progress.clone(),
                frames_seen: 0,
                fps: 0.0,
            });
        }
        job.expected += encode;
        // What was measured is not what it costs from now on.
        job.measured = job.measured.map(|measured| measured + encode);
        job.stopped_us = None;
        self
    }
}

impl Job {
    fn takes_more(&self) -> bool {
        !self.is_hung && self.stopped_us.is_none() && !self.gauge.ended.load(Ordering::Acquire)
    }

    fn load(&self) -> f64 {
        self.measured.unwrap_or(self.expected)
    }

    pub fn cpu_seconds(&self) -> f64 {
        self.gauge.cpu_us.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Has the worker look at its outputs and its mail, asleep or not.
    fn call(&self) {
        self.gauge.attention.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Notes when the last output was stopped.
    fn note_stop(&mut self) {
        let all = self.outputs.iter().all(|output| output.progress.is_stopped());
        if all && self.stopped_us.is_none() {
            self.stopped_us = Some(self.gauge.now_us());
        }
    }

    fn status(&self) -> JobStatus {
        let TrackId(track) = self.source.id;
        let letter = if self.source.kind() == crate::es::TrackKind::Audio { 'a' } else { 'v' };
        let outputs = self.outputs.iter().filter(|output| !output.progress.is_stopped());
        JobStatus {
            worker: self.worker.clone(),
            channel: self.channel.clone(),
            source: format!("{letter}{track} {}", self.source.codec.name()),
            core: self.core,
            state: match (self.is_hung, self.stopped_us) {
                (true, _) => "hung",
                (false, Some(_)) => "ending",
                (false, None) => "running",
            },
            outputs: outputs.map(JobOutput::status).collect(),
            speed: self.gauge.speed(),
            queue: self.gauge.queue.load(Ordering::Relaxed),
            lag_ms: self.gauge.lag_us.load(Ordering::Relaxed) / 1_000,
            cpu_seconds: self.cpu_seconds(),
            load: self.load(),
        }
    }
}

impl JobOutput {
    fn status(&self) -> OutputStatus {
        OutputStatus {
            rendition: self.rendition.to_string(),
            frames: self.progress.frames.load(Ordering::Relaxed),
            fps: self.fps,
            bytes: self.progress.bytes.load(Ordering::Relaxed),
            dropped: self.progress.dropped.load(Ordering::Relaxed),
            skipped: self.progress.skipped.load(Ordering::Relaxed),
            reconfigured: self.progress.reconfigured.load(Ordering::Relaxed),
        }
    }
}
