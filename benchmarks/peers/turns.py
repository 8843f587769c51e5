"""One contender in a process of its own: told `turn`, it sends every mail once and says what that
took, as JSON. Started by benchmarks/peers/rounds.py with the peers' own Python.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    name, picked = sys.argv[1], Path(sys.argv[2])
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers.settings"
    import django

    django.setup()
    from django.core.management import call_command

    from benchmarks.peers import picks
    from benchmarks.peers.contenders import CONTENDERS

    call_command("migrate", verbosity=0)
    contender = CONTENDERS[name]()
    mails = list(picks.load(picked).values())
    contender.prepare(mails)
    print("ready", flush=True)
    for _ in sys.stdin:
        contender.set_out()
        wall, cpu = time.perf_counter(), time.process_time()
        contender.send()
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({"mails": len(mails), "sending": took}), flush=True)


if __name__ == "__main__":
    main()
