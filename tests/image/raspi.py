"""The exact image that ships, from its own SD card, on an emulated Raspberry Pi 3 B.

What starts it there is what a Pi's loader would hand over: kernel, initrd, device tree and command
line, each read from the image's boot partition. That machine's inputs cannot be driven, so there is
no press; that the card becomes itself on a Pi's controller, with a Pi's device tree, is all.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.image.machine import boot_partition, copy_image, until

# To arm that machine's watchdog resets it at once.
SAYS_ALL = (
    "console=ttyAMA0 console=ttyS1,115200 systemd.journald.forward_to_console=1"
    " systemd.journald.max_level_console=info systemd.watchdog_sec=0"
)


def said(consoles: list[Path]) -> str:
    """All of it until now."""
    return "".join(path.read_text(errors="replace") for path in consoles if path.exists())


def test_the_image_starts_from_the_sd_card_of_a_raspberry_pi_3(image: Path, tmp_path: Path) -> None:
    card = copy_image(image, tmp_path / "card.img")
    names = ("vmlinuz", "initrd.img", "bcm2837-rpi-3-b.dtb", "cmdline.txt")
    boot_partition(card, *(("mcopy", "-n", f"::/{name}", tmp_path / name) for name in names))
    arguments = (tmp_path / "cmdline.txt").read_text().strip()
    consoles = [tmp_path / "ttyAMA0", tmp_path / "ttyS1"]
    began_s = time.monotonic()
    with (tmp_path / "qemu").open("wb") as errors:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "qemu-system-aarch64", "-M", "raspi3b"),
                *("-nodefaults", "-display", "none", "-accel", "tcg,thread=multi"),
                *("-kernel", str(tmp_path / "vmlinuz"), "-initrd", str(tmp_path / "initrd.img")),
                *("-dtb", str(tmp_path / "bcm2837-rpi-3-b.dtb")),
                *("-drive", f"if=sd,format=raw,file={card}"),
                *("-append", f"{arguments} {SAYS_ALL}"),
                *(word for path in consoles for word in ("-serial", f"file:{path}")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:

        def looks() -> bool:
            assert process.poll() is None, (tmp_path / "qemu").read_text()
            return "event=card_code" in said(consoles)

        until("its card is looked at", looks, 600, lambda: said(consoles)[-3000:])
    finally:
        process.kill()
        process.wait(30)
    took_s = time.monotonic() - began_s
    suite = image.stem.partition("-")[2]
    image.with_name(f"{suite}-raspi.log").write_text(
        f"raspi3b: from its SD card to the code of a card without a bundle in {took_s:.0f} s\n"
    )
    assert "code=no_bundle" in said(consoles)
    assert "kode 1 / code 1 (no_bundle)" in boot_partition(card, ("mtype", "::/KENTONGAN.txt"))
