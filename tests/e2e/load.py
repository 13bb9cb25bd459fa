"""Many requests from the client's machine, at a steady pace or as fast as they go, each answer with its time.

Sent to a Python there as it stands. First line of standard input: a job as JSON; it ends when standard
input does, or when all is asked. The answers come as one JSON list of [time, status, path].
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import sys
import threading
import time
from typing import Any

# {"host", "threads", "pause": seconds between two requests of a thread, "logins": user:password of each
# thread, or with "spread" another one each time, "paths": asked by each thread in turn, "rounds": how
# often, 0 for without end}
Job = dict[str, Any]
Answers = list[tuple[float, int, str]]


def main() -> None:
    job: Job = json.loads(sys.stdin.readline())
    answers: Answers = []
    over = threading.Event()
    threads = [threading.Thread(target=ask, args=(job, number, answers, over)) for number in range(job["threads"])]
    for thread in threads:
        thread.start()
    print("going", flush=True)
    if not job["rounds"]:
        sys.stdin.read()
        over.set()
    for thread in threads:
        thread.join()
    print(json.dumps(answers))


def ask(job: Job, number: int, answers: Answers, over: threading.Event) -> None:
    logins, context = job["logins"], ssl.create_default_context()
    connection = None
    asked = 0
    while not over.is_set() and (not job["rounds"] or asked < job["rounds"]):
        login = (
            logins[(number + asked * job["threads"]) % len(logins)]
            if job.get("spread")
            else logins[number % len(logins)]
        )
        asked += 1
        headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
        for path in job["paths"]:
            status = 0
            # A connection that was kept may be closed by now: then once more, as every client does.
            for kept in (True, False):
                try:
                    if connection is None or not kept:
                        connection = http.client.HTTPSConnection(job["host"], timeout=60, context=context)
                    connection.request("GET", path, headers=headers)
                    answer = connection.getresponse()
                    answer.read()
                    status = answer.status
                    break
                except (OSError, http.client.HTTPException):
                    connection = None
            answers.append((time.time(), status, path))
            over.wait(job["pause"])


main()
