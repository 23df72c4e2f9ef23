#!/usr/bin/env python3
"""variants.py --binaries FOLDER [--seconds N]: what a source does not have, made on demand, in real players.

Starts `millrace demo` with profiles of its own, and relays of public media, and plays what is made of them: other codecs, other sizes, a ladder whose rungs a
player switches, progressive pictures of interlaced ones. Checks that all rungs are cut at the same pictures, what a first playlist takes, what it all costs beside
ffmpeg, and how viewers share a transcoder. Prints a line `PASS|FAIL|SKIP name  figures` each and exits 1 when one failed.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clients
from check import Demo, fetch
from clients import Verdict
from media import MEDIA
from restart import QUIET, ended, free_address, listening

FULL_SECONDS = 30
# A ladder of three, in the words of the configuration: lines and kilobits a second.
RUNGS = {"top": (360, 1500), "middle": (240, 700), "bottom": (180, 300)}
CONFIG = """
[idle]
variant_ms = 15000
[[profile]]
name = "small-av1"
video = "av1"
height = 180
video_kbps = 200
audio = "opus"
[[profile]]
name = "three"
rungs = ["top", "middle", "bottom"]
""" + "".join(
    f'[[profile]]\nname = "{name}"\nvideo = "h264"\nheight = {lines}\nvideo_kbps = {kbps}\naudio = "aac"\n'
    for name, (lines, kbps) in RUNGS.items()
)
# What is asked for first, each on a channel of its own.
FIRST = {"VP9": "video=vp9", "H.264": "profile=middle", "ladder": "profile=three", "Opus": "audio=opus&video=none", "AV1": "profile=small-av1"}
HLS, HLS_TS, DASH, TS = "index.m3u8?format=hls-fmp4", "index.m3u8?format=hls-ts", "manifest.mpd?", "stream.ts?"
LABELS = {HLS: "HLS-fMP4", HLS_TS: "HLS-TS", DASH: "DASH", TS: "TS"}
VP9 = "&video=vp9&audio=opus"
# (player, what it plays, parameters, title); only with --full what is marked.
BROWSERS = [
    ("hlsjs", HLS, VP9, "VP9 and Opus", False),
    ("shaka", DASH, VP9, "VP9 and Opus", False),
    ("dashjs", DASH, VP9, "VP9 and Opus", True),
    ("videojs", HLS, VP9, "VP9 and Opus", True),
    ("hlsjs", HLS, "&profile=small-av1", "AV1 and Opus", True),
    ("hlsjs", HLS, "&profile=low", "H.264 360p", True),
    ("hlsjs", HLS_TS, "&profile=low", "H.264 360p", True),
    ("shaka", DASH, "&profile=low", "H.264 360p", True),
    ("mpegtsjs", TS, "&profile=low", "H.264 360p", True),
    ("hlsjs", HLS, "&profile=audio-only", "AAC alone", True),
    ("hlsjs", HLS, "&video=none&audio=opus", "Opus alone", True),
    # Chromium has no name for MP3 in MP4 that it takes; out of a transport stream it plays it.
    ("hlsjs", HLS_TS, "&video=none&audio=mp3", "MP3 alone", True),
]
TOOLS = [(HLS, True), (HLS_TS, True), (DASH, True), (TS, False)]
# What ffprobe must say of a stream: parameters, format, codecs.
PROBES = [
    (TS, "audio=ac3", {"h264", "ac3"}),
    (TS, "audio=eac3", {"h264", "eac3"}),
    (TS, "audio=mp2", {"h264", "mp2"}),
    (TS, "audio=mp3", {"h264", "mp3"}),
    (TS, "audio=opus", {"h264", "opus"}),
    (TS, "video=h265", {"hevc", "aac"}),
    (TS, "video=mpeg2&audio=mp2", {"mpeg2video", "mp2"}),
    (HLS, "&video=vp8&audio=opus", {"vp8", "opus"}),
    (HLS, "&video=h265&audio=ac3", {"hevc", "ac3"}),
    (DASH, "video=none&audio=mp3", {"mp3"}),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, verdict in check(arguments.binaries, Path(folder), arguments.seconds):
            failed |= verdict.word == "FAIL"
            print(f"{verdict.word} {name:<47} {verdict.text()}", flush=True)
    sys.exit(failed)


def check(binaries, folder, seconds):
    full = seconds >= FULL_SECONDS
    config = folder / "variants.toml"
    config.write_text(CONFIG)
    demo = Demo(binaries / "millrace", 3 + len(FIRST), ["--config", str(config)])
    try:
        # Warm, and kept so.
        with urllib.request.urlopen(demo.url(1, "stream.ts"), timeout=20) as kept:
            kept.read(188)
            yield "first playlists on a warm channel", first_playlists(demo)
            yield "variants share a transcoder", shared(demo)
            yield from probed(demo, full)
            # Until what was made for those has ended.
            time.sleep(16)
            yield from played(demo, seconds, full)
            yield "rungs are cut at the same pictures", aligned(demo)
            yield from switched(demo, max(seconds, 15), full)
            if full:
                yield "memory of a variant beside an ffmpeg", memory(demo, folder)
                yield "CPU of a ladder beside three ffmpegs", cost(demo, folder)
    finally:
        yield "the demo ends", demo.stop()
    yield from of_media(binaries, folder, max(seconds, 8), full)


def api(demo):
    return json.loads(fetch(f"http://{demo.admin}/api/v1/transcoders"))


# ---- what a viewer waits for, and shares


def first_playlists(demo):
    """From the request to the answer, for encodings that nobody has asked for yet."""
    took = {}
    for channel in range(4, 4 + len(FIRST)):
        fetch(demo.url(channel, HLS))
    time.sleep(12)
    for channel, (name, query) in enumerate(FIRST.items(), 4):
        begin = time.monotonic()
        fetch(demo.url(channel, f"{HLS}&{query}"))
        took[name] = time.monotonic() - begin
        # Until it has caught up.
        time.sleep(2)
    verdict = Verdict({name: f"{seconds:.2f}s" for name, seconds in took.items()})
    verdict.require(max(took.values()) <= 1.5, "over 1.5 s")
    return verdict


def shared(demo):
    """A hundred viewers of one new variant: one branch, one output."""
    before = api(demo)["totals"]["started"]
    with ThreadPoolExecutor(100) as pool:
        list(pool.map(lambda _: fetch(demo.url(2, f"{HLS}&video=vp9")), range(100)))
    now = api(demo)
    started = now["totals"]["started"] - before
    outputs = [output["rendition"] for job in now["jobs"] if job["channel"] == "demo-2" for output in job["outputs"]]
    verdict = Verdict({"viewers": 100, "started": started, "outputs": outputs})
    verdict.require(started == 1 and outputs == ["v0-vp9"], "not exactly one")
    return verdict


# ---- what plays


def probed(demo, full):
    if not shutil.which("ffprobe"):
        yield "ffprobe on what is made", Verdict(skipped="ffprobe is not installed")
        return
    for form, query, wanted in PROBES if full else PROBES[::3]:
        command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", demo.url(2, form + query)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=40)
        found = set(run.stdout.replace(",", " ").split())
        verdict = Verdict({"codecs": " ".join(sorted(found))})
        verdict.require(found == wanted, f"wanted {sorted(wanted)}")
        yield f"ffprobe: {query.strip('&')} on {LABELS[form]}", verdict


def played(demo, seconds, full):
    """Two browsers at once want all of two cores, and the transcoders some of them: one after another."""
    for player, form, query, title, only_full in BROWSERS:
        name = f"{title}: {player} on {LABELS[form]}"
        if only_full and not full:
            continue
        url = demo.url(1, form + query.lstrip("&" if form.endswith("?") else ""))
        # Made and warm before the player comes, as for the source.
        fetch_entry(url)
        time.sleep(6)
        yield name, clients.browser(player, url, seconds)
    for form, only_full in TOOLS:
        if only_full and not full:
            continue
        url = demo.url(1, form + "&profile=low".lstrip("&" if form.endswith("?") else ""))
        for tool in (clients.ffmpeg, clients.mpv, clients.vlc) if full else (clients.ffmpeg,):
            yield f"H.264 360p: {tool.__name__} on {LABELS[form]}", tool(url, seconds)


def fetch_entry(url):
    """Asks for a playlist or MPD, or for the first packets of a stream."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        answer.read(188)


# ---- the ladder


def aligned(demo):
    """The first picture of each segment has the same PTS in all rungs, by ffprobe on init and segment."""
    if not shutil.which("ffprobe"):
        return Verdict(skipped="ffprobe is not installed")
    entry = demo.url(1, f"{HLS}&profile=three")
    fetch(entry)
    time.sleep(8)
    lines = fetch(entry).decode().splitlines()
    uris = [line for line in lines if line and not line.startswith("#")]
    begins, durations = [], []
    for uri in uris:
        playlist_url = urllib.parse.urljoin(entry, uri)
        playlist = fetch(playlist_url).decode()
        init = fetch(urllib.parse.urljoin(playlist_url, re.search(r'EXT-X-MAP:URI="([^"]+)"', playlist)[1]))
        number = int(re.search(r"MEDIA-SEQUENCE:(\d+)", playlist)[1])
        found, lengths = {}, {}
        for extinf, segment in re.findall(r"#EXTINF:([\d.]+),.*\n(?:#.*\n)*([^#\n]+)", playlist):
            media = init + fetch(urllib.parse.urljoin(playlist_url, segment))
            command = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts,flags", "-of", "csv=p=0", "-"]
            first = subprocess.run(command, input=media, capture_output=True, timeout=20).stdout.decode().splitlines()[0]
            found[number], lengths[number] = first, extinf
            number += 1
        begins.append(found)
        durations.append(lengths)
    common = set.intersection(*map(set, begins))
    verdict = Verdict({"rungs": len(begins), "segments": len(common)})
    verdict.require(len(begins) == 3 and len(common) >= 3, "too few to compare")
    for number in sorted(common):
        verdict.require(len({found[number] for found in begins}) == 1, f"segment {number} begins at {[found[number] for found in begins]}")
        verdict.require(len({found[number] for found in durations}) == 1, f"segment {number} lasts {[found[number] for found in durations]}")
        verdict.require("K" in begins[0][number], f"segment {number} begins without a key")
    return verdict


def switched(demo, seconds, full):
    """A player goes down and up, told to, and by itself when the network gets slow and fast again."""
    for player, form in (("hlsjs", HLS), ("shaka", DASH)):
        url = demo.url(1, form + "&profile=three".lstrip("&" if form.endswith("?") else ""))
        for title, script in (("told to", ["--lines", "360,180,360"]), ("by itself", ["--kbps", "6000,700,6000"])):
            name = f"ladder: {player} switches {title}"
            if not full and (player, title) != ("hlsjs", "told to"):
                continue
            if reason := clients.browser_missing():
                yield name, Verdict(skipped=reason)
                continue
            length = seconds if title == "told to" else seconds + 90
            command = ["node", str(clients.HERE / "play.mjs"), player, url, "--seconds", str(length), *script]
            run = clients.finished(command, length + 20, env=clients.browser_environment())
            if run is None or run.returncode == 2:
                yield name, Verdict(reasons=["the harness failed: " + (run.stderr.strip()[-300:] if run else "it hung")])
                continue
            seen = json.loads(run.stdout)
            verdict = Verdict()
            verdict.require(seen["played"], "nothing played within 20 s")
            if seen["played"]:
                clients.judge_playback(verdict, seen, 0)
                heights = seen["heights"]
                verdict.figures["lines"] = "-".join(map(str, heights))
                down = any(b < a for a, b in zip(heights, heights[1:]))
                up = any(b > a for a, b in zip(heights, heights[1:]))
                verdict.require(down and up, "it did not switch both ways")
            verdict.reasons += seen["fatal"] + seen["failures"]
            yield name, verdict


def cost(demo, folder):
    """CPU of the ladder's workers beside three ffmpegs that do the same, from the same origin, at the same time."""
    if not shutil.which("ffmpeg"):
        return Verdict(skipped="ffmpeg is not installed")
    seconds = 40
    # The third channel: nobody else has had it.
    source = demo.url(3, "stream.ts")
    with urllib.request.urlopen(source, timeout=20) as kept:
        kept.read(188)
        time.sleep(3)
        fetch(demo.url(3, f"{DASH}profile=three"))
        time.sleep(6)
        before, began = spent(demo, "demo-3"), time.monotonic()
        commands = []
        for lines, kbps in RUNGS.values():
            rate = f"{kbps}k"
            options = ["-vf", f"scale=-2:{lines}:flags=bilinear", "-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency", "-threads", "1"]
            options += ["-b:v", rate, "-maxrate", rate, "-bufsize", rate, "-g", "500", "-force_key_frames", "expr:gte(t,n_forced*2)"]
            options += ["-c:a", "aac", "-aac_coder", "fast"] if not commands else ["-an"]
            command = ["ffmpeg", "-v", "error", "-threads", "1", "-fflags", "nobuffer", "-t", str(seconds), "-i", source, *options]
            commands.append([*command, "-f", "mpegts", "-y", str(folder / f"{lines}.ts")])
        usage = children_cpu()
        processes = [subprocess.Popen(command, **QUIET) for command in commands]
        while any(process.poll() is None for process in processes):
            # The ladder lives for as long as somebody asks.
            fetch(demo.url(3, f"{DASH}profile=three"))
            time.sleep(1)
        theirs = children_cpu() - usage
        ours = (spent(demo, "demo-3") - before) * seconds / (time.monotonic() - began)
    ratio = ours / theirs
    verdict = Verdict({"ours": f"{ours:.2f}s", "theirs": f"{theirs:.2f}s", "ratio": f"{ratio:.2f}", "media": f"{seconds}s"})
    verdict.require(ratio <= 0.65, f"{ratio:.2f}, over 0.65")
    return verdict


def memory(demo, folder):
    """What the relay grows by for one variant, and what an ffmpeg takes that makes the same."""
    if not shutil.which("ffmpeg"):
        return Verdict(skipped="ffmpeg is not installed")
    channel, entry = 2, f"{HLS}&profile=middle"
    with urllib.request.urlopen(demo.url(channel, "stream.ts"), timeout=20) as kept:
        kept.read(188)
        fetch(demo.url(channel, HLS))
        time.sleep(20)
        before = resident(demo.process.pid)
        command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", demo.url(channel, "stream.ts"), "-vf", "scale=-2:240", "-c:v", "libx264"]
        command += ["-preset", "superfast", "-tune", "zerolatency", "-threads", "1", "-b:v", "700k", "-c:a", "copy", "-f", "mpegts", "-y", str(folder / "one.ts")]
        process = subprocess.Popen(command, **QUIET)
        try:
            # Until all of both windows is full.
            for _ in range(20):
                fetch(demo.url(channel, entry))
                time.sleep(1)
            ours, theirs = resident(demo.process.pid) - before, resident(process.pid)
        finally:
            process.kill()
            process.wait()
    verdict = Verdict({"ours": f"{ours / 1024:.1f}MiB", "theirs": f"{theirs / 1024:.1f}MiB"})
    verdict.require(ours < theirs, "more than an ffmpeg process")
    return verdict


def resident(pid):
    """KiB."""
    return int(re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def spent(demo, channel):
    return sum(job["cpu_seconds"] for job in api(demo)["jobs"] if job["channel"] == channel)


def children_cpu():
    times = os.times()
    return times.children_user + times.children_system


# ---- public media


INTERLACED = ("MPEG-2 interlaced", ("ts/test-206.1.ts",))
EAC3 = ("E-AC-3", ("ts/test-089.000000.ts",))


def of_media(binaries, folder, seconds, full):
    for title, files in (INTERLACED, EAC3) if full else (INTERLACED,):
        if not files or not all((MEDIA / file).is_file() for file in files):
            yield title, Verdict(skipped="not among the public media beside the project")
            continue
        with contextlib.ExitStack() as stack:
            file = folder / "source.ts"
            file.write_bytes(b"".join((MEDIA / name).read_bytes() for name in files))
            origin, address = listening([binaries / "millrace", "origin", "--listen", "127.0.0.1:0", "--file", file])
            stack.callback(ended, origin)
            config = folder / "of-media.toml"
            channel = f'[[channel]]\nid = "one"\norigins = ["http://{address}/channel/1.ts"]\n'
            config.write_text(f'[server]\nlisten = ["{free_address()}"]\nadmin_listen = "{free_address()}"\n{channel}')
            relay, address = listening([binaries / "millrace", "serve", "--config", config])
            stack.callback(ended, relay)
            base = f"http://{address}/relay/channel/one/"
            yield f"{title}: what is made of it", progressive(base + "stream.ts?profile=low")
            # The picture of the second is one that Chromium does not decode either, interlaced H.264 with losses.
            yield f"{title}: hlsjs", loosely(base + HLS + "&profile=low", seconds)


def progressive(url):
    """H.264 and AAC, and no picture of it interlaced, by ffmpeg's idet."""
    if not shutil.which("ffmpeg"):
        return Verdict(skipped="ffmpeg is not installed")
    command = ["ffmpeg", "-hide_banner", "-nostats", "-t", "6", "-i", url, "-map", "0:v:0", "-vf", "idet", "-f", "null", "-"]
    run = clients.finished(command, 20)
    if run is None:
        return Verdict(reasons=["it hung"])
    codecs = set(re.findall(r"(?:Video|Audio): (\w+)", run.stderr.split("Output #0")[0]))
    found = re.findall(r"Multi frame detection: TFF:\s*(\d+) BFF:\s*(\d+) Progressive:\s*(\d+)", run.stderr)
    tff, bff, whole = map(int, found[-1]) if found else (0, 0, 0)
    verdict = Verdict({"codecs": " ".join(sorted(codecs)), "interlaced": tff + bff, "progressive": whole})
    verdict.require(codecs == {"h264", "aac"}, "wanted h264 and aac")
    verdict.require(whole > 10 * (tff + bff) and whole >= 50, "pictures are interlaced, or too few")
    return verdict


def loosely(url, seconds):
    """A browser plays what its own detection makes of the source; a loop's seam is a discontinuity, so with patience."""
    if reason := clients.browser_missing():
        return Verdict(skipped=reason)
    command = ["node", str(clients.HERE / "play.mjs"), "hlsjs", url, "--seconds", str(seconds)]
    run = clients.finished(command, seconds + 20, env=clients.browser_environment())
    if run is None or run.returncode == 2:
        return Verdict(reasons=["the harness failed: " + (run.stderr.strip()[-300:] if run else "it hung")])
    seen = json.loads(run.stdout)
    verdict = Verdict({"played": seen["played"]})
    verdict.require(seen["played"], "it did not play: " + "; ".join(seen["fatal"] + seen["errors"])[:200])
    if seen["played"]:
        pace = seen["advancedSeconds"] / seen["wallSeconds"]
        verdict.figures |= {"pace": f"{pace:.3f}", "freezes": seen["freezes"], "audio": seen["hasAudio"], "size": f"{seen['width']}x{seen['height']}"}
        verdict.require(pace >= 0.85 and seen["hasAudio"], "it stands still, or is silent")
    return verdict


if __name__ == "__main__":
    main()
