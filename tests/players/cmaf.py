"""CMAF segments, read box by box (ISO/IEC 14496-12): an oracle that knows nothing of the relay's own code.

Reads what a player needs of an init segment and of a media segment, and holds all listed segments of a multivariant playlist against the
rules of HLS-fMP4: each starts with a sync sample, times go on from one to the next without a gap, audio and video of a number start together.
"""

import re
import struct
import subprocess
import time as clock
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from xml.etree import ElementTree

from clients import Verdict


class Malformed(ValueError):
    """Bytes that are no CMAF."""


@dataclass
class Track:
    """What an init segment says."""

    handler: str
    timescale: int
    codec: str
    edit_list: bool


@dataclass
class Chunk:
    """One moof with its mdat. Times are in the track's timescale."""

    decode_time: int
    durations: list = field(default_factory=list)
    offsets: list = field(default_factory=list)
    first_is_sync: bool = True

    def presentation_begin(self):
        times, at = [], self.decode_time
        for duration, offset in zip(self.durations, self.offsets):
            times.append(at + offset)
            at += duration
        return min(times)

    def decode_end(self):
        return self.decode_time + sum(self.durations)


# ---- boxes


def boxes(data, begin=0, end=None):
    """(type, first byte of the payload, end) of each box."""
    end = len(data) if end is None else end
    while begin < end:
        if end - begin < 8:
            raise Malformed(f"{end - begin} stray bytes at {begin}")
        size, name = struct.unpack_from(">I4s", data, begin)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, begin + 8), 16
        if size < head or begin + size > end:
            raise Malformed(f"box {name!r} at {begin} says {size} bytes, {end - begin} are there")
        yield name.decode("latin-1"), begin + head, begin + size
        begin += size


def find(data, path, begin=0, end=None):
    """The payload's (begin, end) of the first box at a path of types, or None."""
    first, _, rest = path.partition("/")
    for name, at, to in boxes(data, begin, end):
        if name == first:
            return find(data, rest, at, to) if rest else (at, to)
    return None


def track(init):
    """The one track of an init segment."""
    media = find(init, "moov/trak/mdia")
    if media is None or find(init, "moov/mvex/trex") is None:
        raise Malformed("no moov with a trak and a trex")
    header, _ = find(init, "mdhd", *media)
    handler, _ = find(init, "hdlr", *media)
    entries, _ = find(init, "minf/stbl/stsd", *media)
    # mdhd: version and flags, then two times of 64 bits in version 1 and 32 in version 0, then the timescale.
    (timescale,) = struct.unpack_from(">I", init, header + (20 if init[header] == 1 else 12))
    # hdlr: version and flags, pre_defined, handler_type. stsd: version and flags, entry_count, then a box whose type is the codec.
    return Track(
        handler=init[handler + 8 : handler + 12].decode("latin-1"),
        timescale=timescale,
        codec=init[entries + 12 : entries + 16].decode("latin-1"),
        edit_list=find(init, "moov/trak/edts") is not None,
    )


def chunks(segment):
    """Every chunk of a media segment."""
    found = []
    for name, at, to in boxes(segment):
        if name == "moof":
            found.append(chunk(segment, *find(segment, "traf", at, to)))
    if not found:
        raise Malformed("no moof")
    return found


def chunk(data, begin, end):
    defaults, result = {}, None
    for name, at, to in boxes(data, begin, end):
        version, flags = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        if name == "tfhd":
            defaults = track_defaults(data, at + 8, flags)
        elif name == "tfdt":
            result = Chunk(struct.unpack_from(">Q" if version == 1 else ">I", data, at + 4)[0])
        elif name == "trun":
            add_run(result, data, at + 4, version, flags, defaults)
    if result is None or not result.durations:
        raise Malformed("a traf without tfdt or samples")
    return result


def track_defaults(data, at, flags):
    """tfhd's optional fields after the track_ID, in their order (8.8.7)."""
    defaults = {}
    for bit, name, size in ((1, "base", 8), (2, "description", 4), (8, "duration", 4), (16, "size", 4), (32, "flags", 4)):
        if flags & bit:
            defaults[name] = int.from_bytes(data[at : at + size], "big")
            at += size
    return defaults


def add_run(result, data, at, version, flags, defaults):
    """trun (8.8.8): sample_count, data_offset, first_sample_flags, then per sample what the flags say."""
    (count,) = struct.unpack_from(">I", data, at)
    at += 8 if flags & 0x1 else 4
    first_flags = None
    if flags & 0x4:
        (first_flags,) = struct.unpack_from(">I", data, at)
        at += 4
    for _ in range(count):
        sample = {"duration": defaults.get("duration", 0), "flags": defaults.get("flags", 0), "offset": 0}
        for bit, name in ((0x100, "duration"), (0x200, "size"), (0x400, "flags"), (0x800, "offset")):
            if flags & bit:
                signed = name == "offset" and version == 1
                sample[name] = int.from_bytes(data[at : at + 4], "big", signed=signed)
                at += 4
        if not result.durations:
            # sample_is_non_sync_sample.
            result.first_is_sync = not (sample["flags"] if first_flags is None else first_flags) & 0x10000
        result.durations.append(sample["duration"])
        result.offsets.append(sample["offset"])


# ---- playlists


@dataclass
class Segment:
    """A line of a media playlist, and what is at its address."""

    number: int
    url: str
    listed_seconds: float
    discontinuity: bool
    chunks: list = field(default_factory=list)
    data: bytes = b""


@dataclass
class Rendition:
    """One media playlist with its segments fetched."""

    name: str
    url: str
    init: bytes
    track: Track
    segments: list

    def at(self, time):
        return time / self.track.timescale


def attributes(line):
    """The attribute list of an HLS tag, quotes taken off."""
    return {name: value.strip('"') for name, value in re.findall(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)', line.split(":", 1)[1])}


def media_playlists(text, base):
    """(name, URL) of every media playlist that a multivariant playlist names."""
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""]):
        if line.startswith("#EXT-X-MEDIA:") and "URI" in (found := attributes(line)):
            yield f"{found['TYPE'].lower()} {found['NAME']}", urllib.parse.urljoin(base, found["URI"])
        elif line.startswith("#EXT-X-STREAM-INF:"):
            yield "variant", urllib.parse.urljoin(base, following)


def rendition(name, url, fetch):
    """A media playlist, its init segment and all its segments."""
    text = fetch(url).decode()
    init = fetch(urllib.parse.urljoin(url, attributes(re.search(r"^#EXT-X-MAP:.*$", text, re.M)[0])["URI"]))
    number = int(re.search(r"^#EXT-X-MEDIA-SEQUENCE:(\d+)", text, re.M)[1])
    segments, seconds, discontinuity = [], 0.0, False
    for line in text.splitlines():
        if line.startswith("#EXTINF:"):
            seconds = float(line[8:].split(",")[0])
        elif line == "#EXT-X-DISCONTINUITY":
            discontinuity = True
        elif line and not line.startswith("#"):
            address = urllib.parse.urljoin(url, line)
            segments.append(Segment(number, address, seconds, discontinuity, data=fetch(address)))
            segments[-1].chunks = chunks(segments[-1].data)
            number, discontinuity = number + 1, False
    return Rendition(name, url, init, track(init), segments)


# ---- rules


def check(url, fetch, folder):
    """(name, verdict) for each rule over all segments that the multivariant playlist at `url` leads to now."""
    try:
        text = fetch(url).decode()
        # A variant's URI may be that of an audio rendition too: each playlist once.
        named = {address: name for name, address in media_playlists(text, url)}
        found = [rendition(name, address, fetch) for address, name in named.items()]
    except (Malformed, OSError, TypeError, ValueError) as error:
        yield "CMAF segments parse", Verdict(reasons=[f"{type(error).__name__}: {error}"])
        return
    count = {"playlists": len(found), "segments": sum(len(one.segments) for one in found)}
    count["chunks"] = sum(len(segment.chunks) for one in found for segment in one.segments)
    yield "CMAF segments parse", Verdict(count, reasons=[] if count["segments"] else ["no segment is listed"])
    yield "CMAF segments follow each other", continuity(found)
    yield "CMAF audio and video start together", alignment(found)
    yield "CMAF segments play each on its own", alone(found, folder)


def continuity(found):
    """Each chunk begins at the end of the one before; EXTINF is what the segment holds; it opens with a sync sample; no edit lists."""
    verdict = Verdict()
    for one in found:
        verdict.require(not one.track.edit_list, f"{one.name}: the init segment has an edit list")
        end = None
        for segment in one.segments:
            label = f"{one.name} {segment.number}"
            verdict.require(segment.chunks[0].first_is_sync, f"{label}: the first sample is no sync sample")
            for piece in segment.chunks:
                gap = None if end is None or segment.discontinuity else piece.decode_time - end
                verdict.require(not gap, f"{label}: a gap of {gap} / {one.track.timescale} s")
                end = piece.decode_end()
            held = one.at(end - segment.chunks[0].decode_time)
            # Microseconds as the playlist rounds; a video segment may be a frame off where pictures are reordered over the cut.
            verdict.require(abs(held - segment.listed_seconds) < 0.045, f"{label}: EXTINF {segment.listed_seconds}, held {held:.5f}")
    return verdict


def alignment(found):
    """Audio and video of the same number begin within one audio frame and one video frame of each other."""
    video = next((one for one in found if one.track.handler == "vide"), None)
    verdict, worst = Verdict(), 0.0
    if video is None:
        return Verdict(skipped="there is no video")
    begins = {s.number: (video.at(s.chunks[0].presentation_begin()), video.at(s.chunks[0].durations[0])) for s in video.segments}
    compared = 0
    for one in (one for one in found if one.track.handler == "soun"):
        for segment in one.segments:
            if segment.number not in begins:
                continue
            begin, frame = begins[segment.number]
            apart = abs(one.at(segment.chunks[0].presentation_begin()) - begin)
            bound = frame + one.at(max(segment.chunks[0].durations))
            worst, compared = max(worst, apart), compared + 1
            verdict.require(apart <= bound, f"{one.name} {segment.number}: {apart * 1000:.1f} ms apart, over {bound * 1000:.1f} ms")
    verdict.figures = {"compared": compared, "worst": f"{worst * 1000:.1f}ms"}
    verdict.require(compared, "no number is in an audio and a video playlist")
    return verdict


def alone(found, folder):
    """ffprobe reads each segment behind its init segment alone: as many packets as the trun says, the first one a key."""
    verdict, packets = Verdict(), 0
    for one in found:
        for segment in one.segments:
            file = folder / "alone.mp4"
            file.write_bytes(one.init + segment.data)
            command = ["ffprobe", "-v", "error", "-show_entries", "packet=flags", "-of", "csv=p=0", str(file)]
            try:
                probe = subprocess.run(command, capture_output=True, text=True, timeout=30)
            except FileNotFoundError:
                return Verdict(skipped="ffprobe is not installed")
            flags = probe.stdout.split()
            wanted = sum(len(piece.durations) for piece in segment.chunks)
            label = f"{one.name} {segment.number}"
            verdict.require(not probe.stderr, f"{label}: {probe.stderr.strip()[:200]}")
            verdict.require(len(flags) == wanted, f"{label}: {len(flags)} packets in place of {wanted}")
            verdict.require(flags and flags[0].startswith("K"), f"{label}: the first packet is no key")
            packets += len(flags)
    verdict.figures = {"packets": packets}
    return verdict


# ---- DASH

MPD = "{urn:mpeg:dash:schema:mpd:2011}"


def listed_in_mpd(text, base):
    """(Representation's id, init URL, timescale, [(time, duration, URL)]) of each Representation with a SegmentTimeline."""
    for period in ElementTree.fromstring(text).iter(f"{MPD}Period"):
        for adaptation in period.iter(f"{MPD}AdaptationSet"):
            for representation in adaptation.iter(f"{MPD}Representation"):
                template = representation.find(f"{MPD}SegmentTemplate")
                template = adaptation.find(f"{MPD}SegmentTemplate") if template is None else template
                name = representation.get("id")
                init = template.get("initialization").replace("$RepresentationID$", name)
                segments, number = [], int(template.get("startNumber", "1"))
                for time, duration in timeline(template):
                    address = template.get("media").replace("$RepresentationID$", name)
                    address = address.replace("$Time$", str(time)).replace("$Number$", str(number))
                    segments.append((time, duration, urllib.parse.urljoin(base, address)))
                    number += 1
                yield name, urllib.parse.urljoin(base, init), int(template.get("timescale", "1")), segments


def timeline(template):
    """(time, duration) of every segment of a SegmentTimeline."""
    time = 0
    for entry in template.iter(f"{MPD}S"):
        time, duration = int(entry.get("t", time)), int(entry.get("d"))
        for _ in range(int(entry.get("r", "0")) + 1):
            yield time, duration
            time += duration


def check_mpd(text, url, fetch):
    """Every segment that the MPD lists is served, and begins and lasts as it says; what it does not list yet or any more is refused."""
    verdict, count = Verdict(), 0
    for name, init_url, timescale, segments in listed_in_mpd(text, url):
        described = track(fetch(init_url))
        verdict.require(described.timescale == timescale, f"{name}: timescale {timescale}, in the init segment {described.timescale}")
        # The oldest may leave the window while this runs; a player that is late loses it as well.
        for time, duration, address in segments[1:]:
            pieces = chunks(fetch(address))
            begin = pieces[0].presentation_begin()
            verdict.require(begin == time, f"{address}: begins at {begin}, listed at {time}")
            held = pieces[-1].decode_end() - pieces[0].decode_time
            verdict.require(abs(held - duration) < 0.045 * timescale, f"{address}: lasts {held}, listed as {duration}")
            count += 1
        time, duration, address = segments[-1]
        for far in (-10_000, 10_000):
            wrong = address.replace(str(time), str(time + far * duration))
            if wrong != address:
                verdict.reasons += refused(wrong)
    verdict.figures = {"segments": count}
    verdict.require(count, "no segment is listed")
    return verdict


def refused(url):
    """Nothing when the answer is a quick 404, else why not."""
    begin = clock.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return [f"{url}: {answer.status} for a segment far from the window"]
    except urllib.error.HTTPError as error:
        took = clock.monotonic() - begin
        return [] if error.code == 404 and took < 1 else [f"{url}: {error.code} after {took:.1f} s"]
