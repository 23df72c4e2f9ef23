#!/usr/bin/env python3
"""mpd.py [--xsd DASH-MPD.xsd] FILE...: holds live MPDs against the schema's rules, the PyPI module mpegdash, and rules of ours.

One line `FILE: complaint` each; exits 1 when there is one. The schema of ISO/IEC 23009-1 may not be passed on, so GRAMMAR below says the
part of it that the relay writes; --xsd (or MILLRACE_DASH_XSD) names a copy of the whole one, which is then used as well (through xmlschema).
"""

import argparse
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from fractions import Fraction

from mpegdash.parser import MPEGDASHParser

NAMESPACE = "{urn:mpeg:dash:schema:mpd:2011}"
# Seconds that two tracks' cuts may lie apart: a frame of HE-AAC at 22.05 kHz and a picture at 25 Hz.
APART_MAX = Fraction(135, 1000)
# Seconds that the newest segment may end after publishTime: the output timeline follows the wall clock no closer.
AHEAD_MAX = 1

# Lexical forms (XML Schema part 2; ISO/IEC 23009-1 Annex B).
UNSIGNED = r"\d+"
POSITIVE = r"[1-9]\d*"
DURATION = r"PT\d+(\.\d+)?S"
DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
RATIO = r"[1-9]\d*:[1-9]\d*"
FRAME_RATE = r"[1-9]\d*(/[1-9]\d*)?"
LANGUAGE = r"[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*"
NAME = r"[^\s]+"
URI = r"[^\s\"<>\\^`{|}]+"
DESCRIPTOR = ({"schemeIdUri!": r"(urn|tag):\S+", "value": r".+"}, [])
# Element: (attributes, `!` marks one that must be there; children in order, `!` one at least, `*` any number).
GRAMMAR = {
    "MPD": ({"profiles!": r"\S+", "type!": "dynamic", "availabilityStartTime!": "1970-01-01T00:00:00Z", "publishTime!": DATE,
             "minimumUpdatePeriod!": DURATION, "minBufferTime!": DURATION, "timeShiftBufferDepth!": DURATION,
             "suggestedPresentationDelay!": DURATION, "maxSegmentDuration!": DURATION}, ["Period!*", "UTCTiming!"]),
    "Period": ({"id!": NAME, "start!": DURATION}, ["AdaptationSet!*"]),
    "AdaptationSet": ({"id!": UNSIGNED, "contentType!": "video|audio", "lang": LANGUAGE, "mimeType!": "(video|audio)/mp4",
                       "segmentAlignment!": "true", "startWithSAP": "[1-6]", "par": RATIO, "maxWidth": POSITIVE,
                       "maxHeight": POSITIVE, "maxFrameRate": FRAME_RATE},
                      ["Label*", "Accessibility*", "Role*", "Representation!*"]),
    "Representation": ({"id!": NAME, "bandwidth!": POSITIVE, "width": POSITIVE, "height": POSITIVE, "sar": RATIO,
                        "frameRate": FRAME_RATE, "audioSamplingRate": POSITIVE, "codecs!": r"[A-Za-z0-9.\-]+"},
                       ["AudioChannelConfiguration*", "SegmentTemplate!"]),
    "SegmentTemplate": ({"timescale!": POSITIVE, "presentationTimeOffset!": UNSIGNED, "initialization!": URI, "media!": URI},
                        ["SegmentTimeline!"]),
    "SegmentTimeline": ({}, ["S!*"]),
    "S": ({"t": UNSIGNED, "d!": POSITIVE, "r": POSITIVE}, []),
    "Label": ({"lang": LANGUAGE}, []),
    "Accessibility": DESCRIPTOR, "Role": DESCRIPTOR, "AudioChannelConfiguration": DESCRIPTOR, "UTCTiming": DESCRIPTOR,
}


def children(element, name):
    return element.findall(NAMESPACE + name)


def check_grammar(element, complain):
    """Names, attributes and their forms, order and number of children: what a schema says."""
    name = element.tag.removeprefix(NAMESPACE)
    if name not in GRAMMAR:
        complain(f"{name} is no element of ours")
        return
    attributes, sequence = GRAMMAR[name]
    forms = {attribute.rstrip("!"): form for attribute, form in attributes.items()}
    for attribute in attributes:
        if attribute.endswith("!") and attribute[:-1] not in element.attrib:
            complain(f"{name} lacks @{attribute[:-1]}")
    for attribute, value in element.attrib.items():
        if attribute not in forms:
            complain(f"{name}@{attribute} is no attribute of ours")
        elif not re.fullmatch(forms[attribute], value):
            complain(f"{name}@{attribute} is {value!r}")
    order = [child.rstrip("!*") for child in sequence]
    names = [child.tag.removeprefix(NAMESPACE) for child in element]
    places = [order.index(child) if child in order else -1 for child in names]
    if places != sorted(places) or -1 in places:
        complain(f"{name} has the children {', '.join(dict.fromkeys(names))}, which is not the schema's order")
    for child, plain in zip(sequence, order):
        if "!" in child and plain not in names:
            complain(f"{name} has no {plain}")
        if "*" not in child and names.count(plain) > 1:
            complain(f"{name} has {names.count(plain)} {plain}")
    for child in element:
        check_grammar(child, complain)


def seconds(duration):
    return Fraction(duration[2:-1])


def unix_seconds(date):
    from datetime import datetime
    return Fraction(datetime.fromisoformat(date.replace("Z", "+00:00")).timestamp())


class Timeline:
    """A Representation's segments, in seconds since 1970 as a player places them."""

    def __init__(self, period_start, representation, complain):
        template = children(representation, "SegmentTemplate")[0]
        self.name = representation.get("id")
        scale, offset = int(template.get("timescale")), int(template.get("presentationTimeOffset"))
        self.starts, self.durations, position = [], [], None
        for entry in children(children(template, "SegmentTimeline")[0], "S"):
            time = int(entry.get("t", -1 if position is None else position))
            if time < 0:
                complain(f"{self.name}: the first S has no @t")
                time = offset
            if position is not None and time < position:
                complain(f"{self.name}: the segment at {time} begins before {position}, where the one before it ends")
            duration = int(entry.get("d"))
            for _ in range(int(entry.get("r", 0)) + 1):
                self.starts.append(period_start + Fraction(time - offset, scale))
                self.durations.append(Fraction(duration, scale))
                time += duration
            position = time
        self.end = self.starts[-1] + self.durations[-1]
        # Presentation time is unix time; the start is written to a microsecond.
        if abs(Fraction(offset, scale) - period_start) > Fraction(1, scale) + Fraction(1, 1_000_000):
            complain(f"{self.name}: presentationTimeOffset {offset} is not the Period's start, {float(period_start)} s")
        media, initialization = template.get("media"), template.get("initialization")
        if media.count("$Time$") != 1 or media.count("$") != 2 or "$" in initialization:
            complain(f"{self.name}: the templates are {media!r} and {initialization!r}")
        for url in (media, initialization):
            if re.match(r"[a-z]+:|/", url):
                complain(f"{self.name}: {url!r} is not relative")


def check_set(adaptation_set, complain):
    kind = adaptation_set.get("contentType")
    if adaptation_set.get("mimeType") != f"{kind}/mp4":
        complain(f"{kind} of type {adaptation_set.get('mimeType')}")
    wanted = {"video": ("width", "height"), "audio": ("audioSamplingRate",)}[kind]
    for representation in children(adaptation_set, "Representation"):
        for attribute in wanted:
            if attribute not in representation.attrib:
                complain(f"{representation.get('id')}: no @{attribute}")


def check_period(period, start, next_start, longest, complain):
    """Returns its timelines. Cuts are shared by all tracks, and lie between the Period's begin and its end."""
    videos, audios = [], []
    for adaptation_set in children(period, "AdaptationSet"):
        check_set(adaptation_set, complain)
        kind = videos if adaptation_set.get("contentType") == "video" else audios
        kind += [Timeline(start, representation, complain) for representation in children(adaptation_set, "Representation")]
    for timeline in videos + audios:
        if timeline.starts[0] < start - APART_MAX:
            complain(f"{timeline.name}: begins {float(start - timeline.starts[0])} s before its Period")
        if next_start is not None and timeline.end > next_start + APART_MAX:
            complain(f"{timeline.name}: ends {float(timeline.end - next_start)} s after the next Period's begin")
        if max(timeline.durations) > longest:
            complain(f"{timeline.name}: a segment of {float(max(timeline.durations))} s, maxSegmentDuration is {float(longest)}")
    for audio in audios:
        for video in videos[:1]:
            for begin in audio.starts:
                nearest = min(abs(begin - cut) for cut in [*video.starts, video.end])
                if video.starts[0] < begin < video.end and nearest > APART_MAX:
                    complain(f"{audio.name}: the segment at {float(begin)} s is {float(nearest)} s from any cut of {video.name}")
    return videos + audios


def check_ours(mpd, complain):
    """What the standard and players ask of a live MPD beyond its form."""
    if "urn:mpeg:dash:profile:isoff-live:2011" not in mpd.get("profiles").split(","):
        complain("the live profile is not among the profiles")
    if children(mpd, "UTCTiming")[0].get("schemeIdUri") != "urn:mpeg:dash:utc:http-iso:2014":
        complain("UTCTiming is not http-iso:2014")
    longest = seconds(mpd.get("maxSegmentDuration"))
    if seconds(mpd.get("suggestedPresentationDelay")) < 2 * longest:
        complain("suggestedPresentationDelay is under two segments: dash.js stalls")
    periods = children(mpd, "Period")
    starts = [seconds(period.get("start")) for period in periods]
    if any(later <= earlier for earlier, later in zip(starts, starts[1:])):
        complain("the Periods are not in order")
    seen = {}
    unique([period.get("id") for period in periods], "Period@id", complain)
    ends = []
    for period, start, next_start in zip(periods, starts, [*starts[1:], None]):
        sets = children(period, "AdaptationSet")
        unique([entry.get("id") for entry in sets], "AdaptationSet@id", complain)
        unique([entry.get("id") for each in sets for entry in children(each, "Representation")], "Representation@id", complain)
        for entry in sets:
            what = (entry.get("contentType"), entry.get("lang"))
            if seen.setdefault(entry.get("id"), what) != what:
                complain(f"AdaptationSet {entry.get('id')} is {what} here and {seen[entry.get('id')]} in another Period")
        ends += [timeline.end for timeline in check_period(period, start, next_start, longest, complain)]
    if max(ends) > unix_seconds(mpd.get("publishTime")) + AHEAD_MAX:
        complain(f"the newest segment ends {float(max(ends) - unix_seconds(mpd.get('publishTime')))} s after publishTime")


def unique(values, what, complain):
    for value in {value for value in values if values.count(value) > 1}:
        complain(f"{what} {value!r} is there twice")


def check_mpegdash(text, mpd, complain):
    """An independent parser must take it, and see what we see."""
    parsed = MPEGDASHParser.parse(text)
    ours, theirs = [], []
    for period in children(mpd, "Period"):
        for adaptation_set in children(period, "AdaptationSet"):
            for representation in children(adaptation_set, "Representation"):
                entries = list(representation.iter(NAMESPACE + "S"))
                ours.append((period.get("id"), adaptation_set.get("lang"), representation.get("id"),
                             [(int(entry.get("d")), int(entry.get("r", 0))) for entry in entries]))
    for period in parsed.periods:
        for adaptation_set in period.adaptation_sets:
            for representation in adaptation_set.representations:
                entries = representation.segment_templates[0].segment_timelines[0].Ss
                theirs.append((period.id, adaptation_set.lang, representation.id,
                               [(entry.d, entry.r or 0) for entry in entries]))
    if ours != theirs:
        complain("mpegdash reads other segments than are there")


def check_xsd(text, xsd, complain):
    import xmlschema
    # 1.1 for the schema's assertions; the module brings the xlink schema that it imports.
    for error in xmlschema.XMLSchema11(xsd, allow="local").iter_errors(text):
        complain(f"schema: {error.path}: {error.reason}")


def check(path, xsd=None):
    """All complaints about one file."""
    complaints = []
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        mpd = ElementTree.fromstring(text.encode())
    except ElementTree.ParseError as error:
        return [f"not well-formed: {error}"]
    if mpd.tag != NAMESPACE + "MPD":
        return [f"the root is {mpd.tag}"]
    if xsd:
        check_xsd(text, xsd, complaints.append)
    check_grammar(mpd, complaints.append)
    # The other checks rely on the form.
    if not complaints:
        check_mpegdash(text, mpd, complaints.append)
        check_ours(mpd, complaints.append)
    return complaints


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--xsd", default=os.environ.get("MILLRACE_DASH_XSD"), help="DASH-MPD.xsd of ISO/IEC 23009-1")
    options.add_argument("files", nargs="+", metavar="FILE")
    options = options.parse_args()
    complaints = [f"{path}: {complaint}" for path in options.files for complaint in check(path, options.xsd)]
    print("\n".join(complaints), end="\n" if complaints else "")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
