"""Stands in for systemd: a datagram socket at the address given, a path or @name. Prints each message as one line of JSON."""

import json
import socket
import sys

address = sys.argv[1]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("\0" + address[1:] if address.startswith("@") else address)
print(json.dumps("bound"), flush=True)
while True:
    print(json.dumps(listener.recv(65536).decode()), flush=True)
