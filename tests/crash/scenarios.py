"""What is killed, or done, in the middle of a send, and what that may cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis

from . import sink
from .readers import Readers
from .speed import SPEED
from .stage import CONNECTIONS, LEASE_SECONDS, LIBFAKETIME, Stage, children, pause, wait_until

Blow = Callable[[Stage], None]
MOST_SECONDS_AWAY = 1.5
SENDERS = 2  # processes that hand over mail, each with one window in hand


# -- what can happen -------------------------------------------------------------------------


def a_child_of(name: str) -> Blow:
    """A process of its pool; Celery and gunicorn start another one."""

    def blow(stage: Stage) -> None:
        # While its main process is being started there is none.
        wait_until(lambda: children(stage.processes[name].pid), within_seconds=10)
        pool = children(stage.processes[name].pid)
        if pool and stage.kill(stage.random.choice(pool)):
            stage.say(f"killed a child of {name}")
            stage.doubts += stage.window if name == "sender" else 0

    return blow


def the_main_of(name: str) -> Blow:
    """The process that was started, and it alone: its children go on for a while, as orphans."""

    def blow(stage: Stage) -> None:
        stage.processes[name].kill_alone()
        stage.kills += 1
        stage.doubts += SENDERS * stage.window if name == "sender" else 0
        stage.say(f"killed the main process of {name}")
        _come_back(stage, name)

    return blow


def all_of(name: str) -> Blow:
    """The main process and its children, as when a container is killed."""

    def blow(stage: Stage) -> None:
        stage.kills += 1 + len(children(stage.processes[name].pid))
        stage.processes[name].kill()
        stage.doubts += SENDERS * stage.window if name == "sender" else 0
        stage.say(f"killed all of {name}")
        _come_back(stage, name)

    return blow


def _come_back(stage: Stage, name: str) -> None:
    """As whatever watches over processes starts them again."""
    pause(stage.random.uniform(0, MOST_SECONDS_AWAY))
    stage.processes[name].start()


def sender_after_250(stage: Stage) -> None:
    """The sink takes a mail and kills whoever handed it over, having answered or not."""
    verb = stage.random.choice([sink.KILL_ORDER, sink.KILL_UNANSWERED_ORDER])
    before = stage.log.count(sink.KILLED)
    stage.order(verb)
    if wait_until(lambda: stage.log.count(sink.KILLED) > before, within_seconds=15):
        stage.kills += 1
        stage.doubts += stage.window
        stage.say(f"killed a sender by {verb}")


def body_cut(stage: Stage) -> None:
    """The sink closes in the middle of a mail, a few times."""
    before = stage.log.count(sink.CUT)
    for _ in range(5):
        stage.order(sink.CUT_ORDER)
    wait_until(lambda: stage.log.count(sink.CUT) >= before + 5, within_seconds=15)
    cut = stage.log.count(sink.CUT) - before
    stage.doubts += cut
    stage.say(f"cut {cut} mails in the middle")


def mail_server(stage: Stage) -> None:
    """It is away for a moment. What each sender was handing over, one mail by each connection, may
    have been taken.
    """
    stage.doubts += SENDERS * CONNECTIONS
    stage.processes["sink"].kill()
    stage.kills += 1
    stage.say("killed the mail server")
    _come_back(stage, "sink")


def broker(stage: Stage) -> None:
    """It comes back empty."""
    stage.broker.kill()
    stage.kills += 1
    stage.say("killed the broker")
    pause(stage.random.uniform(0, MOST_SECONDS_AWAY))
    stage.broker.start()


def flush(stage: Stage) -> None:
    redis.Redis.from_url(stage.broker.url).flushall()
    stage.say("emptied the broker")


def backend(stage: Stage) -> None:
    """One of PostgreSQL's processes: the server ends all the others and recovers."""
    if wait_until(lambda: _kill_one(stage), within_seconds=10):
        # Whether the marking was committed, nobody was told.
        stage.doubts += SENDERS * stage.window
        stage.say("killed a backend of the database")


def _kill_one(stage: Stage) -> bool:
    pool = stage.ledger.backends()
    return bool(pool) and stage.kill(stage.random.choice(pool))


def postmaster(stage: Stage) -> None:
    assert stage.cluster is not None
    stage.cluster.kill()
    stage.kills += 1
    stage.doubts += SENDERS * stage.window
    stage.say("killed the database server")
    pause(stage.random.uniform(0, MOST_SECONDS_AWAY))
    stage.cluster.start()


def no_beat_for_ten_minutes(stage: Stage) -> None:
    stage.processes["beat"].kill()
    stage.kills += 1
    stage.say("killed beat, for ten minutes")
    pause(600 / SPEED)
    stage.processes["beat"].start()


def two_more_beats(stage: Stage) -> None:
    for name in ("beat 2", "beat 3"):
        if name not in stage.processes:
            stage.start(name, stage.processes["beat"].command)
    stage.say("three beats")


def any_beat(stage: Stage) -> None:
    the_main_of(stage.random.choice([name for name in stage.processes if "beat" in name]))(stage)


def clock_jumps(offset: str) -> Blow:
    """For longer than a lease; then the clock is right again."""

    def blow(stage: Stage) -> None:
        if stage.ledger.is_sqlite:
            # Its clock is the machine's: every lease runs out at once, and again on the way back.
            stage.doubts += 2 * SENDERS * stage.window
        stage.tell_time(offset)
        stage.say(f"the clock jumps {offset}")
        pause(2 * LEASE_SECONDS)
        stage.tell_time("+0")

    return blow


# -- scenarios -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """blows: taken in turn, or `shuffled` at random, until there were `times` of them.

    watches: what their moments are measured in, mails "accepted" or digests "assembled".
    jumping: processes whose clock can jump. readers: who do something meanwhile. skips: reasons
    for which a digest may be skipped.
    """

    name: str
    blows: Sequence[Blow]
    times: int
    shuffled: bool = False
    watches: str = "accepted"
    first: Blow | None = None
    greylists_one_in: int = 0
    jumping: frozenset[str] = frozenset()
    readers: Readers | None = None
    skips: frozenset[str] = frozenset()
    settings: dict[str, str] = field(default_factory=dict)
    databases: tuple[str, ...] = ("sqlite", "postgresql")

    @property
    def slug(self) -> str:
        return self.name.lower().replace(" ", "-").replace("'", "")

    @property
    def is_possible(self) -> bool:
        return bool(LIBFAKETIME) or not self.jumping


ON_A_FILE, ON_A_SERVER = ("sqlite",), ("postgresql",)
EVERYBODY = frozenset({"sender", "worker", "beat"})
JUMPS = [clock_jumps("+2h"), clock_jumps("-2h")]
LEAVING = Readers(leave=40, move=0, erased=0)
RESTLESS = Readers(leave=40, move=40, erased=24)
# Another zone may bring the next slot within the hour; then what has not left is taken back.
MOVED = frozenset({"consent", "superseded"})

ANYTHING = [
    a_child_of("sender"), the_main_of("sender"), all_of("sender"), a_child_of("worker"),
    the_main_of("worker"), all_of("worker"), the_main_of("beat"), a_child_of("web"),
    the_main_of("web"), broker, flush, mail_server, sender_after_250, body_cut,
]  # fmt: skip

SCENARIOS = [
    Scenario("sender child", [a_child_of("sender")], 6),
    Scenario("sender main", [the_main_of("sender"), all_of("sender")], 5),
    Scenario("planner", [a_child_of("worker"), the_main_of("worker"), all_of("worker")], 6,
             watches="assembled"),
    Scenario("beat", [the_main_of("beat")], 4),
    Scenario("three beats", [any_beat], 4, first=two_more_beats),
    Scenario("no beat", [no_beat_for_ten_minutes], 1),
    Scenario("web", [a_child_of("web"), the_main_of("web"), all_of("web")], 5, readers=LEAVING,
             skips=frozenset({"consent"})),
    Scenario("broker", [broker], 4),
    Scenario("flushall", [flush], 4),
    Scenario("backend", [backend], 5, databases=ON_A_SERVER),
    Scenario("database server", [postmaster], 3, databases=ON_A_SERVER),
    Scenario("mail server", [mail_server], 4),
    Scenario("after 250", [sender_after_250], 8),
    Scenario("mid-DATA", [body_cut], 4),
    Scenario("greylisting", [a_child_of("sender")], 2, greylists_one_in=3),
    Scenario("the clock", JUMPS, 2, jumping=EVERYBODY, databases=ON_A_FILE),
    Scenario("sender's clock", JUMPS, 2, jumping=frozenset({"sender"}), databases=ON_A_SERVER),
    Scenario("planner's clock", JUMPS, 2, jumping=frozenset({"worker"}), databases=ON_A_SERVER),
    Scenario("beat's clock", JUMPS, 2, jumping=frozenset({"beat"}), databases=ON_A_SERVER),
    Scenario("clock too late", [clock_jumps("+2h")], 1, jumping=EVERYBODY,
             settings={"LATE_LIMIT_HOURS": "1"}, skips=frozenset({"late"})),
    Scenario("restless readers", [a_child_of("sender")], 2, readers=RESTLESS, skips=MOVED),
    Scenario("anything", ANYTHING, 14, shuffled=True, readers=RESTLESS, skips=MOVED,
             databases=ON_A_FILE),
    Scenario("anything", [*ANYTHING, backend, postmaster], 16, shuffled=True, readers=RESTLESS,
             skips=MOVED, databases=ON_A_SERVER),
]  # fmt: skip
