#!/usr/bin/env python3
"""check.py --binaries FOLDER [--seconds N]: real players and independent checkers on the relay's demo.

Starts `millrace demo`, plays a cold channel and a warm one with every client, then holds what the relay sent against
loadtest's tscheck, tshark, and three playlist parsers. Prints a line `PASS|FAIL|SKIP name  figures` each and exits 1 when one failed.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import clients
import restart
from clients import HERE, Verdict

WARM_SECONDS = 10
# Long enough for every rule of the stream checker to be met many times.
CAPTURE_SECONDS_MIN = 60


class Demo:
    """`millrace demo` on a free port, with a channel per cold start and one that is kept warm."""

    def __init__(self, binary, channels):
        command = [str(binary), "demo", "--listen", "127.0.0.1:0", "--channels", str(channels)]
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


def play(demo, seconds):
    """Every client, cold and warm: (name, verdict) as they come."""
    cold = {"hlsjs": "index.m3u8", "native": "index.m3u8", "mpegtsjs": "stream.ts"}
    for channel, (player, name) in enumerate(cold.items(), start=2):
        yield f"cold {player}", clients.browser(player, demo.url(channel, name), min(seconds, 10), rebuffers_max=1)
    for player, name in cold.items():
        yield f"warm {player}", clients.browser(player, demo.url(1, name), seconds)
    for name, label in (("index.m3u8", "HLS"), ("stream.ts", "TS")):
        for client in (clients.ffmpeg, clients.mpv, clients.vlc):
            yield f"warm {client.__name__} on {label}", client(demo.url(1, name), seconds)


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


def check_hls(demo, binaries, folder):
    """Playlists by three parsers; each segment by tscheck; nothing listed may be missing."""
    url = demo.url(1, "index.m3u8")
    multivariant = fetch(url).decode()
    media_url = addresses(multivariant, url)[0]
    media = fetch(media_url).decode()
    files = []
    for name, text in (("multivariant.m3u8", multivariant), ("media.m3u8", media)):
        files.append(str(folder / name))
        Path(files[-1]).write_text(text)
    if (HERE / "node_modules").is_dir():
        yield "playlists by hls-parser and m3u8-parser", checker(["node", str(HERE / "playlists.mjs"), *files], "Node.js")
    else:
        yield "playlists by hls-parser and m3u8-parser", Verdict(skipped="the players' modules are not installed")
    strict = "import m3u8, sys\nfor file in sys.argv[1:]: m3u8.parser.parse(open(file).read(), strict=True)"
    python = binaries.parent / "venv" / "bin" / "python"
    yield "playlists by m3u8", checker([str(python), "-c", strict, *files], "the Python module m3u8")
    verdict = Verdict()
    for number, address in enumerate(addresses(media, media_url)):
        segment = folder / f"{number}.ts"
        segment.write_bytes(fetch(address))
        verdict.reasons += [f"{address}: {reason}" for reason in segment_check(binaries, segment).reasons]
    verdict.figures = {"segments": len(addresses(media, media_url))}
    yield "segments by tscheck", verdict


def segment_check(binaries, segment):
    return checker([str(binaries / "loadtest"), "tscheck", "--whole", str(segment)], "loadtest")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--binaries", type=Path, required=True, help="folder with millrace and loadtest")
    options.add_argument("--seconds", type=int, default=10, help="how long each client plays")
    options = options.parse_args()
    demo = Demo(options.binaries / "millrace", channels=4)
    failed = False

    def tell(name, verdict):
        nonlocal failed
        failed |= verdict.word == "FAIL"
        print(f"{verdict.word} {name:42} {verdict.text()}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        try:
            capture = Capture(demo.url(1, "stream.ts"), folder / "capture.ts")
            time.sleep(WARM_SECONDS)
            for name, verdict in play(demo, options.seconds):
                tell(name, verdict)
            capture.stop()
            for name, verdict in check_stream(capture, options.binaries):
                tell(name, verdict)
            for name, verdict in check_hls(demo, options.binaries, folder):
                tell(name, verdict)
        finally:
            tell("SIGTERM ends it", demo.stop())
        tell("hls.js through kill -9 and restart", restart.hls_through_restart(options.binaries, folder))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
