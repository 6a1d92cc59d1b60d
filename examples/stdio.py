"""Drives creche from Python with nothing but the standard library: JSON-RPC, one message a line.

The runtime belongs to this program: when its standard input ends, every session is stopped and it exits 0.
"""
import json
import os
import subprocess

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Installed, the command is just ["creche", "stdio"].
creche = subprocess.Popen(
    ["sh", os.path.join(root, "scripts", "run"), "src/cli/bin.ts", "stdio"],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    encoding="utf-8",
)
ids = iter(range(1, 1_000_000))


def call(method, **params):
    """Sends a request and waits for its answer; what the runtime says by itself meanwhile is printed."""
    request = next(ids)
    creche.stdin.write(json.dumps({"jsonrpc": "2.0", "id": request, "method": method, "params": params}) + "\n")
    creche.stdin.flush()
    for line in creche.stdout:
        message = json.loads(line)
        if message.get("id") == request:
            if "error" in message:
                raise RuntimeError(message["error"])
            return message["result"]
        entry = message["params"].get("entry", {})
        if entry.get("type") == "turn/delta":
            print("  piece:", entry["text"])
    raise RuntimeError("the runtime is gone")


sentinel = {"send": "echo §{id}", "expect": "§{id}"}
call("session/start", name="sh", command="sh", protocol={"type": "text", "endOfTurn": {"sentinel": sentinel}})
print("answer:", call("session/ask", session="sh", prompt="echo $((6 * 7))")["text"])
turn = call("session/ask", session="sh", prompt="for i in 1 2 3; do echo $i; done", stream=True)
print("status:", turn["status"])

creche.stdin.close()
print("exit code:", creche.wait())
