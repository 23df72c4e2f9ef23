"""One function per client: plays a live URL for some seconds and says what a viewer would notice.

Each returns a Verdict. A client that is not installed is skipped, with words; the reasons of a failure name the figure that is wrong.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
# currentTime over wall time, from the first picture on.
PACE_MIN = 0.98
# A rebuffer that is allowed lasts at most this long, seconds.
STILL_SECONDS_MAX = 2.5
# A client that takes this much longer than it was asked to play is stopped, seconds.
GRACE_SECONDS = 30


@dataclass
class Verdict:
    """What came out: figures for the table, reasons why it failed, or why it was skipped."""

    figures: dict = field(default_factory=dict)
    reasons: list = field(default_factory=list)
    skipped: str = ""
    output: str = ""

    def require(self, holds, reason):
        if not holds:
            self.reasons.append(reason)

    @property
    def word(self):
        return "SKIP" if self.skipped else "FAIL" if self.reasons else "PASS"

    def text(self):
        figures = " ".join(f"{name}={value}" for name, value in self.figures.items())
        return "; ".join(filter(None, [figures, self.skipped, *self.reasons]))


def works(names):
    """The first of these commands that starts, or None: on Ubuntu a browser's command may be there and ask for a snap."""
    for path in filter(None, (shutil.which(name) for name in names if name)):
        probe = subprocess.run([path, "--version"], capture_output=True, stdin=subprocess.DEVNULL)
        if probe.returncode == 0 and b"snap" not in probe.stdout + probe.stderr:
            return path
    return None


@functools.cache
def executable(name):
    """Where the browser of that name is, or None."""
    if name == "firefox":
        return works([os.environ.get("FIREFOX"), "firefox-esr", "firefox"])
    return works([os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"])


def browser_missing(name="chromium"):
    """Why that browser cannot play here, or nothing."""
    if executable(name) and shutil.which("node") and (HERE / "node_modules").is_dir():
        return ""
    return f"{name.capitalize()} (not as a snap), Node.js or the players' modules are not installed"


def browser_environment():
    """What play.mjs runs in."""
    found = {"CHROMIUM": executable("chromium"), "FIREFOX": executable("firefox")}
    return {**os.environ, **{name: path for name, path in found.items() if path}}


def browser(player, url, seconds, rebuffers_max=0, within="chromium"):
    """hls.js, shaka, video.js, dash.js, mpegts.js or Chromium's own HLS, through play.mjs."""
    if reason := browser_missing(within):
        return Verdict(skipped=reason)
    command = ["node", str(HERE / "play.mjs"), player, url, "--seconds", str(seconds), "--browser", within]
    run = finished(command, seconds, env=browser_environment())
    if run is None or run.returncode == 2:
        return Verdict(reasons=["the harness failed: " + (run.stderr.strip()[-300:] if run else "it hung")])
    seen = json.loads(run.stdout)
    verdict = Verdict()
    verdict.require(seen["played"], "nothing played within 20 s")
    if seen["played"]:
        judge_playback(verdict, seen, rebuffers_max)
    for reason in seen["fatal"] + seen["failures"] + seen["console"]:
        verdict.reasons.append(reason)
    return verdict


def judge_playback(verdict, seen, rebuffers_max):
    """What a viewer would notice, in figures and as reasons to fail."""
    pace = seen["advancedSeconds"] / seen["wallSeconds"]
    verdict.figures = {
        "pace": f"{pace:.3f}",
        "start": f"{seen['startedMs'] / 1000:.2f}s",
        "rebuffers": seen["rebuffers"],
        "waits": seen["waits"],
        "freezes": seen["freezes"],
        "ranges": len(seen["ranges"]),
        "fps": f"{seen['framesPerSecond']:.1f}",
        "dropped": seen["droppedFrames"],
        "latency": "-" if seen["latencyMax"] is None else f"{seen['latencyMax']:.1f}s",
        "size": f"{seen['width']}x{seen['height']}",
    }
    # On a channel that has just begun shaka waits for its next MPD as long as its first one took: its one segment is over by then.
    granted = STILL_SECONDS_MAX * min(seen["rebuffers"], rebuffers_max)
    kept = seen["advancedSeconds"] + granted >= seen["wallSeconds"] * PACE_MIN
    verdict.require(kept, f"currentTime advanced {pace:.3f} of wall time, below {PACE_MIN}")
    verdict.require(seen["rebuffers"] <= rebuffers_max, f"{seen['rebuffers']} rebuffers, over {rebuffers_max}")
    verdict.require(seen["freezes"] <= rebuffers_max, f"{seen['freezes']} freezes")
    verdict.require(len(seen["ranges"]) == 1, f"buffered in {len(seen['ranges'])} ranges: {seen['ranges']}")
    verdict.require(seen["backwardFrames"] == 0, f"{seen['backwardFrames']} pictures went back in time")
    verdict.require(seen["hasAudio"], "no audio was decoded")


def ffmpeg(url, seconds):
    """ffmpeg decodes that much of the stream without an error line."""
    if not shutil.which("ffmpeg"):
        return Verdict(skipped="ffmpeg is not installed")
    command = ["ffmpeg", "-hide_banner", "-nostats", "-v", "error", "-t", str(seconds), "-i", url]
    command += ["-map", "0:v?", "-map", "0:a?", "-f", "null", "-", "-progress", "pipe:1"]
    run = finished(command, seconds)
    if run is None:
        return Verdict(reasons=["it hung"])
    frames = [int(n) for n in re.findall(r"^frame=\s*(\d+)", run.stdout, re.M)]
    media_us = [int(n) for n in re.findall(r"^out_time_us=(\d+)", run.stdout, re.M)]
    media_seconds = media_us[-1] / 1e6 if media_us else 0
    verdict = Verdict({"media": f"{media_seconds:.1f}s", "frames": frames[-1] if frames else 0})
    verdict.require(run.returncode == 0, f"exit code {run.returncode}")
    verdict.require(media_seconds >= seconds * PACE_MIN, f"{media_seconds:.1f} s of media in place of {seconds} s")
    verdict.reasons += run.stderr.splitlines()[:3]
    return verdict


def mpv(url, seconds):
    """mpv plays in real time without an error line."""
    if not shutil.which("mpv"):
        return Verdict(skipped="mpv is not installed")
    with tempfile.NamedTemporaryFile("r") as log:
        command = ["mpv", "--no-config", "--no-ytdl", "--vo=null", "--ao=null", "--no-terminal", f"--length={seconds}"]
        begin = time.monotonic()
        run = finished([*command, f"--log-file={log.name}", url], seconds)
        lines = log.read().splitlines()
    wall = time.monotonic() - begin
    # What it says once it has played enough is about its own end: libavformat's DASH calls a reading that mpv broke off an error.
    end = next((number for number, line in enumerate(lines) if "EOF code: " in line), len(lines))
    errors = [line for line in lines[:end] if re.search(r"\]\[[ef]\]", line)]
    underruns = sum("buffer underrun" in line or "Enter buffering" in line for line in lines)
    verdict = Verdict({"wall": f"{wall:.1f}s", "underruns": underruns})
    verdict.require(run is not None and run.returncode == 0, "it hung" if run is None else f"exit code {run.returncode}")
    # libavformat's DASH may say that the stream begins a segment before what it then reads first; mpv's length counts from there.
    began = [float(at) for line in lines for at in re.findall(r"playback restart complete @ ([\d.]+)", line)]
    played = seconds - (began[0] if began else 0)
    verdict.require(began and wall >= played * PACE_MIN, f"it ended after {wall:.1f} s of {played:.1f} s")
    verdict.reasons += errors[:3]
    return verdict


# What VLC says without a desktop, whatever it plays; and what its decoder says when a segment that arrives at a stroke fills the few
# pictures of the dummy display before its start-up buffer is full: it then goes on, and loses nothing.
VLC_NOISE = ("no suitable interface module", "globalhotkeys", "buffer deadlock prevented")
# VLC's own errors, and libav's within it; other lines are for information.
VLC_ERROR = re.compile(r" error: |^\[\w+ @ 0x")


def vlc(url, seconds):
    """VLC displays pictures at their rate and loses none; asked over its remote control."""
    if not shutil.which("cvlc"):
        return Verdict(skipped="VLC is not installed")
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile("w+") as log:
        os.chmod(home, 0o777)
        # VLC refuses to run as root.
        prefix = ["runuser", "-u", "nobody", "--", "env", f"HOME={home}"] if os.getuid() == 0 else []
        command = [*prefix, "cvlc", "-I", "oldrc", "--rc-fake-tty", "--no-dbus", "--no-color", "--verbose=0"]
        command += ["--vout", "vdummy", "--aout", "adummy", url]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            return asked_vlc(process, log, seconds)
        finally:
            process.kill()
            process.communicate()


def asked_vlc(process, log, seconds):
    time.sleep(seconds + 2)
    if process.poll() is not None:
        return Verdict(reasons=[f"it ended early, exit code {process.returncode}"])
    process.stdin.write("stats\n")
    process.stdin.flush()
    time.sleep(1)
    # Before the shutdown, which gives error lines of its own.
    log.seek(0)
    errors = [line for line in log.read().splitlines() if VLC_ERROR.search(line) and not any(map(line.__contains__, VLC_NOISE))]
    try:
        answer, _ = process.communicate("shutdown\n", timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return Verdict(reasons=["it hung"])
    count = {name: int(number) for name, number in re.findall(r"\| ([a-z ]+?)\s+:\s+(\d+)", answer)}
    displayed = count.get("frames displayed", 0)
    lost = {name: count.get(name, 0) for name in ("frames lost", "buffers lost", "demux corrupted", "discontinuities")}
    verdict = Verdict({"frames": displayed, **{name.replace(" ", "-"): number for name, number in lost.items()}})
    # 24 pictures a second is the slowest that the synthetic origin or a film has.
    verdict.require(displayed >= 24 * seconds * PACE_MIN, f"{displayed} pictures in {seconds} s")
    verdict.reasons += [f"{number} {name}" for name, number in lost.items() if number and name != "frames lost"]
    verdict.reasons += errors[:3]
    return verdict


def finished(command, seconds, env=None):
    """The finished process, or None when it hung and was killed."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL, timeout=seconds + GRACE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return None
