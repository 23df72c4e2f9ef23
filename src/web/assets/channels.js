// The list of channels: a page of cards, a filter, and what each card shows of the last two minutes.

import { byId, el, setHidden, setText, svg } from './dom.js';
import { FORMATS, STATES, ageText, bitrateText, codecName, countOf, countText, madeText, sum, trackText } from './text.js';

/** Cards on one page: a thousand channels stay as quick as twenty. */
const PAGE_CARDS = 24;
/** Below this many there is nothing to look for. */
const TOOLS_MIN = 8;
/** Points of a sparkline, one a poll. */
const HISTORY = 60;
/** A young channel's line is drawn as if it had this many, so that it soon fills its space. */
const HISTORY_SHOWN_MIN = 15;
const [SPARK_WIDTH, SPARK_HEIGHT] = [120, 28];

const SHOW = [
  { id: 'all', name: 'All', has: () => true },
  { id: 'on', name: 'On air', has: (channel) => channel.state !== 'idle' },
  { id: 'trouble', name: 'Trouble', has: (channel) => channel.state === 'stalled' || channel.state === 'failed' },
];

/** Rates of each running channel, from the bytes its origin has sent: they need no format to be in use. */
class Rates {
  #channels = new Map();

  take(channels, nowMs) {
    const running = channels.filter((channel) => channel.origin);
    const next = new Map();
    for (const { id, origin } of running) {
      const entry = this.#channels.get(id) ?? { history: [] };
      const seconds = (nowMs - entry.nowMs) / 1000;
      // The relay answers from its memory when asked twice in a second; and it may have been restarted.
      if (seconds > 0.5 && origin.bytes >= entry.bytes) {
        entry.history.push(((origin.bytes - entry.bytes) * 8) / seconds);
        if (entry.history.length > HISTORY) entry.history.shift();
      }
      if (entry.nowMs === undefined || seconds > 0.5 || seconds < 0) Object.assign(entry, { nowMs, bytes: origin.bytes });
      next.set(id, entry);
    }
    this.#channels = next;
  }

  history(id) {
    return this.#channels.get(id)?.history ?? [];
  }

  /** Bits per second: the mean of the last few polls, as origins send in bursts; or what the relay says while there is none. */
  of(channel) {
    const last = this.history(channel.id).slice(-3);
    return last.length ? sum(last) / last.length : channel.bitrate_bps ?? 0;
  }
}

export class ChannelList {
  #channels = [];
  #total = 0;
  #matching = [];
  #page = 0;
  #show = SHOW[0];
  #cards = new Map();
  #rates = new Rates();
  #chips = new Map();
  #selectedId = null;

  /** `onChoose(channel)`: a card was clicked. */
  constructor({ onChoose }) {
    this.onChoose = onChoose;
    byId('filter').addEventListener('input', () => this.#turnTo(0));
    for (const show of SHOW) {
      const chip = el('button', { type: 'button', 'data-show': show.id, 'aria-pressed': 'false' });
      chip.addEventListener('click', () => {
        this.#show = show;
        this.#turnTo(0);
      });
      this.#chips.set(show.id, chip);
      byId('chips').append(chip);
    }
  }

  find(id) {
    return this.#channels.find((channel) => channel.id === id) ?? null;
  }

  /** Takes an answer of channels.json. */
  update({ channels, total, now_ms: nowMs }) {
    this.#channels = channels;
    this.#total = total;
    this.#rates.take(channels, nowMs);
    this.#render();
  }

  select(id) {
    this.#selectedId = id;
    for (const [cardId, card] of this.#cards) card.select(cardId === id);
  }

  /** "3 channels · 1 on air · 2 viewers · 1.1 Mb/s in" */
  summary() {
    const running = this.#channels.filter(SHOW[1].has);
    const parts = [countOf(this.#total, 'channel'), `${countText(running.length)} on air`];
    if (running.length) {
      parts.push(countOf(sum(running.map(viewersOf)), 'viewer'));
      const rate = sum(running.map((channel) => this.#rates.of(channel)));
      if (rate > 0) parts.push(`${bitrateText(rate)} in`);
    }
    return parts.join(' · ');
  }

  #turnTo(page) {
    this.#page = page;
    this.#render();
  }

  #render() {
    const words = byId('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.#channels.filter((channel) => matches(channel, words));
    this.#matching = found.filter(this.#show.has);
    const pages = Math.max(1, Math.ceil(this.#matching.length / PAGE_CARDS));
    this.#page = Math.min(this.#page, pages - 1);
    const start = this.#page * PAGE_CARDS;
    this.#renderCards(this.#matching.slice(start, start + PAGE_CARDS));
    this.#renderTools(found);
    this.#renderPager(start, pages);
  }

  #renderCards(channels) {
    const cards = new Map();
    for (const channel of channels) {
      const card = this.#cards.get(channel.id) ?? new Card(() => this.onChoose(this.find(channel.id)));
      card.update(channel, this.#rates.of(channel), this.#rates.history(channel.id));
      card.select(channel.id === this.#selectedId);
      cards.set(channel.id, card);
    }
    const before = [...this.#cards.keys()].join('\n');
    this.#cards = cards;
    // Moving nodes takes the focus off them, so they stay where nothing changed.
    if (before !== [...cards.keys()].join('\n')) byId('cards').replaceChildren(...[...cards.values()].map((card) => card.node));
  }

  #renderTools(found) {
    setHidden(byId('tools'), this.#channels.length < TOOLS_MIN);
    for (const show of SHOW) {
      const chip = this.#chips.get(show.id);
      setText(chip, `${show.name} ${countText(found.filter(show.has).length)}`);
      chip.setAttribute('aria-pressed', String(show === this.#show));
    }
    setHidden(byId('empty'), this.#matching.length > 0);
    setText(byId('empty'), this.#channels.length ? 'No channel matches.' : 'No channel is configured yet: add a [[channel]] or [[m3u]] to the config.');
  }

  #renderPager(start, pages) {
    const pager = byId('pager');
    setHidden(pager, pages === 1 && this.#total === this.#channels.length);
    if (pager.hidden) return;
    if (!pager.firstChild) {
      const turn = (by) => () => {
        this.#turnTo(this.#page + by);
        byId('cards').scrollIntoView({ block: 'nearest' });
      };
      const button = (label, by) => {
        const node = el('button', { type: 'button', class: 'button' }, label);
        node.addEventListener('click', turn(by));
        return node;
      };
      pager.append(button('Back', -1), el('span', {}), button('Next', 1));
    }
    const [back, text, next] = pager.children;
    back.disabled = this.#page === 0;
    next.disabled = this.#page === pages - 1;
    const end = Math.min(start + PAGE_CARDS, this.#matching.length);
    const more = this.#total > this.#channels.length ? `; channels.m3u has all ${countText(this.#total)}` : '';
    setText(text, this.#matching.length ? `${countText(start + 1)}–${countText(end)} of ${countText(this.#matching.length)}${more}` : '');
  }
}

const viewersOf = (channel) => sum(Object.values(channel.viewers ?? {}));

function matches(channel, words) {
  if (!words.length) return true;
  const text = [channel.name, channel.id, channel.group, channel.state, ...(channel.tracks ?? []).map((t) => `${codecName(t.codec)} ${t.language ?? ''} ${t.detail}`)];
  const haystack = text.filter(Boolean).join(' ').toLowerCase();
  return words.every((word) => haystack.includes(word));
}

/** One channel. Its parts are made once, and written to when they change. */
class Card {
  constructor(onClick) {
    this.monogram = el('span', { class: 'monogram', 'aria-hidden': 'true' });
    this.name = el('span', { class: 'name' });
    this.group = el('span', { class: 'group' });
    this.state = el('span', { class: 'state' });
    this.media = el('span', { class: 'media' });
    this.line = svg('path', { class: 'spark-line' });
    this.area = svg('path', { class: 'spark-area' });
    this.spark = svg('svg', { class: 'spark', viewBox: `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, this.area, this.line);
    this.rate = el('span', { class: 'rate', title: 'What comes from the origin, over two minutes' });
    this.viewers = el('span', { class: 'viewers' });
    this.health = el('span', { class: 'health' });
    this.details = el('span', { class: 'details' },
      this.media,
      el('span', { class: 'flow' }, this.spark, this.rate),
      el('span', { class: 'facts' }, this.viewers, this.health));
    this.node = el('button', { type: 'button', class: 'card' },
      el('span', { class: 'card-head' }, this.monogram, el('span', { class: 'names' }, this.name, this.group), this.state),
      this.details);
    this.node.addEventListener('click', onClick);
  }

  select(selected) {
    this.node.setAttribute('aria-pressed', String(selected));
  }

  update(channel, rate, history) {
    const { name, hint } = STATES[channel.state];
    this.node.dataset.channel = channel.id;
    this.node.dataset.state = channel.state;
    setText(this.name, channel.name);
    this.name.title = channel.name;
    setText(this.monogram, initials(channel.name));
    this.monogram.style.setProperty('--hue', hue(channel.id));
    const age = channel.state === 'live' || channel.state === 'stalled' ? `up ${ageText(channel.up_s)}` : null;
    setText(this.group, [channel.group, age].filter(Boolean).join(' · '));
    setHidden(this.group, !channel.group && !age);
    setText(this.state, name);
    this.state.title = hint;
    setHidden(this.details, channel.state === 'idle');
    if (channel.state === 'idle') return;
    const tracks = (channel.tracks ?? []).map(trackText).join(' · ');
    const made = (channel.made ?? []).map(madeText).join(', ');
    const media = made ? `${tracks} · made: ${made}` : tracks;
    setText(this.media, channel.reason ? sentenceCase(channel.reason) : media || hint);
    setText(this.rate, bitrateText(rate));
    drawSpark(this.line, this.area, history);
    this.#updateFacts(channel);
  }

  #updateFacts(channel) {
    const viewers = channel.viewers ?? {};
    const by = FORMATS.filter((format) => viewers[format.id] > 0).map((format) => `${format.name} ${countText(viewers[format.id])}`.replaceAll(' ', '\u00a0'));
    setText(this.viewers, by.length ? `${countOf(viewersOf(channel), 'viewer')}: ${by.join(', ')}` : 'No viewer');
    const { up = false, continuity_errors: errors = 0, connections = 0 } = channel.origin ?? {};
    const origin = up ? 'up' : channel.state === 'starting' ? 'being reached' : 'down';
    setText(this.health, `Origin ${origin} · ${countOf(errors, 'continuity error')}`);
    this.health.dataset.health = up ? (errors ? 'fair' : 'good') : channel.state === 'starting' ? 'open' : 'bad';
    this.health.title = `${countOf(connections, 'connection')} to the origin since the relay began; ${countOf(channel.origin?.samples_dropped ?? 0, 'sample')} dropped`;
  }
}

const sentenceCase = (text) => text[0].toUpperCase() + text.slice(1);

/** The first letters of up to two words, digits included: "News 24" is N2. */
function initials(name) {
  const words = name.match(/[\p{L}\p{N}]+/gu) ?? ['?'];
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join('');
}

/** A colour that stays with the channel. */
function hue(id) {
  let hash = 0;
  for (const char of id) hash = (Math.imul(hash, 31) + char.codePointAt(0)) | 0;
  // Neighbours, demo-1 and demo-2, differ most: 137.5 degrees is the golden angle.
  return String(Math.round(((hash >>> 0) * 137.508) % 360));
}

/** Draws from the right, so that a channel that has just begun grows into its space. */
function drawSpark(line, area, history) {
  if (history.length < 2) {
    line.setAttribute('d', '');
    area.setAttribute('d', '');
    return;
  }
  const top = Math.max(...history, 1) * 1.1;
  const shown = Math.max(history.length, HISTORY_SHOWN_MIN);
  const points = history.map((rate, i) => {
    const x = SPARK_WIDTH - ((history.length - 1 - i) * SPARK_WIDTH) / (shown - 1);
    return `${x.toFixed(1)} ${(SPARK_HEIGHT - 1 - (rate / top) * (SPARK_HEIGHT - 3)).toFixed(1)}`;
  });
  const path = `M${points.join('L')}`;
  line.setAttribute('d', path);
  area.setAttribute('d', `${path}V${SPARK_HEIGHT}H${points[0].split(' ')[0]}Z`);
}
