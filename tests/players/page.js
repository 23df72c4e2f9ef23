// Runs inside the page: starts one player on the video element and counts what a viewer would notice.

const PLAYERS = {
  native: (video, url) => {
    video.src = url;
    return { play: () => video.play(), latency: () => null };
  },

  hlsjs: (video, url, seen) => {
    const hls = new Hls({ lowLatencyMode: false });
    hls.on(Hls.Events.ERROR, (_, data) => {
      const text = [data.type, data.details, data.error && data.error.message].filter(Boolean).join(' ');
      (data.fatal ? seen.fatal : seen.errors).push(text);
    });
    const parsed = new Promise((resolve) => hls.on(Hls.Events.MANIFEST_PARSED, resolve));
    hls.loadSource(url);
    hls.attachMedia(video);
    return { play: () => parsed.then(() => video.play()), latency: () => hls.latency };
  },

  mpegtsjs: (video, url, seen) => {
    const player = mpegts.createPlayer({ type: 'mpegts', isLive: true, url }, { liveBufferLatencyChasing: false });
    player.on(mpegts.Events.ERROR, (type, details) => seen.fatal.push(`${type} ${details}`));
    player.attachMediaElement(video);
    player.load();
    const buffered = () => (video.buffered.length ? video.buffered.end(video.buffered.length - 1) : video.currentTime);
    return { play: () => video.play(), latency: () => buffered() - video.currentTime };
  },
};

// A rebuffer: the player waits for data for at least this long, milliseconds. Shorter waits are counted as `waits`: a player that begins
// on the first segment of a channel gets each further one just as its buffer runs dry, and a wait of a few pictures is not noticed.
const REBUFFER_MS = 250;
// A freeze: the clock of the video stands still for longer than this, milliseconds.
const FREEZE_MS = 500;

window.startPlayer = (name, url) => {
  const video = document.querySelector('video');
  const seen = { startedMs: null, waits: 0, rebuffers: 0, freezes: 0, seeks: 0, backwardFrames: 0, errors: [], fatal: [] };
  const begin = performance.now();
  const afterStart = (count) => () => seen.startedMs !== null && count();
  video.addEventListener('playing', () => { seen.startedMs ??= performance.now() - begin; });
  watchWaits(video, seen);
  video.addEventListener('seeking', afterStart(() => { seen.seeks += 1; }));
  video.addEventListener('error', () => seen.fatal.push(`video error ${video.error.code} ${video.error.message}`));
  watchFrames(video, seen);
  watchClock(video, seen);
  const player = PLAYERS[name](video, url, seen);
  player.play().catch((error) => seen.errors.push(`play() ${error.message}`));
  window.figures = () => ({ ...seen, ...videoFigures(video), latency: player.latency() });
};

const watchWaits = (video, seen) => {
  let [position, counted, check] = [0, false, null];
  video.addEventListener('waiting', () => {
    if (seen.startedMs === null) return;
    seen.waits += 1;
    [position, counted] = [video.currentTime, false];
    clearTimeout(check);
    check = setTimeout(() => {
      if (!counted && video.currentTime === position) seen.rebuffers += 1;
      counted = true;
    }, REBUFFER_MS);
  });
};

const watchFrames = (video, seen) => {
  let last = -Infinity;
  const frame = (_, { mediaTime }) => {
    if (mediaTime < last) seen.backwardFrames += 1;
    last = mediaTime;
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
};

const watchClock = (video, seen) => {
  let [position, since, frozen] = [0, performance.now(), false];
  setInterval(() => {
    const now = performance.now();
    if (video.currentTime !== position) {
      [position, since, frozen] = [video.currentTime, now, false];
    } else if (seen.startedMs !== null && !frozen && now - since > FREEZE_MS) {
      frozen = true;
      seen.freezes += 1;
    }
  }, 50);
};

const videoFigures = (video) => {
  const quality = video.getVideoPlaybackQuality();
  return {
    wallMs: performance.now(),
    position: video.currentTime,
    decodedFrames: quality.totalVideoFrames,
    droppedFrames: quality.droppedVideoFrames,
    audioBytes: video.webkitAudioDecodedByteCount,
    width: video.videoWidth,
    height: video.videoHeight,
  };
};
