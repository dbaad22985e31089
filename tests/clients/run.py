#!/usr/bin/env python3
"""Runs examples/clients/ against a Latchkey behind a network that loses things (proxy.py), each as it stands there.

Every client gets a Latchkey of its own under a test clock. It has to keep its session for hours of that clock while
every tenth answer is lost, and to do what the table in README.md says when a session is over, when it is not, and when
it is killed at a bad moment. Time is moved while no renewal is under way: what passes during one is real, on both
sides. `--scale` makes real time short: the network's delays and the client's timeout (5 s) by the same factor.

`--tools` is where ./check has built the clients.
"""

import argparse
import asyncio
import pathlib
import sys
import tempfile
import threading
import time

from driven import Bed
from scenarios import SCENARIOS

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXAMPLES = ROOT / "examples/clients"


def commands(tools):
    """Each client: its driver's command, and its own program's."""
    python, node, go = EXAMPLES / "python", tools / "typescript/dist", tools / "go"
    java = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx64m", "-cp"]
    classes = f"{tools}/java/classes:{tools}/java/lib/*"
    return {
        "python": ([sys.executable, HERE / "drivers/driver.py", python], [sys.executable, python / "main.py"]),
        "typescript": (["node", HERE / "drivers/driver.mjs", node], ["node", node / "main.js"]),
        "java": ([*java, f"{classes}:{tools}/java/driver", "com.example.Driver"], [*java, classes, "com.example.Main"]),
        "go": ([go / "driver"], [go / "client"]),
    }


def play(b, only):
    for scenario in SCENARIOS:
        if only and scenario.__name__ not in only:
            continue
        b.proxy.script.clear()
        b.proxy.network, b.proxy.scale = None, 1.0
        try:
            scenario(b)
            b.passed += 1
        except Exception as error:  # a broken client breaks in many ways
            b.faults.append(f"{scenario.__name__}: {type(error).__name__}: {error}")
        for client in b.clients:
            client.kill()


def report(beds, broken):
    columns = ["renewals", "requests", "answer lost", "delayed beyond the timeout"]
    titles = ["scenarios", "renewals", "requests", "answers lost", "too late", "slowest"]
    print(f"\n      {'client':<12}" + "".join(f"{title:>14}" for title in titles))
    for b in beds:
        figures = [b.passed, *(b.figures.get(column, 0) for column in columns), f"{b.figures.get('slowest', 0):.1f} s"]
        verdict = "FAIL" if b.faults else "ok"
        print(f"{verdict:<6}{b.name:<12}" + "".join(f"{figure:>14}" for figure in figures))
        for fault in b.faults:
            print(f"      {b.name}: {fault}")
    for name, error in broken.items():
        print(f"FAIL  {name}: {error}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/latchkey")
    arguments.add_argument("--tools", type=pathlib.Path, default=ROOT / ".check/clients")
    arguments.add_argument("--only", help="clients, separated by commas")
    arguments.add_argument("--scenarios", help="only these, separated by commas")
    arguments.add_argument("--hours", type=float, default=10, help="of the test clock, through the lossy network")
    arguments.add_argument("--scale", type=float, default=0.2, help="of the delays and of the timeout; 1 is as it is")
    arguments.add_argument("--seed", default="1", help="of what the network loses")
    args = arguments.parse_args()
    every = commands(args.tools.resolve())
    on_disk = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert set(every) == on_disk, f"not run: {on_disk ^ set(every)}"
    only = set(args.only.split(",")) if args.only is not None else on_disk
    assert only and only <= on_disk, f"--only takes {', '.join(sorted(on_disk))}"
    scenarios = set(args.scenarios.split(",")) if args.scenarios else set()
    assert scenarios <= {s.__name__ for s in SCENARIOS}, f"--scenarios takes {', '.join(s.__name__ for s in SCENARIOS)}"
    print(f"{args.hours:g} hours, scale {args.scale:g}, seed {args.seed}", flush=True)

    loop, beds, broken, started = asyncio.new_event_loop(), [], {}, time.monotonic()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="latchkey-clients.") as place:

        def whole(name):
            try:
                beds.append(b := Bed(name, every[name], args, loop, pathlib.Path(place) / name))
            except Exception as error:
                broken[name] = error
                return
            try:
                play(b, scenarios)
                if b.faults:
                    b.faults.append(f"the end of Latchkey's log:\n{b.latchkey.tail()}")
            finally:
                b.stop()

        threads = [threading.Thread(target=whole, args=[name]) for name in every if name in only]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        report(sorted(beds, key=lambda b: list(every).index(b.name)), broken)
    print(f"took {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(1 if broken or not beds or any(b.faults for b in beds) else 0)


if __name__ == "__main__":
    main()
