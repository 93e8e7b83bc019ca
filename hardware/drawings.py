"""The wiring of a post as drawings: one SVG a sheet, made from the pins that the firmware claims.

It only draws. No value of a component is decided elsewhere and repeated here by hand:
`docs/hardware.md` gives the reasons and takes the values from `PARTS` (a test compares them).
Needs schemdraw, which no post needs: it is imported when a sheet is drawn.
"""

# mypy: allow-untyped-calls
# Most of schemdraw's elements are made by a function without types.

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemdraw import Drawing

# The 40-pin header of every Pi since the B+, by physical number from 1.
HEADER = (
    *("3V3", "5V", "GPIO2", "5V", "GPIO3", "GND", "GPIO4", "GPIO14", "GND", "GPIO15"),
    *("GPIO17", "GPIO18", "GPIO27", "GND", "GPIO22", "GPIO23", "3V3", "GPIO24", "GPIO10", "GND"),
    *("GPIO9", "GPIO25", "GPIO11", "GPIO8", "GND", "GPIO7", "GPIO0", "GPIO1", "GPIO5", "GND"),
    *("GPIO6", "GPIO12", "GPIO13", "GND", "GPIO19", "GPIO16", "GPIO26", "GPIO20", "GND", "GPIO21"),
)

# name in the drawings -> value. The reasons stand in docs/hardware.md.
PARTS = {
    "line pull-up": "2.2 kΩ",
    "line series": "1 kΩ",
    "line capacitor": "100 nF",
    "line TVS": "TVS 5 V",
    "opto pull-up": "10 kΩ",
    "mains LED": "1 kΩ",
    "loop LED": "2.2 kΩ",
    "opto-coupler": "PC817",
    "reverse diode": "1N4148",
    "pulse resistor": "330 Ω",
    "pulse capacitor": "6.8 µF",
    "base": "1 kΩ",
    "base to ground": "10 kΩ",
    "transistor": "BC337",
    "flyback diode": "1N4007",
    "lamp LED": "220 Ω",
}

# What each line is called, in Indonesian and English, as on the terminal strip.
ROLES = {
    "button": "tombol / button NO",
    "button_nc": "tombol / button NC",
    "loop": "uji tombol / loop-back",
    "cancel": "kunci batal / cancel key",
    "tamper": "tutup kotak / lid (tamper)",
    "mains": "listrik PLN / mains",
    "red": "lampu merah / red",
    "green": "lampu hijau / green",
    "blue": "lampu biru / blue",
    "buzzer": "buzzer",
}
GPS_PINS = {14: "GPS RX", 15: "GPS TX"}
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


@dataclass(frozen=True)
class Wiring:
    """BCM numbers of what is fitted; None where it is not."""

    button: int
    red: int
    green: int
    button_nc: int | None = None
    loop: int | None = None
    cancel: int | None = None
    tamper: int | None = None
    mains: int | None = None
    blue: int | None = None
    buzzer: int | None = None
    gps: bool = False

    def pins(self) -> dict[int, str]:
        """BCM number -> what it is for. Raises ValueError where two things share a line."""
        pins: dict[int, str] = dict(GPS_PINS) if self.gps else {}
        for field in fields(self):
            number = getattr(self, field.name)
            if field.name == "gps" or number is None:
                continue
            if number in pins:
                raise ValueError(f"GPIO{number} is {pins[number]} and {ROLES[field.name]}")
            pins[number] = ROLES[field.name]
        return pins


def physical(number: int) -> int:
    """The physical pin, from 1, of a BCM number."""
    return HEADER.index(f"GPIO{number}") + 1


def sheets(wiring: Wiring) -> dict[str, str]:
    """File name -> SVG for everything that is fitted. Raises ValueError for a line used twice."""
    drawn = {"header.svg": _svg("Header", lambda d: _header(d, wiring.pins()))}
    drawn["button.svg"] = _svg("Button", lambda d: _button(d, wiring))
    drawn["button-long-wire.svg"] = _svg("Button on a long wire", lambda d: _long_wire(d, wiring))
    if wiring.loop is not None:
        loop = wiring.loop
        drawn["loop-back.svg"] = _svg("Loop-back of the button", lambda d: _loop_back(d, loop))
    if wiring.tamper is not None or wiring.cancel is not None:
        drawn["lid-and-key.svg"] = _svg("Lid and cancel key", lambda d: _lid_and_key(d, wiring))
    if wiring.mains is not None:
        mains = wiring.mains
        drawn["mains.svg"] = _svg("Mains", lambda d: _mains(d, mains))
    drawn["lamp.svg"] = _svg("Lamp", lambda d: _lamp(d, wiring))
    if wiring.buzzer is not None:
        buzzer = wiring.buzzer
        drawn["buzzer.svg"] = _svg("Buzzer", lambda d: _buzzer(d, buzzer))
    if wiring.gps:
        drawn["gps.svg"] = _svg("GPS", _gps)
    drawn["power.svg"] = _svg("Power", lambda d: _power(d, mains=wiring.mains is not None))
    return drawn


def _svg(title: str, draw: Callable[[Drawing], None]) -> str:
    """One sheet; its numbers are rounded, so that it is the same file on every machine."""
    import schemdraw

    schemdraw.use("svg")
    drawing = schemdraw.Drawing(show=False)
    drawing.config(fontsize=11, unit=2.6, bgcolor="white", margin=0.4)
    draw(drawing)
    text = drawing.get_imagedata("svg").decode()
    text = _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".replace("-0.0", "0.0"), text)
    text = text.replace('font-family="sans"', 'font-family="sans-serif"')
    return text.replace(">", f">\n<title>Kentongan: {title}</title>\n", 1) + "\n"


def _tag(number: int) -> str:
    return f"GPIO{number}\npin {physical(number)}"


def _header(d: Drawing, pins: dict[int, str]) -> None:
    import schemdraw.elements as elm

    def label(place: int) -> str:
        name = HEADER[place]
        number = int(name.removeprefix("GPIO")) if name.startswith("GPIO") else None
        words = [f"{place + 1:02d}"]
        if number is None:
            words.append(name)
        elif number in pins:
            words += [name, pins[number]]
        return "   ".join(words if place % 2 else reversed(words))

    d += elm.Header(
        rows=20,
        cols=2,
        style="square",
        pinsleft=[label(place) for place in range(0, 40, 2)],
        pinsright=[label(place) for place in range(1, 40, 2)],
        pinalignleft="center",
        pinalignright="center",
        pinspacing=0.75,
    )


def _contact(d: Drawing, y: float, number: int, role: str, *, closed_at_rest: bool) -> None:
    """One contact on a line: GPIO, filter, pull-up, TVS, terminals, wire, contact, ground."""
    import schemdraw.elements as elm

    d += elm.Tag(width=2, height=0.9).at((0, y)).left().label(_tag(number))
    d += elm.Line().at((0, y)).right().length(0.8)
    d += (filtered := elm.Dot())
    d += elm.Capacitor().at(filtered.center).down().label(PARTS["line capacitor"], loc="bottom")
    d += elm.Ground()
    d += elm.ResistorIEC().at(filtered.center).right().label(PARTS["line series"])
    d += (line := elm.Dot())
    d += elm.ResistorIEC().at(line.center).up().length(1.9).label(PARTS["line pull-up"])
    d += elm.Vdd().label("3V3")
    d += elm.Line().at(line.center).right().length(1.6)
    d += (guarded := elm.Dot())
    d += elm.DiodeTVS().at(guarded.center).down().label(PARTS["line TVS"], loc="bottom")
    d += elm.Ground()
    d += elm.Line().at(guarded.center).right().length(1.4)
    d += (terminal := elm.Dot(open=True)).label(role, loc="top", ofst=(0.4, 0.3))
    d += elm.Line().at(terminal.center).right().length(1.6).linestyle("--")
    contact = elm.Button(nc=closed_at_rest) if closed_at_rest else elm.Button()
    d += contact.right()
    d += elm.Line().right().length(0.5)
    d += elm.Line().down().length(2.6).linestyle("--")
    d += elm.Dot(open=True)
    d += elm.Ground()


def _button(d: Drawing, wiring: Wiring) -> None:
    _contact(d, 0, wiring.button, ROLES["button"], closed_at_rest=False)
    if wiring.button_nc is not None:
        _contact(d, -6.4, wiring.button_nc, ROLES["button_nc"], closed_at_rest=True)


def _loop_back(d: Drawing, number: int) -> None:
    """An output, a capacitor, an opto-coupler across the button's terminals."""
    import schemdraw.elements as elm

    d += elm.Tag(width=2, height=0.9).at((0, 0)).left().label(_tag(number))
    d += elm.Capacitor().at((0, 0)).right().label(PARTS["pulse capacitor"])
    d += elm.ResistorIEC().right().label(PARTS["pulse resistor"])
    d += (anode := elm.Dot())
    d += elm.Line().at(anode.center).right().length(1)
    coupler = elm.Optocoupler().anchor("anode").right()
    d += coupler.label(PARTS["opto-coupler"], loc="bottom")
    d += elm.Line().at(coupler.cathode).left().length(1)
    d += (cathode := elm.Dot())
    d += elm.Ground()
    reverse = elm.Diode().endpoints(cathode.center, anode.center)
    d += reverse.label(PARTS["reverse diode"], loc="top", ofst=(0, 0.1))
    d += elm.Line().at(coupler.collector).right().length(1.2)
    d += elm.Dot(open=True).label("terminal tombol NO / button NO", loc="right")
    d += elm.Line().at(coupler.emitter).right().length(1.2)
    d += elm.Dot(open=True).label("GND tombol / button GND", loc="right")


def _lid_and_key(d: Drawing, wiring: Wiring) -> None:
    y = 0.0
    if wiring.tamper is not None:
        _contact(d, y, wiring.tamper, ROLES["tamper"], closed_at_rest=True)
        y -= 6.4
    if wiring.cancel is not None:
        _contact(d, y, wiring.cancel, ROLES["cancel"], closed_at_rest=False)


def _coupled(d: Drawing, y: float, number: int, led_resistor: str) -> tuple[float, float]:
    """A GPIO line behind an opto-coupler; where its LED's resistor begins."""
    import schemdraw.elements as elm

    coupler = elm.Optocoupler().flip().reverse().at((4.6, y)).anchor("emitter")
    d += coupler.label(PARTS["opto-coupler"], loc="bottom")
    d += elm.Line().at(coupler.emitter).left().length(0.6)
    d += elm.Ground()
    d += elm.Line().at(coupler.collector).left().length(1.2)
    d += (line := elm.Dot())
    d += elm.ResistorIEC().at(line.center).up().length(1.9).label(PARTS["opto pull-up"])
    d += elm.Vdd().label("3V3")
    d += elm.Line().at(line.center).left().length(1.6)
    d += elm.Tag(width=2, height=0.9).left().label(_tag(number))
    d += elm.Line().at(coupler.anode).right().length(1)
    d += (anode := elm.Dot())
    d += elm.ResistorIEC().at(anode.center).right().label(led_resistor, loc="bottom")
    end: tuple[float, float] = (d.here[0], d.here[1])
    d += elm.Line().at(coupler.cathode).right().length(1)
    d += (cathode := elm.Dot())
    d += elm.Line().at(cathode.center).right().length(1.6)
    d += elm.GroundSignal()
    reverse = elm.Diode().endpoints(cathode.center, anode.center)
    d += reverse.label(PARTS["reverse diode"], loc="bottom", ofst=(0, 0.1))
    return end


def _mains(d: Drawing, number: int) -> None:
    import schemdraw.elements as elm

    end = _coupled(d, 0, number, PARTS["mains LED"])
    d += elm.Line().at(end).right().length(0.8)
    d += elm.Dot(open=True).label("adaptor 5 V\nsebelum / before UPS", loc="right")


def _long_wire(d: Drawing, wiring: Wiring) -> None:
    import schemdraw.elements as elm

    rows = [(wiring.button, "button", False)]
    if wiring.button_nc is not None:
        rows.append((wiring.button_nc, "button_nc", True))
    for place, (number, role, closed_at_rest) in enumerate(rows):
        end = _coupled(d, -6.0 * place, number, PARTS["loop LED"])
        d += elm.Line().at(end).right().length(0.6)
        d += (terminal := elm.Dot(open=True)).label(ROLES[role], loc="top", ofst=(0.4, 0.3))
        d += elm.Line().at(terminal.center).right().length(1.6).linestyle("--")
        d += (elm.Button(nc=True) if closed_at_rest else elm.Button()).right()
        d += elm.Line().right().length(0.8).linestyle("--")
        d += elm.Vdd().label("12 V terisolasi / isolated")


def _stage(d: Drawing, x: float, number: int, role: str) -> tuple[float, float]:
    """A transistor that switches a load to ground; where the load's lower end goes."""
    import schemdraw.elements as elm

    d += elm.Tag(width=2, height=0.9).at((x, 0)).left().label(_tag(number))
    d += elm.Label().at((x - 0.6, 1)).theta(0).label(role)
    d += elm.ResistorIEC().at((x, 0)).right().length(2).label(PARTS["base"])
    d += (base := elm.Dot())
    d += elm.ResistorIEC().at(base.center).down().length(2).label(PARTS["base to ground"])
    d += elm.Ground()
    transistor = elm.BjtNpn(circle=True).at(base.center).right().anchor("base")
    d += transistor.label(PARTS["transistor"], loc="right")
    d += elm.Line().at(transistor.emitter).down().length(0.8)
    d += elm.Ground()
    return (transistor.collector[0], transistor.collector[1])


def _lamp(d: Drawing, wiring: Wiring) -> None:
    import schemdraw.elements as elm

    lamps = [(wiring.red, "red"), (wiring.green, "green")]
    if wiring.blue is not None:
        lamps.append((wiring.blue, "blue"))
    for place, (number, colour) in enumerate(lamps):
        end = _stage(d, 6.8 * place, number, ROLES[colour])
        d += elm.LED().at(end).up().reverse().fill(colour)
        d += elm.ResistorIEC().up().length(2).label(PARTS["lamp LED"])
        d += elm.Vdd().label("5V")


def _buzzer(d: Drawing, number: int) -> None:
    import schemdraw.elements as elm

    end = _stage(d, 0, number, "")
    d += elm.Dot().at(end)
    d += elm.RBox().at(end).up().length(2.4).fill("#eeeeee").label("buzzer 5 V", loc="top")
    d += (top := elm.Dot())
    d += elm.Vdd().label("5V")
    d += elm.Line().at(end).right().length(1.4)
    d += elm.Diode().up().toy(top.center).label(PARTS["flyback diode"], loc="bottom")
    d += elm.Line().left().tox(top.center)


def _gps(d: Drawing) -> None:
    import schemdraw.elements as elm

    pi = elm.Ic(
        pins=[
            elm.IcPin(
                name=name, pin=pin, side="right", slot=f"{4 - place}/4", anchorname=f"p{place}"
            )
            for place, (name, pin) in enumerate(
                (
                    ("3V3", "1"),
                    ("GND", "6"),
                    ("TXD GPIO14", str(physical(14))),
                    ("RXD GPIO15", str(physical(15))),
                )
            )
        ],
        size=(3.4, 4.4),
    ).label("Pi", loc="top")
    gps = elm.Ic(
        pins=[
            elm.IcPin(name=name, side="left", slot=f"{4 - place}/4", anchorname=f"p{place}")
            for place, name in enumerate(("VCC 3V3", "GND", "RX", "TX"))
        ],
        size=(3.4, 4.4),
    ).label("GPS", loc="top")
    d += pi.at((0, 0)).right()
    d += gps.at((7.4, 0)).right()
    for place in range(4):
        d += elm.Wire("-").at(getattr(pi, f"p{place}")).to(getattr(gps, f"p{place}"))


def _power(d: Drawing, *, mains: bool) -> None:
    import schemdraw.elements as elm

    boxes = (
        "PLN 230 V\nMCB, penangkal petir\nbreaker, surge arrester",
        "adaptor 5.1 V 3 A\nsupply",
        "UPS HAT\nbaterai / battery",
        "Raspberry Pi\npin 2, 4: 5V\npin 6: GND",
    )
    x = 0.0
    for place, text in enumerate(boxes):
        d += elm.Rect(corner1=(0, -1), corner2=(4.4, 1)).at((x, 0)).theta(0).fill("#eeeeee")
        d += elm.Label().at((x + 2.2, 0)).theta(0).label(text, loc="center")
        if place < len(boxes) - 1:
            d += elm.Line(arrow="->").at((x + 4.4, 0)).right().length(1.2)
        if place == 1 and mains:
            d += elm.Dot().at((x + 4.9, 0))
            d += elm.Line(arrow="->").at((x + 4.9, 0)).down().length(2)
            d += elm.Label().at((x + 4.9, -2.5)).theta(0).label("mains.svg")
        x += 5.6
