"""Everything that goes wrong, by name: each kind is injected, counted, and over in time.

A fault must never be kind: it hits where it hurts, around calls and answers. All are over when the
world says so, and what a fault leaves behind then has to heal by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from protocol.messages import Alarm, Command
from simulation.broker import BROKER_GIVES_UP_US, Broker, Link, Packet
from simulation.disks import Disk
from simulation.hosts import Host, Process
from simulation.timeline import HOUR_US, MINUTE_US, SECOND_US

if TYPE_CHECKING:
    from simulation.world import World

Inject = Callable[["World", Random, str], None]

KINDS: dict[str, Inject] = {}


def _kind(inject: Inject) -> Inject:
    KINDS[inject.__name__.removeprefix("_")] = inject
    return inject


def _lasts_us(rng: Random, *, longest_us: int = 15 * MINUTE_US) -> int:
    """Mostly short, sometimes long."""
    most_us = rng.choice((10 * SECOND_US, 60 * SECOND_US, 3 * MINUTE_US, longest_us))
    return rng.randrange(SECOND_US, min(most_us, longest_us))


# --- processes and power ---------------------------------------------------------------------


def _kill(world: World, process: Process) -> None:
    process.die(power=False)


@_kind
def post_killed(world: World, rng: Random, post: str) -> None:
    """kill -9 of a post."""
    _kill(world, world.posts[post])


@_kind
def gateway_killed(world: World, rng: Random, post: str) -> None:
    """kill -9 of the gateway."""
    _kill(world, world.gateway)


@_kind
def centre_killed(world: World, rng: Random, post: str) -> None:
    """kill -9 of the command centre, or of the other console."""
    _kill(world, rng.choice(world.centres))


@_kind
def dies_between_effects(world: World, rng: Random, post: str) -> None:
    """A process dies after the next few effects, whichever they are."""
    process: Process = rng.choice((world.posts[post], world.gateway, world.centre))
    process.fuse = rng.randrange(8)


def _power(world: World, rng: Random, processes: list[Process]) -> None:
    host = processes[0].host
    if not host.powered:
        return
    for process in processes:
        process.die(power=True)
    host.powered = False
    world.later(_lasts_us(rng), world.power_on, host)


@_kind
def post_power(world: World, rng: Random, post: str) -> None:
    """A post loses power."""
    _power(world, rng, [world.posts[post]])


@_kind
def gateway_power(world: World, rng: Random, post: str) -> None:
    """The gateway loses power."""
    _power(world, rng, [world.gateway])


@_kind
def centre_power(world: World, rng: Random, post: str) -> None:
    """The command centre loses power."""
    _power(world, rng, [world.centre])


def _freeze(world: World, rng: Random, process: Process, links: list[Link]) -> None:
    if not process.alive or process.frozen:
        return
    process.freeze()
    life = process.life
    lasts_us = rng.choice((5, 25, 45, 50)) * SECOND_US
    for link in links:
        world.timeline.after(BROKER_GIVES_UP_US, _no_ping, link, life)
    world.later(lasts_us, process.thaw)


def _no_ping(link: Link, life: int) -> None:
    if link.process.frozen and link.process.life == life:
        link.keepalive_missed()


@_kind
def post_frozen(world: World, rng: Random, post: str) -> None:
    """SIGSTOP of a post."""
    _freeze(world, rng, world.posts[post], [world.posts[post].link])


@_kind
def gateway_frozen(world: World, rng: Random, post: str) -> None:
    """SIGSTOP of the gateway, perhaps with a broker that queues little."""
    if rng.random() < 0.5:
        for broker in world.brokers:
            broker.queue_max = rng.choice((0, 3, 20))
    _freeze(world, rng, world.gateway, list(world.gateway.links.values()))


@_kind
def queue_overflows(world: World, rng: Random, post: str) -> None:
    """The gateway stands still, and what has no room in the brokers' queues is dropped."""
    for broker in world.brokers:
        broker.queue_max = rng.choice((0, 3))
        world.later(2 * MINUTE_US, setattr, broker, "queue_max", 1_000)
    _freeze(world, rng, world.gateway, list(world.gateway.links.values()))
    for _ in range(rng.randint(20, 40)):
        world.later(rng.randrange(25 * SECOND_US), late_offer, world, rng, post)


@_kind
def centre_frozen(world: World, rng: Random, post: str) -> None:
    """SIGSTOP of the command centre, or of the other console."""
    centre = rng.choice(world.centres)
    _freeze(world, rng, centre, [centre.link])


# --- brokers ---------------------------------------------------------------------------------


def _restart(world: World, rng: Random, memory: str) -> None:
    broker = rng.choice(world.brokers)
    if broker.up:
        broker.stop()
        world.later(_lasts_us(rng, longest_us=4 * MINUTE_US), _start, broker, memory)


def _start(broker: Broker, memory: str) -> None:
    if not broker.up:
        broker.start(memory)


@_kind
def broker_restarted(world: World, rng: Random, post: str) -> None:
    """A broker goes and comes back with its retained documents."""
    _restart(world, rng, "all")


@_kind
def broker_forgets_all(world: World, rng: Random, post: str) -> None:
    """A broker comes back empty."""
    _restart(world, rng, "none")


@_kind
def broker_brings_back(world: World, rng: Random, post: str) -> None:
    """A broker comes back with what it had long ago, cleared documents among it."""
    _restart(world, rng, "old")


@_kind
def broker_loses(world: World, rng: Random, post: str) -> None:
    """PUBACK, then loss."""
    broker = rng.choice(world.brokers)
    broker.loses = rng.choice((0.2, 0.5, 0.95))
    world.later(_lasts_us(rng, longest_us=5 * MINUTE_US), setattr, broker, "loses", 0.0)


@_kind
def broker_loses_documents(world: World, rng: Random, post: str) -> None:
    """PUBACK, then loss, of what was to be retained: nobody reads it."""
    for broker in world.brokers:
        broker.loses_documents = rng.choice((0.5, 1.0))
        lasts_us = _lasts_us(rng, longest_us=5 * MINUTE_US)
        world.later(lasts_us, setattr, broker, "loses_documents", 0.0)


@_kind
def broker_repeats(world: World, rng: Random, post: str) -> None:
    """A storm of duplicates, some of them minutes late."""
    broker = rng.choice(world.brokers)
    broker.repeats = rng.choice((0.3, 0.9))
    world.later(_lasts_us(rng, longest_us=5 * MINUTE_US), setattr, broker, "repeats", 0.0)


@_kind
def broker_reorders(world: World, rng: Random, post: str) -> None:
    """Messages overtake each other."""
    broker = rng.choice(world.brokers)
    broker.delays = rng.choice((0.2, 0.7))
    world.later(_lasts_us(rng, longest_us=5 * MINUTE_US), setattr, broker, "delays", 0.0)


@_kind
def subscriptions_lost(world: World, rng: Random, post: str) -> None:
    """A broker forgets what a connected client has subscribed to."""
    links = [world.centre.link, *world.gateway.links.values()]
    link = world.posts[post].link if rng.random() < 0.5 else rng.choice(links)
    session = link.broker.session_of(link)
    if session is not None:
        world.timeline.note(link.client_id, "subscriptions are forgotten")
        link.broker.unsubscribe(session)


@_kind
def document_lost(world: World, rng: Random, post: str) -> None:
    """A broker loses some retained documents."""
    for broker in world.brokers:
        for topic in [one for one in broker.retained if rng.random() < 0.5]:
            del broker.retained[topic]


@_kind
def documents_return(world: World, rng: Random, post: str) -> None:
    """A broker brings back old documents while it runs, and everybody reconnects."""
    broker = rng.choice(world.brokers)
    broker.stop()
    broker.start("old")


@_kind
def late_wills(world: World, rng: Random, post: str) -> None:
    """Broken connections are noticed minutes later, their wills with them."""
    for broker in world.brokers:
        broker.keeps_zombies_us = rng.randrange(60, 300) * SECOND_US
    world.later(10 * MINUTE_US, world.notice_in_time)
    _power(world, rng, [world.posts[post]])


@_kind
def forged_retained(world: World, rng: Random, post: str) -> None:
    """Somebody publishes old presses and commands with the retained flag."""
    for broker in world.brokers:
        for packet in tuple(world.overheard):
            if packet.address.side in broker.name or len(world.brokers) == 1:
                broker.publish(Packet(packet.topic, packet.address, packet.message, retain=True))


@_kind
def late_offer(world: World, rng: Random, post: str) -> None:
    """Offers from long ago arrive once more."""
    offers = [each for each in world.overheard if isinstance(each.message, Alarm)]
    for packet in offers[:6]:
        world.broker_of_posts.publish(packet)


@_kind
def late_command(world: World, rng: Random, post: str) -> None:
    """Commands from long ago arrive once more."""
    commands = [each for each in world.overheard if isinstance(each.message, Command)]
    for packet in commands[:6]:
        world.broker_of_centre.publish(packet)


# --- links -----------------------------------------------------------------------------------


def _any_links(world: World, rng: Random, post: str) -> list[Link]:
    centre = rng.choice(world.centres)
    return [rng.choice([world.posts[post].link, *world.gateway.links.values(), centre.link])]


@_kind
def link_reset(world: World, rng: Random, post: str) -> None:
    """A connection breaks."""
    for link in _any_links(world, rng, post):
        link.reset()


def _cut(world: World, rng: Random, links: list[Link], *, up: bool, down: bool) -> None:
    lasts_us = _lasts_us(rng)
    for link in links:
        link.cut(up=up, down=down)
        world.later(lasts_us, link.heal)


@_kind
def link_cut(world: World, rng: Random, post: str) -> None:
    """A cable is out."""
    _cut(world, rng, _any_links(world, rng, post), up=True, down=True)


@_kind
def half_open_up(world: World, rng: Random, post: str) -> None:
    """Nothing goes to the broker any more."""
    _cut(world, rng, _any_links(world, rng, post), up=True, down=False)


@_kind
def half_open_down(world: World, rng: Random, post: str) -> None:
    """Nothing comes from the broker any more."""
    _cut(world, rng, _any_links(world, rng, post), up=False, down=True)


@_kind
def partition(world: World, rng: Random, post: str) -> None:
    """Half of everything is cut off from a broker."""
    links = [link for broker in world.brokers for link in broker.links if rng.random() < 0.5]
    _cut(world, rng, links, up=True, down=True)


@_kind
def link_slow(world: World, rng: Random, post: str) -> None:
    """Every packet takes a second or more."""
    for link in _any_links(world, rng, post):
        link.slow_us = rng.randrange(SECOND_US // 5, 3 * SECOND_US)
        world.later(_lasts_us(rng), setattr, link, "slow_us", 0)


@_kind
def link_flapping(world: World, rng: Random, post: str) -> None:
    """A connection breaks again and again."""
    for link in _any_links(world, rng, post):
        for _ in range(rng.randint(3, 12)):
            world.later(rng.randrange(3 * MINUTE_US), link.reset)


# --- disks -----------------------------------------------------------------------------------


def _weather(world: World, rng: Random, disk: Disk, weather: str) -> None:
    if disk.weather != "ok":
        return
    world.set_weather(disk, "failing" if weather == "failing" else "hanging")
    world.later(_lasts_us(rng), world.set_weather, disk, "ok")


@_kind
def post_disk_full(world: World, rng: Random, post: str) -> None:
    """A card is full, or read-only."""
    _weather(world, rng, world.posts[post].disk, "failing")


@_kind
def journal_full(world: World, rng: Random, post: str) -> None:
    """The journal's disk is full, or read-only."""
    _weather(world, rng, world.gateway.disk, "failing")


@_kind
def store_full(world: World, rng: Random, post: str) -> None:
    """The command centre's disk is full, or read-only."""
    _weather(world, rng, world.centre.disk, "failing")


@_kind
def post_disk_hangs(world: World, rng: Random, post: str) -> None:
    """A card hangs in fsync."""
    _weather(world, rng, world.posts[post].disk, "hanging")


@_kind
def journal_hangs(world: World, rng: Random, post: str) -> None:
    """The journal's disk hangs in fsync."""
    _weather(world, rng, world.gateway.disk, "hanging")


@_kind
def store_hangs(world: World, rng: Random, post: str) -> None:
    """The command centre's disk hangs, and with it the process."""
    _freeze(world, rng, world.centre, [world.centre.link])


@_kind
def disk_slow(world: World, rng: Random, post: str) -> None:
    """Commits take seconds."""
    disk: Disk = rng.choice((world.posts[post].disk, world.gateway.disk))
    disk.slow_us = rng.randrange(SECOND_US // 2, 6 * SECOND_US)
    world.disk_was_bad(disk)
    world.later(_lasts_us(rng), world.fast_again, disk)


def _replace(world: World, process: Process, disk: Disk) -> None:
    process.die(power=False)
    world.replaced(disk, disk.put_back)


@_kind
def post_disk_old(world: World, rng: Random, post: str) -> None:
    """A card is replaced by an older copy of itself."""
    _replace(world, world.posts[post], world.posts[post].disk)


@_kind
def journal_old(world: World, rng: Random, post: str) -> None:
    """The journal comes back from a backup."""
    _replace(world, world.gateway, world.gateway.disk)


@_kind
def store_old(world: World, rng: Random, post: str) -> None:
    """The command centre comes back from a backup."""
    _replace(world, world.centre, world.centre.disk)


@_kind
def post_disk_corrupt(world: World, rng: Random, post: str) -> None:
    """A card is corrupted: the only copy of an alarm may go with it."""
    world.posts[post].die(power=True)
    world.posts[post].host.powered = False
    card = world.posts[post].disk
    world.replaced(card, card.damage)
    world.later(_lasts_us(rng), world.power_on, world.posts[post].host)


@_kind
def journal_corrupt(world: World, rng: Random, post: str) -> None:
    """The journal is corrupted, and is set aside."""
    world.gateway.die(power=False)
    world.replaced(world.gateway.disk, world.gateway.disk.damage)


@_kind
def post_disk_new(world: World, rng: Random, post: str) -> None:
    """A card is replaced by an empty one."""
    if rng.random() < 0.5:  # rarer than the others: it ends what can be checked of a post
        world.posts[post].die(power=False)
        card = world.posts[post].disk
        world.replaced(card, card.replace_by_new)


# --- clocks ----------------------------------------------------------------------------------


def _step(world: World, rng: Random, host: Host) -> None:
    hours_us = rng.choice((-30, -3, -1, 1, 3, 30, 24 * 9)) * HOUR_US
    world.skew(host, (hours_us + rng.randrange(MINUTE_US)) // 1000)
    world.later(_lasts_us(rng, longest_us=60 * MINUTE_US), world.set_right, host)


@_kind
def post_clock_steps(world: World, rng: Random, post: str) -> None:
    """A post's wall clock jumps by hours, perhaps between two presses, and is set right later."""
    host = world.posts[post].host
    if rng.random() < 0.5:
        world.call(post)
        world.later(rng.randrange(200_000, 2 * SECOND_US), _step, world, rng, host)
    else:
        _step(world, rng, host)


@_kind
def gateway_clock_steps(world: World, rng: Random, post: str) -> None:
    """The gateway's wall clock jumps by hours, or days."""
    if rng.random() < 0.3:
        _step(world, rng, world.gateway.host)
    else:
        world.gateway.host.set_wall(rng.randrange(-2_000, 2_000), synchronised=True)


@_kind
def centre_clock_steps(world: World, rng: Random, post: str) -> None:
    """The command centre's wall clock jumps by hours."""
    if rng.random() < 0.3:
        _step(world, rng, world.centre.host)
    else:
        world.centre.host.set_wall(rng.randrange(-2_000, 2_000), synchronised=True)


@_kind
def clock_1970(world: World, rng: Random, post: str) -> None:
    """A post boots in 1970, and nobody tells it the time."""
    process = world.posts[post]
    process.die(power=True)
    process.host.powered = False
    world.later(20 * SECOND_US, world.power_on, process.host, False)


# --- people ----------------------------------------------------------------------------------


@_kind
def resident_leans(world: World, rng: Random, post: str) -> None:
    """Somebody leans on the button."""
    world.residents[post].lean()


@_kind
def resident_near_miss(world: World, rng: Random, post: str) -> None:
    """One or two presses."""
    world.residents[post].near_miss(rng.choice((1, 2)))


@_kind
def resident_hammers(world: World, rng: Random, post: str) -> None:
    """Hasty presses, one call."""
    world.residents[post].call(rng.randint(4, 10))


@_kind
def button_chatters(world: World, rng: Random, post: str) -> None:
    """A worn contact."""
    world.residents[post].chatter()


@_kind
def line_noise(world: World, rng: Random, post: str) -> None:
    """Interference on the wire, a knock on the box."""
    rng.choice((world.residents[post].noise, world.residents[post].knock))()


@_kind
def pressed_during_boot(world: World, rng: Random, post: str) -> None:
    """Three presses while the post comes up."""
    world.posts[post].die(power=False)
    world.later(rng.randrange(3 * SECOND_US), world.residents[post].call)


@_kind
def cancel_key(world: World, rng: Random, post: str) -> None:
    """Somebody holds the cancel key, call or not."""
    world.residents[post].cancel()


@_kind
def window_after_call(world: World, rng: Random, post: str) -> None:
    """A call is not heard yet when somebody opens a test window."""
    link = world.posts[post].link
    link.cut(up=True, down=True)
    world.call(post)
    world.later(6 * SECOND_US, world.operators.open_test, post, rng.randint(1, 8))
    world.later(rng.randrange(7 * SECOND_US, 18 * SECOND_US), link.heal)


@_kind
def window_before_restart(world: World, rng: Random, post: str) -> None:
    """A test window is asked for while the gateway is away, and a call follows its return."""
    if not world.gateway.host.powered:
        return
    world.gateway.die(power=True)
    world.gateway.host.powered = False
    world.operators.open_test(post, rng.randint(5, 10))
    world.later(8 * SECOND_US, world.power_on, world.gateway.host)
    world.later(rng.randrange(40 * SECOND_US, 120 * SECOND_US), world.call, post)


@_kind
def test_window(world: World, rng: Random, post: str) -> None:
    """A technician practises, and a call may come before, in, or after it."""
    world.later(0, world.operators.open_test, post, rng.randint(1, 8))
    if rng.random() < 0.7:
        world.later(rng.randrange(3 * SECOND_US, 120 * SECOND_US), world.residents[post].call)
    if rng.random() < 0.5:
        close_us = rng.randrange(2 * SECOND_US, 120 * SECOND_US)
        world.later(close_us, world.operators.close_test, post)
        if rng.random() < 0.7:
            call_us = close_us + rng.randrange(SECOND_US, 60 * SECOND_US)
            world.later(call_us, world.residents[post].call)
