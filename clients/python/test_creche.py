"""Tests of the Python client against real runtimes: `creche stdio`, and `creche serve` that is killed and comes back.

From a checkout: python3 -m unittest discover -s clients/python. CRECHE_SEED plays a random test again.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from creche import Client, ConnectionLost, CrecheError, Reconnect, RequestTimeout, find_socket  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NODE = os.environ.get("CRECHE_NODE", os.path.join(ROOT, "node_modules", "node", "bin", "node"))
CRECHE = [NODE, os.path.join(ROOT, "src", "cli", "bin.ts")]
STDIO = [*CRECHE, "stdio"]
QUICK = Reconnect(initial=0.005, maximum=0.05)


def eventually(what, holds, within=20.0):
    until = time.monotonic() + within
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.01)


def is_gone(pid):
    try:
        os.kill(pid, 0)
        return False
    except ProcessLookupError:
        return True


def descriptors():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


class Served:
    """A `creche serve` on a data directory of its own, that may be killed and started again."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="creche-python-")
        self.socket = os.path.join(self.directory, "s")
        self.process = None

    def up(self):
        line = [*CRECHE, "serve", "--data", self.directory, "--socket", self.socket]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"the runtime ended: {self.process.returncode}")
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(self.socket)
                return True
            except OSError:
                return False

        eventually("the runtime listens", answers)
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def gone(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class OverStdio(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = Client.over_stdio(STDIO)
        cls.client.start(name="demo", template="demo")

    @classmethod
    def tearDownClass(cls):
        cls.client.close()

    def test_asks_tells_and_waits(self):
        self.assertEqual(self.client.ask("demo", "/echo hi")["text"], "hi")
        told = self.client.tell("demo", "/echo later", idempotency_key="k1")
        self.assertEqual(told["idempotencyKey"], "k1")
        self.assertEqual(self.client.tell("demo", "/echo later", idempotency_key="k1")["id"], told["id"])
        self.assertEqual(self.client.wait(told["id"])["text"], "later")
        self.assertEqual(self.client.request("turn/get", {"turn": told["id"]})["status"], "completed")

    def test_a_text_of_any_characters_comes_back_as_it_was(self):
        self.client.start(name="cat", command="cat")
        for text in ["ä€😀", "\u2028 and \u2029", 'quotes " and \\', "\t\x00\x7f", "x" * 300_000]:
            self.assertEqual(self.client.ask("cat", text)["text"], text)

    def test_streams_a_turn_and_keeps_it(self):
        stream = self.client.ask_stream("demo", "/stream 5 word")
        entries = list(stream)
        self.assertEqual([e["text"] for e in entries if e["type"] == "turn/delta"][0], "word")
        self.assertEqual([entries[0]["type"], entries[-1]["type"]], ["turn/queued", "turn/ended"])
        self.assertEqual(stream.turn["text"], "word word word word word")
        self.assertEqual(self.client.ask_stream("demo", "/echo whole").result()["text"], "whole")

    def test_leaving_a_stream_leaves_the_turn_as_it_is(self):
        with self.client.ask_stream("demo", "/slow 300 on") as stream:
            for entry in stream:
                if entry["type"] == "turn/started":
                    break
        self.assertEqual(self.client.wait(entry["turn"])["text"], "on")

    def test_fails_with_code_tag_and_identity(self):
        with self.assertRaises(CrecheError) as failed:
            self.client.get("nobody")
        self.assertEqual((failed.exception.tag, failed.exception.code), ("SessionNotFound", -32001))
        self.assertEqual(failed.exception.data["session"], "nobody")
        with self.assertRaises(CrecheError) as failed:
            self.client.start(command="")
        self.assertEqual(failed.exception.data["issues"][0]["path"], "command")
        with self.assertRaises(CrecheError) as failed:
            self.client.request("nope")
        self.assertIn("nope", str(failed.exception))
        with self.assertRaises(CrecheError) as failed:
            self.client.answer("demo", "req_none", "allow")
        self.assertEqual(failed.exception.tag, "RequestNotFound")
        with self.assertRaises(CrecheError) as failed:
            list(self.client.ask_stream("nobody", "x"))
        self.assertEqual(failed.exception.tag, "SessionNotFound")

    def test_a_timeout_gives_up_the_request_and_not_the_client(self):
        with self.assertRaises(RequestTimeout):
            self.client.ask("demo", "/slow 60000 x", timeout=0.1)
        with self.assertRaises(TimeoutError):
            list(self.client.ask_stream("demo", "/slow 60000 x", timeout=0.1))
        with self.client.subscribe("demo") as subscription:
            with self.assertRaises(RequestTimeout):
                subscription.next(timeout=0.05)
        for turn in list(self.client.history("demo")):
            if turn["status"] in ("queued", "running"):
                self.assertEqual(self.client.cancel("demo", turn["id"])["status"], "cancelled")
        self.assertEqual(self.client.ask("demo", "/echo on")["text"], "on")

    def test_a_message_that_a_runtime_would_skip_is_not_sent(self):
        with self.assertRaises(CrecheError) as failed:
            self.client.ask("demo", "x" * (17 * 1024 * 1024))
        self.assertEqual(failed.exception.tag, "MessageTooLarge")
        with self.assertRaises(ValueError):
            self.client.request("session/start", {"metadata": float("nan")})
        self.assertEqual(self.client.ask("demo", "/echo on")["text"], "on")

    def test_many_threads_get_their_own_answers(self):
        answers = {}
        self.client.start(name="many", template="demo")

        def work(worker):
            texts = [self.client.ask("many", f"/echo {worker}.{n}")["text"] for n in range(5)]
            stream = self.client.ask_stream("many", f"/stream 1 {worker}")
            texts.append("".join(entry["text"] for entry in stream if entry["type"] == "turn/delta"))
            answers[worker] = texts

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, {w: [*(f"{w}.{n}" for n in range(5)), f"{w}"] for w in range(12)})

    def test_pages_come_as_one_iteration(self):
        self.client.start(name="paged", template="demo", tags={"of": "pages"})
        for n in range(5):
            self.client.ask("paged", f"/echo p{n}")
        seqs = [entry["seq"] for entry in self.client.transcript("paged", page_size=4)]
        self.assertEqual(seqs, list(range(1, self.client.get("paged")["seq"] + 1)))
        self.assertEqual([e["seq"] for e in self.client.transcript("paged", after=3, through=9, page_size=4)], [4, 5, 6, 7, 8, 9])
        prompts = [turn["prompt"] for turn in self.client.history("paged", page_size=2)]
        self.assertEqual(prompts, [f"/echo p{n}" for n in (4, 3, 2, 1, 0)])
        self.assertEqual([hit["turn"]["text"] for hit in self.client.search("p3", session="paged")], ["p3"])
        self.assertIn("paged", [s["name"] for s in self.client.sessions(page_size=1)])
        self.assertEqual([s["name"] for s in self.client.sessions(tags={"of": "pages"})], ["paged"])

    def test_a_subscription_gives_what_is_stored_then_what_comes_and_ends_with_its_session(self):
        self.client.start(name="followed", template="demo")
        self.client.ask("followed", "/echo one")
        seen = []
        with self.client.subscribe("followed", after=2) as subscription:
            for event in subscription:
                seen.append(event["entry"]["seq"])
                if event["entry"]["type"] == "turn/ended":
                    if event["entry"]["text"] == "two":
                        break
                    self.client.tell("followed", "/echo two")
        self.assertEqual(seen, list(range(3, seen[-1] + 1)))
        self.assertEqual(subscription.ending, "closed")
        ended = self.client.subscribe("followed", types=["turn/ended"])
        self.client.ask("followed", "/echo three")
        self.client.remove("followed")
        self.assertEqual([event["entry"]["text"] for event in ended], ["three"])
        self.assertEqual(ended.ending, "removed")

    def test_what_the_limits_dropped_is_told_as_missed(self):
        self.client.start(name="short", template="demo", limits={"transcriptEntries": 10})
        self.client.ask("short", "/stream 40 x")
        with self.client.subscribe("short", after=0) as subscription:
            first = subscription.next(timeout=10)
            second = subscription.next(timeout=10)
        self.assertEqual(first["missed"]["after"], 0)
        self.assertEqual(second["entry"]["seq"], first["missed"]["through"] + 1)
        told = []
        entries = list(self.client.transcript("short", on_missed=told.append))
        self.assertEqual(told, [{"after": 0, "through": entries[0]["seq"] - 1}])

    def test_a_slow_reader_holds_few_events_and_loses_none(self):
        self.client.start(name="flood", template="demo", limits={"transcriptEntries": 30_000})
        self.client.ask("flood", "/stream 4000 x")
        last = self.client.get("flood")["seq"]
        self.assertGreater(last, 8000)
        with self.client.subscribe("flood", after=0) as subscription:
            link = self.client._link
            eventually("it is full", lambda: link._held >= 4096)
            self.assertEqual(self.client.ask("demo", "/echo meanwhile")["text"], "meanwhile")
            seqs = [subscription.next(timeout=20)["entry"]["seq"] for _ in range(last)]
        self.assertEqual(seqs, list(range(1, last + 1)))
        self.assertEqual(link._held, 0)


class Closing(unittest.TestCase):
    def test_leaves_no_thread_no_descriptor_and_no_process(self):
        for _ in range(2):
            threads, open_before = threading.active_count(), descriptors()
            client = Client.over_stdio(STDIO)
            pids = [client.request("runtime/info")["pid"], client.start(name="a", template="demo")["pid"]]
            waiting = []

            def ask():
                try:
                    client.ask("a", "/slow 60000 x")
                except ConnectionLost as lost:
                    waiting.append(lost)

            asking = threading.Thread(target=ask)
            asking.start()
            subscription = client.subscribe("a")
            client.close()
            client.close()
            asking.join()
            self.assertEqual(len(waiting), 1)
            self.assertTrue(all(is_gone(pid) for pid in pids))
            self.assertEqual((threading.active_count(), descriptors()), (threads, open_before))
            for _event in subscription:
                pass
            self.assertEqual(subscription.ending, "lost")
            with self.assertRaises(ConnectionLost):
                client.get("a")

    def test_a_runtime_that_ends_by_itself_fails_what_waits(self):
        client = Client.over_stdio(STDIO)
        client.start(name="a", template="demo")
        os.kill(client.request("runtime/info")["pid"], signal.SIGKILL)
        with self.assertRaises(ConnectionLost):
            while True:
                client.ask("a", "/slow 60000 x")
        client.close()

    def test_what_cannot_be_reached_is_said(self):
        with self.assertRaises(CrecheError) as failed:
            Client.over_stdio(["no-such-program-here"])
        self.assertEqual((failed.exception.tag, failed.exception.data["errno"]), ("NoRuntime", "ENOENT"))
        directory = tempfile.mkdtemp()
        try:
            for path, name in [(os.path.join(directory, "none"), "ENOENT"), (os.path.join(directory, "x" * 200), "unknown")]:
                with self.assertRaises(CrecheError) as failed:
                    Client.over_socket(path)
                self.assertEqual((failed.exception.tag, failed.exception.data["errno"]), ("NoRuntime", name))
            with Client.over_stdio([sys.executable, "-c", "print('no protocol')"]) as confused:
                with self.assertRaises(ConnectionLost):
                    confused.get("a")
        finally:
            shutil.rmtree(directory)

    def test_the_socket_is_found_as_the_command_line_finds_it(self):
        before = dict(os.environ)
        names = ("CRECHE_SOCKET", "CRECHE_DATA", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")
        cases = [
            ({}, (None, None), ("/h/.local/state/creche/creche.sock", "/h/.local/state/creche", False)),
            ({"XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"}, (None, None), ("/r/creche.sock", "/s/creche", False)),
            ({"XDG_STATE_HOME": "s", "XDG_RUNTIME_DIR": ""}, (None, None), ("/h/.local/state/creche/creche.sock", "/h/.local/state/creche", False)),
            ({"CRECHE_DATA": "/d", "CRECHE_SOCKET": "/k", "XDG_RUNTIME_DIR": "/r"}, (None, None), ("/k", "/d", False)),
            ({"XDG_RUNTIME_DIR": "/r"}, (None, "/d"), ("/r/creche.sock", "/d", True)),
            ({"CRECHE_DATA": "/d", "CRECHE_SOCKET": "/k"}, ("/y", "/x"), ("/y", "/x", False)),
        ]
        try:
            for env, given, found in cases:
                for name in names:
                    os.environ.pop(name, None)
                os.environ.update({"HOME": "/h", **env})
                self.assertEqual(find_socket(*given), found)
        finally:
            os.environ.clear()
            os.environ.update(before)


class OverSocket(unittest.TestCase):
    def setUp(self):
        self.served = Served().up()
        self.addCleanup(self.served.gone)
        self.threads, self.open_before = threading.active_count(), descriptors()

    def client(self, **options):
        client = Client.over_socket(self.served.socket, **{"reconnect": QUICK, **options})
        self.addCleanup(client.close)
        return client

    def test_sees_every_entry_once_and_asks_every_prompt_once_whenever_the_runtime_is_killed(self):
        seed = int(os.environ.get("CRECHE_SEED") or random.randrange(2**32))
        print(f"python client: CRECHE_SEED={seed}", flush=True)
        dice = random.Random(seed)
        client = self.client()
        everything = client.subscribe()
        client.start(name="a", template="demo", retryTurns=1, backoff={"initialMs": 5}, intensity={"maxRestarts": 1000})
        one = client.subscribe("a", after=0)
        seen = {"a": [], "all": []}
        asked, faults = [], []
        over = threading.Event()

        def follow(subscription, name):
            for event in subscription:
                seen[name].append((event["entry"]["session"], event["entry"]["seq"]) if "entry" in event else event)

        def ask():
            n = 0
            try:
                while not over.is_set():
                    n += 1
                    if n % 3 == 0:
                        asked.append(client.tell("a", f"/slow {n % 40} n{n}"))
                    elif n % 3 == 1:
                        stream = client.ask_stream("a", f"/stream 4 n{n}")
                        seqs = [entry["seq"] for entry in stream]
                        if seqs != sorted(set(seqs)) or seqs[-1] != stream.turn["lastSeq"]:
                            faults.append(seqs)
                        asked.append(stream.turn)
                    else:
                        asked.append(client.ask("a", f"/echo n{n}"))
            except BaseException as error:  # noqa: BLE001
                faults.append(error)

        workers = [
            threading.Thread(target=follow, args=(one, "a")),
            threading.Thread(target=follow, args=(everything, "all")),
            threading.Thread(target=ask),
        ]
        for worker in workers:
            worker.start()
        for _ in range(5):
            time.sleep(dice.random() * 0.3)
            self.served.kill()
            time.sleep(dice.random() * 0.1)
            self.served.up()
        over.set()
        workers[2].join()
        self.assertEqual(faults, [])
        for turn in asked:
            client.wait(turn["id"])
        self.assertEqual([turn["prompt"] for turn in client.history("a")][::-1], [turn["prompt"] for turn in asked])
        self.assertEqual(len({turn["id"] for turn in asked}), len(asked))
        transcript = [(entry["session"], entry["seq"]) for entry in client.transcript("a")]
        for name in ("a", "all"):
            eventually(f"all of {name}", lambda name=name: len(seen[name]) >= len(transcript))
            self.assertEqual(seen[name][: len(transcript)], transcript)
        one.close()
        everything.close()
        workers[0].join()
        workers[1].join()
        client.close()
        self.assertEqual((threading.active_count(), descriptors()), (self.threads, self.open_before))

    def test_what_is_not_safe_to_repeat_is_not_sent_while_the_runtime_is_away(self):
        client = self.client()
        client.start(name="a", template="demo")
        self.served.kill()
        eventually("it is noticed", lambda: client._link.lost is not None)
        with self.assertRaises(ConnectionLost) as refused:
            client.stop("a")
        self.assertEqual((refused.exception.data["method"], refused.exception.data["sent"]), ("session/stop", False))
        answers = []
        asking = threading.Thread(target=lambda: answers.append(client.ask("a", "/echo back")["text"]))
        asking.start()
        with self.assertRaises(RequestTimeout):
            client.get("a", timeout=0.1)
        self.served.up()
        asking.join()
        self.assertEqual(answers, ["back"])
        self.assertEqual(client.stop("a")["status"], "stopped")

    def test_is_told_what_the_limits_dropped_while_it_was_away(self):
        client = self.client()
        session = client.start(name="a", template="demo", limits={"transcriptEntries": 20})
        subscriptions = [client.subscribe("a", after=0), client.subscribe()]
        client.ask("a", "/echo one")
        self.served.kill()
        self.served.up()
        with Client.over_socket(self.served.socket) as other:
            last = other.ask("a", "/stream 60 x")["lastSeq"]
        for subscription in subscriptions:
            ranges = []
            while not ranges or ranges[-1][1] < last:
                event = subscription.next(timeout=20)
                if "missed" in event:
                    self.assertEqual(event["missed"]["session"], session["id"])
                    ranges.append((event["missed"]["after"], event["missed"]["through"]))
                else:
                    ranges.append((event["entry"]["seq"] - 1, event["entry"]["seq"]))
            self.assertTrue(any(through - after > 1 for after, through in ranges))
            self.assertEqual([after for after, _ in ranges[1:]], [through for _, through in ranges[:-1]])

    def test_gives_up_on_a_runtime_that_stays_away(self):
        client = self.client(reconnect=QUICK._replace(within=0.1))
        client.start(name="a", template="demo")
        subscription = client.subscribe("a")
        self.served.kill()
        with self.assertRaises(ConnectionLost) as lost:
            client.get("a")
        self.assertIn("did not come back", str(lost.exception))
        with self.assertRaises(ConnectionLost):
            list(subscription)
        self.assertEqual(subscription.ending, "lost")

    def test_closes_while_the_runtime_is_away(self):
        client = self.client(reconnect=Reconnect(initial=30, maximum=30))
        client.start(name="a", template="demo")
        self.served.kill()
        failed = []

        def ask():
            try:
                client.ask("a", "x")
            except ConnectionLost as lost:
                failed.append(lost)

        asking = threading.Thread(target=ask)
        asking.start()
        eventually("it dials", client._dialling.locked)
        client.close()
        asking.join()
        self.assertEqual(len(failed), 1)
        self.assertEqual((threading.active_count(), descriptors()), (self.threads, self.open_before))

    def test_without_reconnect_it_is_over_with_its_connection(self):
        client = self.client(reconnect=False)
        self.assertIsNone(client.ask(client.start(template="demo")["id"], "/echo x")["idempotencyKey"])
        subscription = client.subscribe()
        self.served.kill()
        list(subscription)
        self.assertEqual(subscription.ending, "lost")
        self.served.up()
        with self.assertRaises(ConnectionLost):
            client.request("runtime/info")

    def test_another_data_directory_behind_the_same_socket_is_refused(self):
        runtime_directory = tempfile.mkdtemp()
        os.symlink(self.served.socket, os.path.join(runtime_directory, "creche.sock"))
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = runtime_directory
        try:
            with Client.over_socket(data=self.served.directory) as client:
                self.assertEqual(client.request("runtime/info")["dataDirectory"], self.served.directory)
            with self.assertRaises(CrecheError) as refused:
                Client.over_socket(data="/elsewhere")
            self.assertEqual(refused.exception.tag, "OtherRuntime")
            self.assertEqual((threading.active_count(), descriptors()), (self.threads, self.open_before))
        finally:
            shutil.rmtree(runtime_directory)
            if before is None:
                del os.environ["XDG_RUNTIME_DIR"]
            else:
                os.environ["XDG_RUNTIME_DIR"] = before


if __name__ == "__main__":
    unittest.main()
