"""The clients of benchmarks.serving, in a process of their own: `python -m benchmarks.serving_turn TASK`.

TASK is a JSON file: port, token, clients, requests (of each client), pause (seconds from one request of a client to
the next; 0: as soon as it has its answer), and asked: what is asked for in turn, each a path, a body or null, and the
score.
Prints a line of JSON: the seconds of every request and of all of them together.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    started = time.perf_counter()
    laps = asyncio.run(all_clients(task))
    print(json.dumps({"laps": laps, "seconds": time.perf_counter() - started}))


async def all_clients(task: dict[str, Any]) -> list[float]:
    laps = await asyncio.gather(*(client(task, number) for number in range(task["clients"])))
    return [lap for one in laps for lap in one]


async def client(task: dict[str, Any], number: int) -> list[float]:
    """One connection that asks again and again."""
    reader, writer = await asyncio.open_connection("127.0.0.1", task["port"])
    asked, clients, laps = task["asked"], task["clients"], []
    await asyncio.sleep(task["pause"] * number / clients)
    for turn in range(task["requests"]):
        wanted = asked[(turn * clients + number) % len(asked)]
        request = as_http(wanted, task["token"])
        started = time.perf_counter()
        writer.write(request)
        score = json.loads(await body_of(reader))["score"]
        laps.append(time.perf_counter() - started)
        if score != wanted["score"]:
            raise SystemExit(f"wrong score for {wanted['path']}: {score} instead of {wanted['score']}")
        await asyncio.sleep(max(0.0, task["pause"] - laps[-1]) if task["pause"] else 0)
    writer.close()
    return laps


def as_http(wanted: dict[str, Any], token: str) -> bytes:
    body = json.dumps(wanted["body"]).encode() if wanted["body"] else b""
    method = "POST" if body else "GET"
    head = (
        f"{method} {wanted['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def body_of(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = head.strip().split("\r\n")
    length = next(int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length:"))
    body = await reader.readexactly(length)
    if " 200 " not in status:
        raise SystemExit(f"{status}: {body.decode()}")
    return body


if __name__ == "__main__":
    main()
