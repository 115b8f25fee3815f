#!/usr/bin/env python3
"""A worker in a few lines, with nothing but the standard library.

    python3 examples/worker.py http://127.0.0.1:8080 bar [tasks]

It asks for work, tells that it is at it, makes it, and tells so. With a number it ends after that many tasks.
"""

import json
import socket
import sys
import urllib.error
import urllib.request

server, queue = sys.argv[1].rstrip("/"), sys.argv[2]
left = int(sys.argv[3]) if len(sys.argv) > 3 else None
me = f"{socket.gethostname()}-python"


def post(path, body):
    request = urllib.request.Request(
        server + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


while left is None or left > 0:
    # Held for up to 20 s; the lease of what it is given runs out 30 s after the last heartbeat.
    for task in post(f"/v1/queues/{queue}/poll", {"worker": me, "wait": "20s", "lease": "30s"})["tasks"]:
        token, order = task["token"], task["payload"]
        try:
            if post(f"/v1/tasks/{token}/heartbeat", {"progress": {"percent": 50}})["cancel_requested"]:
                continue  # The order is being cancelled: whatever is made now is wasted.
            print(f"{order['quantity']} {order['item']} for {order['pickup_code']}", flush=True)
            post(f"/v1/tasks/{token}/complete", {"result": {"by": me}})
        except urllib.error.HTTPError as refused:
            if refused.code != 409:  # lease_lost, task_withdrawn, task_done: it is not ours any more.
                raise
        left = left - 1 if left is not None else None
