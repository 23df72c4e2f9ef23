// The page: polls /web/channels.json, shows the list, plays what is chosen. The address `#channel/format` names what is played.

import { ChannelList } from './channels.js';
import { byId, setHidden, setText } from './dom.js';
import { Player } from './player.js';
import { formatOf } from './text.js';

const POLL_MS = 2_000;
/** Answers larger than this are asked for less often, bytes. */
const LARGE_BYTES = 300_000;
const LARGE_POLL_MS = 5_000;
const POLL_TIMEOUT_MS = 8_000;
const FORMAT_DEFAULT = 'hls-fmp4';
const FORMAT_KEY = 'millrace.format';

/** How far the relay's clock is ahead of ours, by the freshest of the last answers: one may have waited on its way, or in the relay. */
const clockOffsets = [];
const relayClock = () => Date.now() + (clockOffsets.length ? Math.max(...clockOffsets) : 0);

const list = new ChannelList({ onChoose: (channel) => choose(channel, player.formatId ?? rememberedFormat()) });
const player = new Player({
  clock: relayClock,
  onChange: (channel, format) => {
    list.select(channel?.id ?? null);
    remember(format.id);
    history.replaceState(null, '', channel ? `#${encodeURIComponent(channel.id)}/${format.id}` : location.pathname);
  },
});

function choose(channel, formatId) {
  if (!channel) return;
  player.play(channel, formatId);
  const stage = byId('stage');
  // On a phone the list is below the player.
  if (stage.getBoundingClientRect().top < 0) stage.scrollIntoView({ block: 'start', behavior: 'smooth' });
}

/** Storage may be forbidden; then the choice lasts as long as the page. */
function remember(formatId) {
  try {
    localStorage.setItem(FORMAT_KEY, formatId);
  } catch {}
}

function rememberedFormat() {
  try {
    return formatOf(localStorage.getItem(FORMAT_KEY))?.id ?? FORMAT_DEFAULT;
  } catch {
    return FORMAT_DEFAULT;
  }
}

/** Plays what the address names, once the channels are known. */
function followAddress() {
  let [id, formatId] = location.hash.slice(1).split('/');
  try {
    id = decodeURIComponent(id);
  } catch {
    return;
  }
  if (id && (id !== player.channelId || formatId !== player.formatId)) choose(list.find(id), formatOf(formatId)?.id ?? rememberedFormat());
}

let isFirst = true;
let timer = 0;

async function poll() {
  clearTimeout(timer);
  let waitMs = POLL_MS;
  try {
    const asked = Date.now();
    const answer = await fetch('/web/channels.json', { cache: 'no-store', signal: AbortSignal.timeout(POLL_TIMEOUT_MS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const text = await answer.text();
    show(JSON.parse(text), (asked + Date.now()) / 2);
    if (text.length > LARGE_BYTES) waitMs = LARGE_POLL_MS;
  } catch {
    setText(byId('banner'), 'The relay does not answer. Trying again.');
    setHidden(byId('banner'), false);
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(poll, waitMs);
}

function show(page, answeredMs) {
  clockOffsets.push(page.now_ms - answeredMs);
  if (clockOffsets.length > 10) clockOffsets.shift();
  setHidden(byId('banner'), true);
  list.update(page);
  player.offer(page);
  setText(byId('summary'), list.summary());
  const playing = player.channelId && list.find(player.channelId);
  if (playing) player.update(playing);
  if (isFirst) {
    isFirst = false;
    followAddress();
  }
}

// Nobody looks at a hidden tab.
document.addEventListener('visibilitychange', () => (document.hidden ? clearTimeout(timer) : poll()));
window.addEventListener('hashchange', followAddress);
poll();
