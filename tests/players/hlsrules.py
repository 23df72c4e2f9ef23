#!/usr/bin/env python3
"""hlsrules.py FILE...: holds live HLS playlists against rules of draft-pantos-hls-rfc8216bis that the parsers in playlists.mjs let pass.

Numbers in brackets are the draft's sections. One line `FILE: complaint` each; exits 1 when there is one.
"""

import re
import sys

ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(,|$)')
# What EXT-X-VERSION must be at least (8; EXT-X-GAP: its earlier drafts, and hls-parser).
VERSIONS = {"EXT-X-MAP": 6, "EXT-X-GAP": 8, "EXT-X-SKIP": 9, "EXT-X-BYTERANGE": 4}
# Tags that may stand once.
SINGLE = ["EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-INDEPENDENT-SEGMENTS"]


def attributes(text, complain):
    """An attribute-list [4.2], without quotes; what does not parse is a complaint."""
    found, position = {}, 0
    for match in ATTRIBUTE.finditer(text):
        if match.start() != position:
            break
        if match[1] in found:
            complain(f"the attribute {match[1]} is there twice: {text}")
        found[match[1]] = match[2].strip('"')
        position = match.end()
    if position != len(text):
        complain(f"no attribute-list from {text[position:]!r} on")
    return found


def tags(lines):
    """(name, value) of each tag; ("", URI) of each URI line."""
    for line in lines:
        if line.startswith("#EXT"):
            name, _, value = line[1:].partition(":")
            yield name, value
        elif line and not line.startswith("#"):
            yield "", line


def check_common(text, names, complain):
    if not text.startswith("#EXTM3U\n"):
        complain("the first line is not #EXTM3U")
    if "\r" in text or not text.endswith("\n") or any(ord(letter) < 32 and letter != "\n" for letter in text):
        complain("control characters, or a last line without its end")
    for name in SINGLE:
        if names.count(name) > 1:
            complain(f"{name} is there {names.count(name)} times")


def check_media(items, complain):
    """A Media Playlist [4.4.3, 4.4.4, 6.2]."""
    values = dict(items)
    version = int(values.get("EXT-X-VERSION", 1))
    for name, wanted in VERSIONS.items():
        if name in values and version < wanted:
            complain(f"{name} in version {version}")
    target = int(values.get("EXT-X-TARGETDURATION", 0))
    pending, uris, maps, dated = {}, [], [], False
    for name, value in items:
        if name:
            pending[name] = value
            if name == "EXT-X-MAP":
                maps.append(attributes(value, complain).get("URI"))
            continue
        uris.append(value)
        duration = float(pending.get("EXTINF", "0,").split(",")[0])
        # Up to version 5 it is the longest duration itself, not rounded [8].
        if (round(duration) if version >= 6 else duration) > target:
            complain(f"{value}: {duration} s, EXT-X-TARGETDURATION is {target}")
        if duration <= 0:
            complain(f"{value}: no EXTINF, or one of no length")
        if "EXT-X-PROGRAM-DATE-TIME" not in pending and (not dated or "EXT-X-DISCONTINUITY" in pending):
            complain(f"{value}: the first one, or behind a discontinuity, without EXT-X-PROGRAM-DATE-TIME")
        dated = True
        if re.search(r"\.(m4s|mp4)$", value) and not maps:
            complain(f"{value}: fMP4 without EXT-X-MAP before it")
        pending = {}
    if not uris:
        complain("no segment")
    if "EXT-X-ENDLIST" in values or "EXT-X-PLAYLIST-TYPE" in values:
        complain("no live playlist")
    if any(first == second for first, second in zip(maps, maps[1:])):
        complain("EXT-X-MAP again without a change")
    for uri in uris + maps:
        if re.match(r"[a-z]+:|/", uri):
            complain(f"{uri} is not relative")
    if len(set(uris)) != len(uris):
        complain("a segment is listed twice")


def check_group(name, members, complain):
    """One group of EXT-X-MEDIA [4.4.6.1.1]."""
    names = [member.get("NAME") for member in members]
    if len(set(names)) != len(names):
        complain(f"group {name}: a NAME is there twice: {names}")
    if sum(member.get("DEFAULT") == "YES" for member in members) > 1:
        complain(f"group {name}: more than one DEFAULT")
    picked = []
    for member in members:
        if member.get("DEFAULT") == "YES" and member.get("AUTOSELECT") != "YES":
            complain(f"group {name}: {member.get('NAME')} is DEFAULT, but not AUTOSELECT")
        if member.get("DEFAULT") == "YES" and "describes-video" in member.get("CHARACTERISTICS", ""):
            complain(f"group {name}: audio description is DEFAULT")
        if member.get("AUTOSELECT") == "YES":
            picked.append((member.get("LANGUAGE"), member.get("CHARACTERISTICS")))
    if len(set(picked)) != len(picked):
        complain(f"group {name}: two AUTOSELECT of one language and characteristics: {picked}")


def check_multivariant(items, complain):
    """[4.4.6]"""
    groups, variants, pending = {}, [], None
    for name, value in items:
        if name == "EXT-X-MEDIA":
            found = attributes(value, complain)
            for wanted in ("TYPE", "GROUP-ID", "NAME", "URI"):
                if not found.get(wanted):
                    complain(f"EXT-X-MEDIA without {wanted}: {value}")
            groups.setdefault(found.get("GROUP-ID"), []).append(found)
        elif name == "EXT-X-STREAM-INF":
            pending = attributes(value, complain)
        elif name == "":
            if pending is None:
                complain(f"{value}: no EXT-X-STREAM-INF before it")
            variants.append(pending or {})
            pending = None
    if pending is not None or not variants:
        complain("an EXT-X-STREAM-INF without a URI, or none at all")
    for name, members in groups.items():
        check_group(name, members, complain)
    # Groups hold the same renditions: alike in all but where and how they are encoded.
    own = ("GROUP-ID", "URI", "CHANNELS", "BIT-DEPTH", "SAMPLE-RATE")
    alike = {str([sorted((k, v) for k, v in member.items() if k not in own) for member in group]) for group in groups.values()}
    if len(alike) > 1:
        complain("the groups have not the same members")
    used = {variant.get("AUDIO") for variant in variants} - {None}
    if used != set(groups):
        complain(f"groups {sorted(groups)}, used are {sorted(used)}")
    for variant in variants:
        if not variant.get("CODECS"):
            complain("a variant without CODECS")
        if int(variant.get("BANDWIDTH", 0)) <= 0 or int(variant.get("AVERAGE-BANDWIDTH", 0)) > int(variant.get("BANDWIDTH", 0)):
            complain(f"BANDWIDTH {variant.get('BANDWIDTH')}, AVERAGE-BANDWIDTH {variant.get('AVERAGE-BANDWIDTH')}")
        if re.search(r"avc|hvc|hev|av01|vp09", variant.get("CODECS", "")) and "RESOLUTION" not in variant:
            complain("video without RESOLUTION")


def check(path):
    complaints = []
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    items = list(tags(text.split("\n")))
    names = [name for name, _ in items]
    check_common(text, names, complaints.append)
    (check_multivariant if "EXT-X-STREAM-INF" in names else check_media)(items, complaints.append)
    return complaints


def main():
    complaints = [f"{path}: {complaint}" for path in sys.argv[1:] for complaint in check(path)]
    print("\n".join(complaints), end="\n" if complaints else "")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
