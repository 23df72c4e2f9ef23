#!/usr/bin/env python3
"""check.py --binaries FOLDER [--seconds N]: real players and independent checkers on the relay's demo.

Starts `millrace demo`, plays cold channels and a warm one with every client, then holds what the relay sent against loadtest's tscheck,
tshark, ffprobe, three playlist parsers, an MPD checker and our own reading of every CMAF box. After that: kill -9 and restart, a session that
idled out, and public media. Prints a line `PASS|FAIL|SKIP name  figures` each and exits 1 when one failed.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clients
import cmaf
import media
import restart
from clients import HERE, Verdict

WARM_SECONDS = 10
# Long enough for every rule of the stream checker to be met many times.
CAPTURE_SECONDS_MIN = 60
# Clients at once. A browser decodes in software and wants most of a core; the other clients want little of one.
BROWSERS_AT_ONCE = 2
TOOLS_AT_ONCE = 4

HLS_FMP4, HLS_TS = "index.m3u8?format=hls-fmp4", "index.m3u8?format=hls-ts"
DASH, TS = "manifest.mpd", "stream.ts"
LABELS = {HLS_FMP4: "HLS-fMP4", HLS_TS: "HLS-TS", DASH: "DASH", TS: "TS"}
# (player, browser, what it plays): each on a channel that nobody watches yet.
COLD = [
    ("hlsjs", "chromium", HLS_FMP4),
    ("shaka", "chromium", DASH),
    ("native", "chromium", HLS_TS),
    ("mpegtsjs", "chromium", TS),
]
# The same on the channel that the capture keeps warm.
WARM = [
    ("hlsjs", "chromium", HLS_FMP4),
    ("shaka", "chromium", HLS_FMP4),
    ("videojs", "chromium", HLS_FMP4),
    ("native", "chromium", HLS_FMP4),
    ("shaka", "chromium", DASH),
    ("dashjs", "chromium", DASH),
    ("hlsjs", "firefox", HLS_FMP4),
    ("shaka", "firefox", DASH),
    ("mpegtsjs", "chromium", TS),
]
# Left to runs of this many seconds each or more, as TS is met by the cold starts too.
FULL_SECONDS = 30
WARM_FULL = [("hlsjs", "chromium", HLS_TS), ("native", "chromium", HLS_TS)]
TOOLS = (clients.ffmpeg, clients.mpv, clients.vlc)


class Demo:
    """`millrace demo` on a free port, with a channel per cold start and one that is kept warm."""

    def __init__(self, binary, channels, more=()):
        self.admin = restart.free_address()
        command = [str(binary), "demo", "--listen", "127.0.0.1:0", "--admin-listen", self.admin, "--channels", str(channels), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if found := re.match(r"LISTENING (\S+)", line):
                self.base = f"http://{found[1]}"
                break
        else:
            raise SystemExit(f"millrace demo ended with code {self.process.wait()} before it listened")
        # The rest of its output must be read, or the demo blocks on a full pipe.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def url(self, channel, name):
        return f"{self.base}/relay/channel/demo-{channel}/{name}"

    def session(self, channel):
        """What the API says of the channel's session, or nothing."""
        rows = json.loads(fetch(f"http://{self.admin}/api/v1/sessions"))["sessions"]
        return next((row for row in rows if row["channel"] == f"demo-{channel}"), None)

    def stop(self):
        """SIGTERM; the exit must come within the deadline."""
        self.process.terminate()
        verdict = Verdict()
        try:
            verdict.require(self.process.wait(15) == 0, f"exit code {self.process.returncode}")
        except subprocess.TimeoutExpired:
            self.process.kill()
            verdict.reasons.append("still there 15 s after SIGTERM")
        return verdict


class Capture(threading.Thread):
    """One viewer of the continuous stream over the whole run, that keeps what it gets."""

    def __init__(self, url, path):
        super().__init__(daemon=True)
        self.url, self.path, self.begin, self.error = url, path, time.monotonic(), None
        self.stopping = threading.Event()
        self.start()

    def run(self):
        try:
            with urllib.request.urlopen(self.url, timeout=20) as stream, open(self.path, "wb") as file:
                while not self.stopping.is_set():
                    piece = stream.read1(1 << 16)
                    if not piece:
                        self.error = "the relay ended the stream"
                        return
                    file.write(piece)
        except OSError as error:
            self.error = str(error)

    def stop(self):
        time.sleep(max(0, self.begin + CAPTURE_SECONDS_MIN - time.monotonic()))
        self.stopping.set()
        self.join(10)


def at_once(count, jobs):
    """Runs (name, function, arguments) that many at once; (name, verdict) in their order, as they come."""
    with ThreadPoolExecutor(count) as pool:
        running = [(name, pool.submit(function, *arguments)) for name, function, arguments in jobs]
        for name, verdict in running:
            yield name, verdict.result()


def play(demo, seconds):
    """Every client, cold and warm: (name, verdict) as they come."""
    cold = []
    for channel, (player, within, name) in enumerate(COLD, start=2):
        cold.append((f"cold {player} on {LABELS[name]}", clients.browser, (player, demo.url(channel, name), min(seconds, 10), 1, within)))
    # One at a time: the time to the first picture is a figure of its own.
    yield from at_once(1, cold)
    warm = []
    for player, within, name in WARM + WARM_FULL:
        label = f"warm {player if within == 'chromium' else f'{within} {player}'} on {LABELS[name]}"
        if seconds < FULL_SECONDS and (player, within, name) in WARM_FULL:
            yield label, Verdict(skipped="only with --full")
        else:
            warm.append((label, clients.browser, (player, demo.url(1, name), seconds, 0, within)))
    yield from at_once(BROWSERS_AT_ONCE, warm)
    tools = [(f"warm {tool.__name__} on {label}", tool, (demo.url(1, name), seconds)) for name, label in LABELS.items() for tool in TOOLS]
    yield from at_once(TOOLS_AT_ONCE, tools)
    yield from all_formats(demo, seconds)


def all_formats(demo, seconds):
    """A client per format at the same time, and all that came before: from one connection to the origin."""
    jobs = [
        (f"all at once: hlsjs on {LABELS[HLS_FMP4]}", clients.browser, ("hlsjs", demo.url(1, HLS_FMP4), seconds)),
        (f"all at once: shaka on {LABELS[DASH]}", clients.browser, ("shaka", demo.url(1, DASH), seconds)),
        (f"all at once: mpv on {LABELS[HLS_TS]}", clients.mpv, (demo.url(1, HLS_TS), seconds)),
        (f"all at once: ffmpeg on {LABELS[TS]}", clients.ffmpeg, (demo.url(1, TS), seconds)),
    ]
    yield from at_once(len(jobs), jobs)
    yield "one origin connection, all formats", one_connection(demo, 1)
    # The first requests of all formats meet on a channel that has no session yet.
    channel = len(COLD) + 2
    fetches = [(name, first_bytes, (demo.url(channel, name),)) for name in LABELS]
    verdict = Verdict()
    for name, answer in at_once(len(fetches), fetches):
        verdict.require(answer, f"no answer for {name}")
    verdict.reasons += one_connection(demo, channel).reasons
    yield "one origin connection, cold, all formats at once", verdict


def one_connection(demo, channel):
    """The API counts every connection that was opened to the origin since the session began."""
    session = demo.session(channel)
    verdict = Verdict({"viewers": json.dumps(session["viewers"])} if session else {})
    connections = session and session["origin"]["connections"]
    verdict.require(connections == 1, f"{connections} connections to the origin")
    return verdict


def first_bytes(url):
    """The begin of an answer, or nothing."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read(188)
    except OSError:
        return b""


def checker(command, wanted):
    """A checker that says nothing, or exits 0, when all is well."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        return Verdict(skipped=f"{wanted} is not installed")
    verdict = Verdict()
    if run.returncode != 0:
        verdict.reasons.append((run.stdout + run.stderr).strip()[-1500:] or f"exit code {run.returncode}")
    verdict.output = run.stdout.strip()
    return verdict


def check_stream(capture, binaries):
    yield "continuous TS stays up", Verdict(reasons=[capture.error] if capture.error else [])
    verdict = checker([str(binaries / "loadtest"), "tscheck", str(capture.path)], "loadtest")
    verdict.figures = {"report": " | ".join(verdict.output.splitlines()[:4])} if not verdict.reasons else {}
    yield "continuous TS by tscheck", verdict
    verdict = checker(["tshark", "-r", str(capture.path), "-q", "-z", "expert"], "tshark")
    if not verdict.skipped and re.search(r"^(Errors|Warns)", verdict.output, re.M):
        verdict.reasons.append(verdict.output[:1500])
    yield "continuous TS by tshark", verdict


def fetch(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


def addresses(playlist, base):
    return [urllib.parse.urljoin(base, line) for line in playlist.splitlines() if line and not line.startswith("#")]


def check_playlists(url, label, binaries, folder):
    """The multivariant playlist and all that it names, by three parsers."""
    multivariant = fetch(url).decode()
    texts = [multivariant, *(fetch(address).decode() for _, address in cmaf.media_playlists(multivariant, url))]
    files = []
    for number, text in enumerate(texts):
        files.append(str(folder / f"{label}-{number}.m3u8"))
        Path(files[-1]).write_text(text)
    name = f"{label} playlists by hls-parser and m3u8-parser"
    if (HERE / "node_modules").is_dir():
        yield name, checker(["node", str(HERE / "playlists.mjs"), *files], "Node.js")
    else:
        yield name, Verdict(skipped="the players' modules are not installed")
    yield f"{label} playlists by hlsrules.py", checker([sys.executable, str(HERE / "hlsrules.py"), *files], "Python")
    strict = "import m3u8, sys\nfor file in sys.argv[1:]: m3u8.parser.parse(open(file).read(), strict=True)"
    yield f"{label} playlists by m3u8", checker([python_of(binaries), "-c", strict, *files], "the Python module m3u8")


def python_of(binaries):
    """The Python that has the modules which ./run installed."""
    return str(binaries.parent / "venv" / "bin" / "python")


def check_hls(demo, binaries, folder):
    """Playlists by their parsers; each segment by tscheck or by its boxes; nothing listed may be missing."""
    for name in (HLS_TS, HLS_FMP4):
        yield from check_playlists(demo.url(1, name), LABELS[name], binaries, folder)
    url = demo.url(1, HLS_TS)
    _, media_url = next(cmaf.media_playlists(fetch(url).decode(), url))
    listed = addresses(fetch(media_url).decode(), media_url)
    verdict = Verdict({"segments": len(listed)}, reasons=[] if listed else ["no segment is listed"])
    for number, address in enumerate(listed):
        segment = folder / f"{number}.ts"
        segment.write_bytes(fetch(address))
        verdict.reasons += [f"{address}: {reason}" for reason in segment_check(binaries, segment).reasons]
    yield "HLS-TS segments by tscheck", verdict
    yield from cmaf.check(demo.url(1, HLS_FMP4), fetch, folder)


def check_dash(demo, binaries, folder):
    """The MPD by its checker; each segment that it lists by its boxes; requests too early and too late."""
    url = demo.url(1, DASH)
    text = fetch(url).decode()
    file = folder / "manifest.mpd"
    file.write_text(text)
    if (HERE / "node_modules").is_dir():
        yield "MPD by mpd-parser", checker(["node", str(HERE / "playlists.mjs"), str(file)], "Node.js")
    else:
        yield "MPD by mpd-parser", Verdict(skipped="the players' modules are not installed")
    yield "MPD by mpd.py", checker([python_of(binaries), str(HERE / "mpd.py"), str(file)], "the Python module mpegdash")
    yield "MPD lists what is served", cmaf.check_mpd(text, url, fetch)


def segment_check(binaries, segment):
    return checker([str(binaries / "loadtest"), "tscheck", "--whole", str(segment)], "loadtest")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--binaries", type=Path, required=True, help="folder with millrace and loadtest")
    options.add_argument("--seconds", type=int, default=10, help="how long each client plays")
    options = options.parse_args()
    demo = Demo(options.binaries / "millrace", channels=len(COLD) + 2)
    failed = False

    def tell(verdicts):
        nonlocal failed
        for name, verdict in verdicts:
            failed |= verdict.word == "FAIL"
            print(f"{verdict.word} {name:42} {verdict.text()}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        try:
            capture = Capture(demo.url(1, TS), folder / "capture.ts")
            time.sleep(WARM_SECONDS)
            tell(play(demo, options.seconds))
            capture.stop()
            tell(check_stream(capture, options.binaries))
            tell(check_hls(demo, options.binaries, folder))
            tell(check_dash(demo, options.binaries, folder))
        finally:
            tell([("SIGTERM ends it", demo.stop())])
        # Both wait more than they work.
        outages = (restart.through_restart, restart.through_idleness)
        with ThreadPoolExecutor(len(outages)) as pool:
            for verdicts in pool.map(lambda outage: list(outage(options.binaries, folder)), outages):
                tell(verdicts)
        tell(media.check(options.binaries, folder, options.seconds // 2))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
