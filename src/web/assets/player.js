// The player panel: one video element, one engine at a time, what a viewer notices in figures, and what is wrong in words.

import { judge } from './codecs.js';
import { byId, copy, el, setHidden, setText } from './dom.js';
import { ENGINES, MediaSourceType } from './engines.js';
import { FORMATS, STATES, addressOf, pathOf, bitrateText, countText, formatOf, secondsText, trackText } from './text.js';

const TICK_MS = 250;
/** Waits shorter than this nobody notices. */
const STALL_MS_MIN = 250;
/** A picture that stands for this long is begun anew: the relay restarted, or the network went. */
const STUCK_MS = 12_000;
/** Waits between attempts, seconds; the last one repeats. */
const RETRY_S = [1, 2, 4, 8];
/** Bitrate is measured over this long. */
const RATE_MS = 4_000;

const FIGURES = [
  ['latency', 'Latency', 'How far the picture is behind the moment it came to the relay, by the relay’s clock'],
  ['buffer', 'Buffered', 'Media that is loaded and not played yet'],
  ['stalls', 'Stalls', 'How often the picture stood for lack of data, and for how long in all'],
  ['bitrate', 'Bitrate', 'What is being decoded, sound included'],
  ['picture', 'Picture', 'Width and height as decoded'],
  ['frames', 'Frames', 'Pictures decoded'],
  ['dropped', 'Dropped', 'Pictures decoded and not shown, as they came too late for this machine'],
  ['start', 'Start', 'From the click to the first moving picture'],
];

export class Player {
  #video = byId('video');
  #stage = byId('stage');
  #engine = null;
  /** Grows with every start, so that what an older one still answers is recognised as old. */
  #turn = 0;
  #channel = null;
  #format = null;
  #tally = null;
  #retryTimer = 0;
  #attempt = 0;
  #values = new Map();
  #formatButtons = new Map();
  #audioShown = '';
  /** Whether the channel's codecs were known when it was started: of an idle channel they are not. */
  #knewTracks = false;
  /** What of the source is to be made; '' is the source as it is. */
  #profile = '';
  /** Whether the relay makes what this browser does not decode. */
  #makes = {};

  /** `clock()`: the relay's wall clock, milliseconds. `onChange(channel or null, format)`: what is to be played changed. */
  constructor({ clock, onChange }) {
    this.clock = clock;
    this.onChange = onChange;
    this.#build();
    setInterval(() => this.#tick(), TICK_MS);
  }

  get channelId() {
    return this.#channel?.id ?? null;
  }

  get formatId() {
    return this.#format?.id ?? null;
  }

  /** Plays `channel` (of channels.json) in a format. */
  play(channel, formatId) {
    this.#attempt = 0;
    this.#channel = channel;
    this.#format = formatOf(formatId);
    this.#describe();
    this.onChange(channel, this.#format);
    this.#start();
  }

  /** Stops, and leaves the page to the list. */
  close() {
    this.#turn += 1;
    this.#stop();
    this.#channel = null;
    setHidden(this.#video, true);
    setHidden(byId('playing'), true);
    document.title = 'millrace';
    this.#say('empty', 'Choose a channel', 'It starts when the first viewer comes, and plays here in any format.');
    this.onChange(null, this.#format);
  }

  /** Takes what may be asked for: names of profiles, and what is made without being asked for. */
  offer({ profiles = [], makes = {} }) {
    this.#makes = makes;
    const select = byId('profile-select');
    if (select.options.length === profiles.length + 1) return;
    select.replaceChildren(...['', ...profiles].map((name) => el('option', { value: name }, name || 'As the source')));
    select.value = this.#profile = profiles.includes(this.#profile) ? this.#profile : '';
    setHidden(byId('profile'), profiles.length === 0);
  }

  /** What stands in the way of playing the channel here, and what will be missing: nothing of what the relay makes. */
  #judge() {
    const tracks = (this.#channel.tracks ?? []).filter((track) => !this.#profile && !this.#makes[track.kind]);
    const judged = judge(tracks, this.#format);
    const audio = (this.#channel.tracks ?? []).some((track) => track.kind === 'audio');
    return { ...judged, hasAudio: judged.hasAudio || (audio && (Boolean(this.#profile) || Boolean(this.#makes.audio))) };
  }

  /** Takes what the last poll says of the channel. */
  update(channel) {
    this.#channel = channel;
    this.#describe();
    // Codecs become known only once the channel runs.
    const { block } = this.#judge();
    if (block && this.#stage.dataset.state !== 'blocked') this.#block(block);
  }

  async #start() {
    const turn = ++this.#turn;
    this.#stop();
    const { block, hasAudio } = this.#judge();
    if (block) return this.#block(block);
    if (this.#format.needsMse && !MediaSourceType) {
      return this.#block(`${this.#format.name} needs Media Source Extensions, which this browser lacks. HLS plays here.`);
    }
    this.#say('loading', 'Starting', `${this.#channel.name} in ${this.#format.name}`);
    setHidden(this.#video, false);
    this.#tally = newTally();
    this.#knewTracks = (this.#channel.tracks ?? []).length > 0;
    const on = { fatal: (error) => turn === this.#turn && this.#failed(error) };
    try {
      const engine = await ENGINES[this.#format.engine](this.#video, addressOf(this.#format, this.#channel.id, this.#profile), on, hasAudio);
      if (turn !== this.#turn) return engine?.destroy();
      this.#engine = engine;
      await engine?.ready;
      if (turn !== this.#turn) return;
    } catch (error) {
      if (turn === this.#turn) this.#failed({ kind: 'network', text: error.message });
      return;
    }
    this.#video.play().catch((error) => {
      if (turn === this.#turn && error.name === 'NotAllowedError') this.#say('ready', 'Press play', 'This browser does not start video by itself.');
    });
  }

  #stop() {
    clearTimeout(this.#retryTimer);
    this.#engine?.destroy();
    this.#engine = null;
    this.#tally = null;
    setHidden(byId('unmute'), true);
    this.#showAudio();
    this.#showFigures();
  }

  #block(reason) {
    this.#turn += 1;
    this.#stop();
    setHidden(this.#video, true);
    const vlc = addressOf(formatOf('mpegts'), this.#channel.id);
    this.#say('blocked', 'Not in this browser', `${reason} Play it in VLC: vlc ${vlc}`);
    this.#overlayButton('Copy the VLC command', () => copy(`vlc ${vlc}`));
  }

  async #failed({ kind, status, text }) {
    const turn = ++this.#turn;
    this.#stop();
    // Who did not know what is in the channel does by the next attempt, and can leave out what this browser cannot decode.
    if (kind === 'codec' && this.#knewTracks) return this.#block(`This browser cannot decode ${this.#codecs() || 'this channel'}.`);
    const wait = RETRY_S[Math.min(this.#attempt, RETRY_S.length - 1)];
    this.#attempt += 1;
    const again = `Trying again in ${wait} s.`;
    const title = kind === 'media' ? 'The picture broke off' : 'No picture';
    this.#say('error', title, `${text ?? this.#guess(kind, status)} ${again}`);
    this.#overlayButton('Try now', () => this.#start());
    this.#retryTimer = setTimeout(() => turn === this.#turn && this.#start(), wait * 1000);
    if (kind !== 'network') return;
    const reason = await relaysReason(pathOf(this.#format, this.#channel.id, this.#profile));
    if (turn === this.#turn && reason) this.#say('error', title, `${reason} ${again}`);
  }

  #guess(kind, status) {
    if (this.#channel.reason) return sentence(this.#channel.reason);
    if (kind === 'media') return 'The browser could not go on with what it got.';
    return status ? `The relay answered ${status}.` : 'The relay does not answer.';
  }

  #codecs() {
    return (this.#channel.tracks ?? []).map((track) => track.rfc6381).filter(Boolean).join(', ');
  }

  #say(state, title, text) {
    this.#stage.dataset.state = state;
    setText(byId('overlay-title'), title);
    setText(byId('overlay-text'), text);
    setHidden(byId('overlay-button'), true);
  }

  #overlayButton(label, action) {
    const button = byId('overlay-button');
    setText(button, label);
    setHidden(button, false);
    button.onclick = action;
  }

  // ---- what is on the panel

  #build() {
    for (const [id, name, hint] of FIGURES) {
      const value = el('dd', { id: `figure-${id}` }, '–');
      this.#values.set(id, value);
      byId('figures').append(el('div', { title: hint }, el('dt', {}, name), value));
    }
    for (const format of FORMATS) {
      const button = el('button', { type: 'button', 'data-format': format.id, 'aria-pressed': 'false' }, format.name);
      button.addEventListener('click', () => this.play(this.#channel, format.id));
      this.#formatButtons.set(format.id, button);
      byId('formats').append(button);
    }
    byId('unmute').addEventListener('click', () => {
      this.#video.muted = false;
      if (this.#video.volume === 0) this.#video.volume = 1;
      this.#video.play().catch(() => {});
    });
    // On a phone it would push the channels far down.
    byId('elsewhere').open = window.matchMedia('(min-width: 1021px)').matches;
    byId('close').addEventListener('click', () => this.close());
    byId('profile-select').addEventListener('change', (event) => {
      this.#profile = event.target.value;
      this.#showAddresses();
      this.play(this.#channel, this.#format.id);
    });
    byId('audio-select').addEventListener('change', (event) => this.#engine?.audio()[event.target.value]?.select());
    this.#video.addEventListener('volumechange', () => setHidden(byId('unmute'), !this.#video.muted || !this.#isStarted()));
  }

  #describe() {
    const channel = this.#channel;
    setHidden(byId('playing'), false);
    setText(byId('title'), channel.name);
    const tracks = (channel.tracks ?? []).map(trackText).join(' · ');
    setText(byId('subtitle'), tracks || STATES[channel.state].hint);
    document.title = `${channel.name} – millrace`;
    for (const [id, button] of this.#formatButtons) {
      button.setAttribute('aria-pressed', String(id === this.#format.id));
      button.disabled = formatOf(id).needsMse && !MediaSourceType;
      button.title = button.disabled ? 'Needs Media Source Extensions, which this browser lacks' : `Play ${channel.name} as ${formatOf(id).name}`;
    }
    const note = this.#note();
    setHidden(byId('note'), !note);
    setText(byId('note'), note ?? '');
    if (byId('addresses').dataset.channel !== channel.id) this.#showAddresses();
  }

  #note() {
    const { block, note } = this.#judge();
    if (block || note) return block ? null : note;
    const audio = (this.#channel.tracks ?? []).filter((track) => track.kind === 'audio').length;
    const isMuxed = this.#format.id === 'hls-ts' || this.#format.id === 'mpegts';
    if (audio > 1 && isMuxed) return `In ${this.#format.name} browsers play the first of ${audio} audio tracks. HLS fMP4 and DASH let you choose.`;
    return null;
  }

  #showAddresses() {
    const id = this.#channel.id;
    const rows = [
      ...FORMATS.map((format) => [format.name, addressOf(format, id, this.#profile)]),
      ['VLC', `vlc ${addressOf(formatOf('mpegts'), id, this.#profile)}`],
      ['M3U list', `${location.origin}/channels.m3u`],
    ];
    byId('addresses').dataset.channel = id;
    byId('addresses').replaceChildren(...rows.map(([name, text]) => addressRow(name, text)));
  }

  #isStarted() {
    return this.#tally?.startedMs != null;
  }

  // ---- figures

  #tick() {
    const tally = this.#tally;
    if (!tally || !this.#engine) return;
    const video = this.#video;
    const now = performance.now();
    const passed = now - tally.tickMs;
    const moved = video.currentTime !== tally.position;
    tally.tickMs = now;
    tally.position = video.currentTime;
    if (moved && !video.paused && !this.#isStarted() && video.readyState >= 2) this.#started(now);
    // A hidden tab's timers are slowed, and its picture may be stopped: nobody watches.
    if (document.hidden || video.paused || video.seeking || moved) {
      tally.stillMs = 0;
    } else {
      this.#stoodStill(passed);
    }
    if (this.#isStarted()) {
      this.#stage.dataset.state = video.paused ? 'ready-paused' : tally.stillMs > STALL_MS_MIN ? 'waiting' : 'playing';
      if (now - tally.startedMs > 10_000 && tally.stillMs === 0) this.#attempt = 0;
    }
    this.#measureRate(now);
    this.#showFigures();
    this.#showAudio();
  }

  #started(now) {
    this.#tally.startedMs = now;
    setHidden(byId('unmute'), !this.#video.muted);
  }

  #stoodStill(passedMs) {
    const tally = this.#tally;
    const before = tally.stillMs;
    tally.stillMs += passedMs;
    if (!this.#isStarted()) {
      // Cold channels take their time: the relay itself gives up after 7 s, and says so.
      if (tally.stillMs > 2 * STUCK_MS) this.#failed({ kind: 'network', text: 'Nothing came that could be played.' });
      return;
    }
    if (before < STALL_MS_MIN && tally.stillMs >= STALL_MS_MIN) tally.stalls += 1;
    if (tally.stillMs >= STALL_MS_MIN) tally.stalledMs += before < STALL_MS_MIN ? tally.stillMs : passedMs;
    if (tally.stillMs > STUCK_MS) this.#failed({ kind: 'network' });
  }

  #measureRate(now) {
    const { webkitVideoDecodedByteCount: video, webkitAudioDecodedByteCount: audio } = this.#video;
    if (video === undefined) return;
    const points = this.#tally.bytes;
    points.push({ now, bytes: video + (audio ?? 0) });
    while (points.length > 2 && now - points[1].now > RATE_MS) points.shift();
    const [first, last] = [points[0], points.at(-1)];
    this.#tally.bitsPerSecond = last.now - first.now < 1_000 ? 0 : ((last.bytes - first.bytes) * 8000) / (last.now - first.now);
  }

  #showFigures() {
    const show = (id, text) => setText(this.#values.get(id), text);
    if (!this.#isStarted()) {
      for (const [id] of FIGURES) show(id, '–');
      return;
    }
    const video = this.#video;
    const tally = this.#tally;
    const latency = this.#engine?.latency(this.clock());
    const quality = video.getVideoPlaybackQuality?.();
    show('latency', latency == null ? '–' : secondsText(Math.max(0, latency)));
    show('buffer', secondsText(bufferedAhead(video)));
    show('stalls', tally.stalls ? `${tally.stalls} · ${secondsText(tally.stalledMs / 1000)}` : 'none');
    show('picture', video.videoWidth ? `${video.videoWidth}×${video.videoHeight}` : 'sound only');
    show('frames', quality ? countText(quality.totalVideoFrames) : '–');
    show('dropped', quality ? countText(quality.droppedVideoFrames) : '–');
    show('start', secondsText((tally.startedMs - tally.begunMs) / 1000));
    show('bitrate', bitrateText(tally.bitsPerSecond));
  }

  #showAudio() {
    const tracks = this.#isStarted() ? this.#engine?.audio() ?? [] : [];
    const shown = JSON.stringify(tracks.map(({ label, selected }) => [label, selected]));
    if (shown === this.#audioShown) return;
    this.#audioShown = shown;
    setHidden(byId('audio'), tracks.length < 2);
    byId('audio-select').replaceChildren(...tracks.map(({ label, selected }, index) => el('option', { value: index, selected }, label)));
  }
}

const newTally = () => ({
  begunMs: performance.now(), tickMs: performance.now(), startedMs: null, position: 0, stillMs: 0, stalls: 0, stalledMs: 0, bytes: [], bitsPerSecond: 0,
});

/** Seconds from the playing position to the end of the range it lies in. */
function bufferedAhead(video) {
  const { buffered, currentTime } = video;
  for (let i = 0; i < buffered.length; i += 1) {
    if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i)) return buffered.end(i) - currentTime;
  }
  return 0;
}

/** The line in which the relay says why it refuses an address, or null when it serves it now. */
async function relaysReason(path) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), 9_000);
  try {
    const answer = await fetch(path, { signal: abort.signal, cache: 'no-store' });
    return answer.ok ? null : sentence((await answer.text()).trim().slice(0, 300));
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
    // A stream that is served has no end.
    abort.abort();
  }
}

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}` : '');

function addressRow(name, text) {
  const button = el('button', { type: 'button', class: 'copy', 'aria-label': `Copy ${name}` }, 'Copy');
  button.addEventListener('click', async () => {
    const copied = await copy(text);
    button.textContent = copied ? 'Copied' : 'Select it';
    button.classList.toggle('done', copied);
    setTimeout(() => {
      button.textContent = 'Copy';
      button.classList.remove('done');
    }, 1_500);
  });
  return el('li', {}, el('span', { class: 'address-name' }, name), el('code', { title: text }, text), button);
}
