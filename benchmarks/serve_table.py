"""What serving costs: throughput, latency, CPU time compared with `Bundle.predict`, overload, memory, a killed worker.

    .venv/bin/python benchmarks/serve_table.py [--seconds 20] [--steady 60] [--only-write]

The model is a probe of GoogLeNet on the photographs of ants and bees; the requests are its 153 test images. The load
generator is a separate process on the same machine: persistent connections that each send the next file when the
response has arrived (closed loop), or requests at a fixed rate that no response delays (open loop, overload). Rows are
kept. Writes docs/results/serve.md.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from _kept import FOLDER, Kept, Row
from _markdown import head, line, told
from _sets import ROOT, SETS

from regraft.activations.openvino import processor
from regraft.files import write_text
from regraft.words import duration

PAGE = ROOT / "docs" / "results" / "serve.md"
CONNECTIONS = (1, 8, 32)
ROUNDS = 3
LIMIT_S, OPEN = 60, 4000
"""How long a client of the overload waits for its reply; and how many of them there are at once, at most: where the
machine cannot even refuse as fast as clients come, they would pile up without end."""
TIMES = 10
"""How many times the capacity is offered in overload."""


def main() -> None:
    """Measure, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of overload")
    parser.add_argument("--steady", type=float, default=60.0, help="seconds of load that can be served")
    parser.add_argument("--only-write", action="store_true", help="make the page from the rows that are kept")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--direct", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.load:
        print(json.dumps(asyncio.run(_load(**json.loads(asked.load)))))
        return
    if asked.direct:
        print(_direct(*map(Path, asked.direct)))
        return
    kept = Kept(FOLDER / "serve.jsonl")
    if not asked.only_write:
        if kept.where(what="killed"):
            kept.path.unlink()
        _measure(Kept(kept.path), asked.seconds, asked.steady)
        kept = Kept(kept.path)
    write_text(PAGE, _page(kept.rows))
    print(PAGE.relative_to(ROOT))


def _measure(kept: Kept, seconds: float, steady: float) -> None:
    data = SETS["hymenoptera"].open()
    if not kept.rows:
        machine = {"processor": processor()[0], "cores": psutil.cpu_count(), "load": os.getloadavg()[0]}
        kept.settle({**machine, "seconds": seconds, "steady": steady})
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "ants"
        _child("-m", "regraft", "fit", str(data), "--out", str(run), "-q")
        for turn in range(ROUNDS):
            if not kept.where(what="direct", turn=turn):
                direct = float(_child(__file__, "--direct", str(run), str(data / "val")))
                kept.add({"what": "direct", "turn": turn, "cpu": direct})
            for batch in (16, 1):
                if not kept.where(what="closed", turn=turn, batch=batch, connections=CONNECTIONS[-1]):
                    _closed(kept, run, data / "val", turn, batch)
        if not kept.where(what="afterwards"):
            _overload(kept, run, data / "val", seconds)
        if not kept.where(what="steady"):
            _steady(kept, run, data / "val", steady)
        with _server(run, "--workers", "2") as server:
            server.load(data / "val", connections=8, requests=32)
            found = server.load(data / "val", connections=16, requests=400, kill=server.workers()[0])
            kept.add({"what": "killed", "workers": len(server.workers()), **found})


def _closed(kept: Kept, run: Path, files: Path, turn: int, batch: int) -> None:
    with _server(run, "--batch", str(batch)) as server:
        for connections in CONNECTIONS:
            found = server.load(files, connections=connections, requests=306 if connections > 1 else 153)
            kept.add({"what": "closed", "turn": turn, "batch": batch, "connections": connections, **found})


def _overload(kept: Kept, run: Path, files: Path, seconds: float) -> None:
    capacity = median(row["rate"] for row in kept.where(what="closed", batch=16, connections=32))
    with _server(run) as server:
        server.load(files, connections=8, requests=32)
        before = server.memory()
        found = server.load(files, rate=TIMES * capacity, seconds=seconds)
        kept.add({"what": "overload", "offered": TIMES * capacity, "before": before, **found})
        after = server.load(files, connections=8, requests=64)
        kept.add({"what": "afterwards", "memory_end": server.memory(), **after})


def _steady(kept: Kept, run: Path, files: Path, seconds: float) -> None:
    """As much load as one worker serves, a minute after the other; memory after each."""
    capacity = median(row["rate"] for row in kept.where(what="closed", batch=16, connections=32))
    with _server(run) as server:
        memory, statuses, began = list[float](), Counter[str](), time.monotonic()
        while time.monotonic() - began < seconds:
            found = server.load(files, connections=8, requests=round(60 * capacity))
            statuses.update(found["statuses"])
            memory.append(server.memory())
        wall = time.monotonic() - began
    kept.add({"what": "steady", "memory": memory, "statuses": dict(statuses), "wall": wall})


def _child(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def _direct(run: Path, folder: Path) -> float:
    """CPU seconds of `Bundle.predict` on the files, in a process that has predicted before."""
    from regraft.bundles.bundle import load

    bundle, files = load(run, threads=1, workers=1), sorted(folder.rglob("*.jpg"))
    bundle.predict(files[:32])
    began = time.process_time()
    bundle.predict(files)
    return (time.process_time() - began) / len(files)


class _Server:
    """`regraft serve` with one thread a worker."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.process = port, psutil.Process(pid)

    def workers(self) -> list[int]:
        """Its worker processes; itself where it has none."""
        found = []
        for one in self.process.children():
            with suppress(psutil.Error):  # one that was killed and is not waited for yet
                found += [one.pid] if "spawn_main" in " ".join(one.cmdline()) else []
        return found or [self.process.pid]

    def cpu(self) -> float:
        """CPU seconds of its workers so far."""
        return sum(sum(psutil.Process(one).cpu_times()[:2]) for one in self.workers())

    def memory(self) -> float:
        """Resident memory in MB."""
        return sum(psutil.Process(one).memory_info().rss for one in self.workers()) / 1e6

    def load(self, folder: Path, **asked: Any) -> dict[str, Any]:
        """Put load on it; what the generator found, with CPU seconds and the largest memory meanwhile."""
        before, most = self.cpu(), self.memory()
        given = json.dumps({"port": self.port, "folder": str(folder), **asked})
        generator = subprocess.Popen([sys.executable, __file__, "--load", given], stdout=subprocess.PIPE, text=True)
        while generator.poll() is None:
            time.sleep(0.1)
            with suppress(psutil.Error):
                most = max(most, self.memory())
        assert generator.stdout is not None
        found: dict[str, Any] = json.loads(generator.stdout.read())
        return {**found, "cpu": self.cpu() - before, "memory": most}


@contextmanager
def _server(run: Path, *flags: str) -> Iterator[_Server]:
    command = [sys.executable, "-m", "regraft", "serve", str(run), "--port", "0", "--threads", "1", *flags]
    log = run.parent / "server.log"  # not a pipe, which nobody would read
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file)
    while not (found := re.search(r":(\d+) \(", log.read_text())):
        time.sleep(0.1)
    server = _Server(int(found[1]), process.pid)
    _child("-c", f"import urllib.request as u; u.urlopen('http://127.0.0.1:{server.port}/ready', timeout=240)")
    if "--workers" in flags:
        while len(server.workers()) < 2:
            time.sleep(0.2)
        time.sleep(20)  # until the second is ready too
    try:
        yield server
    finally:
        process.terminate()
        process.wait(timeout=90)


async def _load(
    port: int,
    folder: str,
    connections: int = 0,
    requests: int = 0,
    rate: float = 0.0,
    seconds: float = 0.0,
    kill: int = 0,
) -> dict[str, Any]:
    """Send files: `requests` over so many connections, or `rate` a second for so long, each on a connection of its own.
    With `kill` a process is killed after a quarter of them."""
    bodies = [path.read_bytes() for path in sorted(Path(folder).rglob("*.jpg"))]
    statuses, times, accepted = Counter[str](), list[float](), list[float]()
    sent = 0

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, *, close: bool) -> None:
        body = bodies[number % len(bodies)]
        ends = "close" if close else "keep-alive"
        writer.write(
            f"POST /v1/models/ants/predict HTTP/1.1\r\nHost: localhost\r\nConnection: {ends}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        began = time.perf_counter()
        top = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", top)[1])  # type: ignore[index]
        await reader.readexactly(length)
        status = top.split(b" ", 2)[1].decode()
        statuses[status] += 1
        times.append(time.perf_counter() - began)
        if status == "200":
            accepted.append(times[-1])

    async def connection() -> None:
        nonlocal sent
        while sent < requests:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                statuses["refused"] += 1
                await asyncio.sleep(0.1)
                continue
            try:
                while sent < requests:
                    sent += 1
                    if kill and sent == requests // 4:
                        os.kill(kill, 9)
                    await asyncio.wait_for(one(reader, writer, sent, close=False), 60)
            except TimeoutError:  # before OSError, of which it is one
                statuses["nothing came"] += 1
            except (OSError, asyncio.IncompleteReadError):
                statuses["connection closed"] += 1
            finally:
                writer.close()

    async def arrival(number: int) -> None:
        at = "connecting"
        try:
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                at = "waiting"
                try:
                    await one(reader, writer, number, close=True)
                finally:
                    writer.close()
        except TimeoutError:  # before OSError, of which it is one
            statuses[f"nothing came in {LIMIT_S} s, {at}"] += 1
        except (OSError, asyncio.IncompleteReadError):
            statuses[f"closed, {at}"] += 1

    began = time.perf_counter()
    if rate:
        tasks = set[asyncio.Task[None]]()
        while (now := time.perf_counter() - began) < seconds:
            while sent < now * rate:
                sent += 1
                if len(tasks) >= OPEN:
                    statuses["not sent"] += 1
                    continue
                task = asyncio.create_task(arrival(sent))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)
    else:
        await asyncio.gather(*(connection() for _ in range(connections)))
    wall = time.perf_counter() - began
    shown = [round(1000 * float(np.percentile(accepted, q)), 1) for q in (50, 95, 99)] if accepted else []
    return {
        "sent": sent, "statuses": dict(statuses), "rate": len(accepted) / wall, "wall": wall, "ms": shown,
        "replies": len(times),
    }  # fmt: skip


WHERE = """`regraft serve` on {cores} cores ({processor}), one thread per worker; a probe of the GoogLeNet in the
package (128 x 128 pixels), 153 JPEG files of about 320 pixels. The load generator (`benchmarks/serve_table.py`,
asyncio) runs on the same machine; its own CPU time is not counted. Medians of {rounds} rounds. {busy}Generated by
`python benchmarks/serve_table.py --seconds {seconds:g} --steady {steady:g}`."""
BUSY = """Other jobs were running on the machine (load {load:.0f} before the start): CPU seconds are reliable,
throughput and latency are those of a busy machine. """
DIRECT = """`Bundle.predict` on the same files takes {direct:.1f} ms of CPU time per input, decoding included. The
target is a ratio of 0.8 at full load."""
OVERLOAD = """{sent:,} requests in {seconds:g} seconds, {times} times the throughput of one worker above, each on its
own connection: {statuses}. {replies:,} requests got a response. Accepted requests took {p50:.0f} ms at the median and
{p99:.0f} ms at the 99th percentile. Memory rose from {before:.0f} MB to at most {memory:.0f} MB, and was {end:.0f} MB
afterwards, when 64 requests were served as usual."""
STEADY = """{sent:,} requests over 8 connections in {wall}, one worker: {statuses}. Its memory was {first:.0f} MB after
the first minute, {highest:.0f} MB at most after any, and {last:.0f} MB at the end."""
KILLED = """Two workers, 16 connections, {sent} requests; after a quarter of them one worker is killed (SIGKILL):
{statuses}. A closed connection tells the client that its request is lost; {silent} timed out without a response.
Afterwards there were {workers} workers again."""
LEFT = """More than these cores, a GPU, and other networks: a network that gains more from batching on a CPU than
GoogLeNet does gains more here. The server predicts in float32; [int8](int8.md) has the speed of exports in int8,
[bfloat16](bfloat16.md) what features in bfloat16 cost."""


def _page(rows: Sequence[Row]) -> str:
    settings = rows[0]["settings"]
    busy = BUSY.format(**settings) if settings["load"] >= 1 else ""

    def of(**wanted: object) -> list[Row]:
        return [row for row in rows[1:] if all(row.get(name) == value for name, value in wanted.items())]

    direct = [row["cpu"] for row in of(what="direct")]
    closed = []
    for batch, connections in product((16, 1), CONNECTIONS):
        found = of(what="closed", batch=batch, connections=connections)
        cpu = [row["cpu"] / row["statuses"]["200"] for row in found]
        ratios = [one / other for one, other in zip(direct, cpu, strict=True)]
        ms = [f"{median(row['ms'][at] for row in found):.0f}" for at in range(3)]
        speed = f"{median(row['rate'] for row in found):.0f}"
        shown = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        batches = f"up to {batch}" if batch > 1 else "none"
        closed.append(line(batches, connections, speed, *ms, f"{1000 * median(cpu):.1f}", shown))
    (over,), (after,), (steady,), (killed,) = (of(what=what) for what in ("overload", "afterwards", "steady", "killed"))
    p50, _, p99 = over["ms"]
    columns = ("batching", "connections", "inputs per second", "p50, ms", "p95, ms", "p99, ms", "CPU ms per input")
    return "\n".join([
        "# What serving costs", "", told(WHERE, rounds=ROUNDS, busy=busy, **settings), "",
        "## Throughput and latency", "", *head(*columns, "`Bundle.predict` / served, CPU"), *closed, "",
        told(DIRECT, direct=1000 * median(direct)), "",
        "## Overload", "",
        told(OVERLOAD, sent=over["sent"], seconds=settings["seconds"], times=TIMES, statuses=_counted(over["statuses"]),
             replies=over["replies"], p50=p50, p99=p99, before=over["before"], memory=over["memory"],
             end=after["memory_end"]), "",
        "## Steady load", "",
        told(STEADY, sent=sum(steady["statuses"].values()), wall=duration(steady["wall"]),
             statuses=_counted(steady["statuses"]), first=steady["memory"][0], highest=max(steady["memory"]),
             last=steady["memory"][-1]), "",
        "## A worker is killed", "",
        told(KILLED, sent=killed["sent"], statuses=_counted(killed["statuses"]), workers=killed["workers"],
             silent=killed["statuses"].get("nothing came", 0) or "none"), "",
        "## Not measured", "", told(LEFT), "",
    ])  # fmt: skip


def _counted(statuses: dict[str, int]) -> str:
    return ", ".join(f"{count:,} × {status}" for status, count in sorted(statuses.items()))


if __name__ == "__main__":
    main()
